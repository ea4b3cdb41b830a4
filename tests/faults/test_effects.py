"""What follows from a write happens exactly as often as the write, whatever dies between commit and dispatch."""

import signal
import threading
from collections import Counter
from contextlib import nullcontext

import pytest

from tests.clients import TIMEOUT, Tenant, rows
from tests.faults.load import Load
from tests.faults.outages import away, replaced, well
from tests.faults.receiver import Receiver
from tests.stack import Stack
from tests.streams.sse import Follower, logged, position

BEFORE_THE_NEXT = 40
LAST = "the-last-one"
EVENTS = "SELECT id::text AS id, resource_id FROM events WHERE tenant_id = %s AND type = 'page.created'"
ENTRIES = """
SELECT resource_id, event_id::text AS event_id FROM audit_entries
 WHERE tenant_id = %s AND action = 'page.created' AND outcome = 'OK'
"""


def kill(stack: Stack, name: str) -> None:
    """Kill a process and wait for its successor."""
    replaced(stack, name, stack.kill(name))


def restart(stack: Stack, name: str) -> None:
    """End an engine, and wait until all is well again."""
    with away(stack, name, signal.SIGINT) if name == "postgres" else nullcontext():
        if name != "postgres":
            kill(stack, name)
    well(stack)


@pytest.mark.parametrize(
    "victims", [("worker-0", "realtime-0", "api-0"), ("redis", "postgres", "worker-0")], ids=["roles", "engines"]
)
def test_every_write_is_audited_told_and_delivered_once(hurt: Stack, tenant: Tenant, victims: tuple[str, ...]) -> None:
    with Receiver() as receiver:
        hook = tenant.rest.post(f"{tenant.path}/webhooks", {"url": receiver.url, "eventTypes": ["page.created"]})
        assert hook.status_code == 201, hook.text
        follower = Follower(tenant, position(tenant))
        following = threading.Thread(target=follower.follow, args=(LAST,), daemon=True)
        following.start()
        with Load(tenant) as load:
            for victim in victims:
                load.more(BEFORE_THE_NEXT)
                restart(hurt, victim)
            load.more(BEFORE_THE_NEXT)
        assert tenant.rest.post(f"{tenant.path}/pages", {"slug": LAST}).status_code == 201
        following.join(TIMEOUT)
        assert not following.is_alive(), "the stream never told of the last page"
        load.check_refusals()
        load.check_writes(besides=1)
        events = {row["id"]: row["resource_id"] for row in rows(hurt, EVENTS, tenant.id)}
        hurt.wait_for(lambda: receiver.received.keys() >= events.keys(), 2 * TIMEOUT)
        # None of a write that was rolled back, and each tells of what was written.
        assert receiver.received.keys() == events.keys()
        assert {event_id: body["data"]["id"] for event_id, body in receiver.bodies.items()} == events
    entries = rows(hurt, ENTRIES, tenant.id)
    assert Counter(row["event_id"] for row in entries) == Counter(events.keys())
    assert Counter(row["resource_id"] for row in entries) == Counter(events.values())
    assert follower.facts == logged(tenant)
