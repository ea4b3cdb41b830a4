"""Notifications while their workers are killed: each person is told once, and each device and address at most once."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from server.kernel.ids import new_id
from tests.clients import Tenant, rows
from tests.domains.notifications.browsers import Browser
from tests.domains.notifications.test_broadcasts import MEMBERS
from tests.domains.webhooks.receiver import Receiver
from tests.faults.load import AWAY
from tests.faults.outages import replaced
from tests.people import new_people
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.heavy

PATH = "/api/v1/notifications"
PEOPLE, MESSAGES, KILLS = 1_200, 60, 3

SENT, UNCERTAIN = 5, 7
ENDED = "SELECT state, count(*)::int AS count FROM notification_deliveries WHERE tenant_id = %s GROUP BY state"

# What a worker had claimed that was gone at a moment: its successor's leases end later.
FREE = """
UPDATE notification_deliveries SET next_attempt_time = now()
 WHERE tenant_id = %s AND lease_time < %s + interval '2 minutes' RETURNING id
"""


def kill_worker(tenant: Tenant) -> None:
    """Kill it, and let its leases end once its successor is there."""
    stack = tenant.stack
    old = stack.kill("worker-0")
    [gone] = rows(stack, "SELECT now() AS time")
    replaced(stack, "worker-0", old)
    rows(stack, FREE, tenant.id, gone["time"])


def is_at(tenant: Tenant, path: str, least: int) -> bool:
    return bool(tenant.rest.get(path).json()["done"] >= least)


def has_more(receiver: Receiver, than: int) -> bool:
    return receiver.count() > than


def test_a_broadcast_tells_each_once_whose_worker_is_killed(hurt: Stack, tenant: Tenant) -> None:
    rows(hurt, MEMBERS, [new_id() for _ in range(PEOPLE)], tenant.id)
    operation = tenant.rest.post(f"{PATH}/broadcast", {"message": {"title": "To all"}}).json()
    path = f"/api/v1/long-operations/{operation['id']}"
    # Somewhere between two of its batches, or within one: its successor goes on after the last that was committed.
    hurt.wait_for(partial(is_at, tenant, path, 250))
    kill_worker(tenant)
    hurt.wait_for(lambda: tenant.rest.get(path).json()["state"] == "STATE_DONE", timeout=120)
    assert tenant.rest.get(path).json()["result"] == {"recipients": PEOPLE + 1, "told": PEOPLE + 1}
    query = "SELECT count(*)::int AS all, count(DISTINCT user_id)::int AS people FROM notifications"
    # That the operation has ended is told to who has started it.
    found = rows(hurt, f"{query} WHERE tenant_id = %s AND workflow <> 'operation-ended'", tenant.id)
    assert found == [{"all": PEOPLE + 1, "people": PEOPLE + 1}]
    counted = """
    SELECT (SELECT sum(unread) FROM notification_counts WHERE tenant_id = %s)
         = (SELECT count(*) FROM notifications WHERE tenant_id = %s) AS is_so"""
    assert rows(hurt, counted, tenant.id, tenant.id) == [{"is_so": True}]


def are_done(calls: Sequence[Future[None]], more_than: int) -> bool:
    return sum(call.done() for call in calls) > more_than


def send_until_answered(tenant: Tenant, people: list[str], title: str) -> None:
    """What a careful program does: the same send with the same key, until it is answered."""
    key = {"idempotency-key": new_id()}
    body = {"userIds": people, "message": {"workflow": "alert", "title": title}}

    def answered() -> bool:
        try:
            answer = tenant.rest.post(PATH, body, headers=key)
        except httpx.TransportError:
            return False
        assert answer.status_code == 201 or answer.status_code in AWAY, answer.text
        return bool(answer.status_code == 201)

    wait_for(answered, what=f"an answer to {title}")


def test_what_is_sent_again_is_told_once_whose_api_is_killed(hurt: Stack, tenant: Tenant) -> None:
    people, sends = new_people(tenant, 50), 80
    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send_until_answered, tenant, people, f"send {number}") for number in range(sends)]
        for kill in range(KILLS):
            hurt.wait_for(partial(are_done, sending, kill * sends // KILLS))
            name = f"api-{kill % 2}"
            replaced(hurt, name, hurt.kill(name))
        for one in sending:
            one.result()
    found = rows(hurt, "SELECT user_id::text AS person, title FROM notifications WHERE tenant_id = %s", tenant.id)
    told = Counter((row["person"], row["title"]) for row in found)
    assert told == Counter({(person, f"send {number}"): 1 for person in people for number in range(sends)})
    query = "SELECT DISTINCT unread, unseen FROM notification_counts WHERE tenant_id = %s"
    assert rows(hurt, query, tenant.id) == [{"unread": sends, "unseen": sends}]


def test_a_device_gets_each_push_at_most_once_whose_worker_is_killed(hurt: Stack, tenant: Tenant) -> None:
    rows(hurt, "UPDATE users SET email_verify_time = now() WHERE id = %s RETURNING id", tenant.owner.id)
    with Receiver() as receiver:
        browsers = [Browser(receiver) for _ in range(3)]
        for browser in browsers:
            browser.register(tenant)
        for round_ in range(KILLS):
            # CRITICAL, so that nothing waits for the rate.
            body = {"workflow": "alert", "priority": "PRIORITY_CRITICAL"}
            requests = [
                {"userIds": [tenant.owner.id], "message": body | {"title": f"{round_}-{number}"}}
                for number in range(MESSAGES // KILLS)
            ]
            assert tenant.rest.post(f"{PATH}/batch", {"requests": requests}).status_code == 201
            hurt.wait_for(partial(has_more, receiver, receiver.count()))
            kill_worker(tenant)
        hurt.wait_for(lambda: {row["state"] for row in rows(hurt, ENDED, tenant.id)} <= {SENT, UNCERTAIN})
        for browser in browsers:
            shown = Counter(each["title"] for each in browser.shown)
            assert set(shown.values()) == {1}
    states = {row["state"]: row["count"] for row in rows(hurt, ENDED, tenant.id)}
    assert sum(states.values()) == MESSAGES * (len(browsers) + 1)
    # Mail is handed to its queue in the transaction that ends the delivery: each once.
    mails = rows(hurt, "SELECT subject FROM email_messages WHERE tenant_id = %s", tenant.id)
    assert Counter(Counter(row["subject"] for row in mails).values()) == {1: MESSAGES}
    query = (
        "SELECT count(*)::int AS count FROM notification_deliveries WHERE tenant_id = %s AND state = %s AND channel = 3"
    )
    [uncertain] = rows(hurt, query, tenant.id, UNCERTAIN)
    missing = MESSAGES * len(browsers) - sum(len(browser.messages) for browser in browsers)
    # What was not received is among what is said to be uncertain.
    assert missing <= uncertain["count"]
