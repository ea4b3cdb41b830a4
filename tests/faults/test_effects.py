"""What follows from a write happens exactly as often as the write, whatever dies between commit and dispatch."""

import signal
import threading
from contextlib import nullcontext

import pytest

from tests.clients import Tenant, database
from tests.faults.load import Load
from tests.faults.outages import away, replaced, well
from tests.faults.receiver import Receiver
from tests.stack import PATIENCE, Stack
from tests.streams.sse import Follower, logged, position

pytestmark = pytest.mark.heavy

BEFORE_THE_NEXT = 40
LAST = "the-last-one"
# In one statement: a call whose caller has left may still be at it.
EVENTS = """
SELECT event.id::text AS id, event.resource_id, entry.resource_id AS audited
  FROM (SELECT * FROM events WHERE tenant_id = %(tenant)s AND type = 'page.created') AS event
  FULL JOIN (SELECT * FROM audit_entries
              WHERE tenant_id = %(tenant)s AND action = 'page.created' AND outcome = 'OK') AS entry
    ON entry.event_id = event.id
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


def told(tenant: Tenant) -> dict[str, str]:
    """The events of new pages: id to page. Each has its audit entry, and each entry its event."""
    with database(tenant.stack) as connection:
        found = connection.execute(EVENTS, {"tenant": tenant.id}).fetchall()
    assert all(row["audited"] == row["resource_id"] for row in found)
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row["resource_id"] for row in found}


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
        following.join(PATIENCE)
        assert not following.is_alive(), "the stream never told of the last page"
        load.check_refusals()
        load.check_writes(besides=1)
        hurt.wait_for(lambda: receiver.received.keys() == set(told(tenant)))
        events = told(tenant)
        # None of a write that was rolled back, and each tells of what was written.
        assert {event_id: body["data"]["id"] for event_id, body in receiver.bodies.items()} == events
    assert follower.facts == logged(tenant)
