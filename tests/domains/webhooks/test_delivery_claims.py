"""Claiming: who gets how many slots, and that nobody is passed over."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from server.domains.webhooks import queues
from server.domains.webhooks.gauges import WebhookGauges
from server.domains.webhooks.queues import Claim, Queues, Room, open_pool
from server.kernel.ids import new_id
from tests.domains.webhooks.scene import Scene

NOWHERE = "http://127.0.0.1:1/"
LEASE = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def _alone(shared: Scene) -> None:
    shared.run("DELETE FROM webhooks")
    shared.clock.ahead = timedelta()


def with_queues(place: Scene, tenant: str, number: int) -> str:
    """A webhook with so many queues, all of them due."""
    webhook = place.add_webhook(tenant, NOWHERE)
    place.run(
        "INSERT INTO webhook_queues (tenant_id, webhook_id, subject, next_attempt_time)"
        " SELECT %s, %s, number, now() - number * interval '1 second' FROM generate_series(1, %s) AS number",
        *(tenant, webhook, number),
    )
    return webhook


def room(**given: Any) -> Room:
    plenty = {"room": 1000, "failing_room": 1000, "share": 100, "failing_share": 100, "tenant_share": 1000}
    return Room(**{**plenty, "webhooks": {}, "tenants": {}, **given})


def claims(place: Scene, *rooms: Room) -> list[Claim]:
    """What one worker gets, asking so often."""

    async def ask(pool: queues.Pool) -> list[Claim]:
        asking = Queues(pool)
        now = place.clock()
        return [await asking.claim(one, now, now + LEASE) for one in rooms]

    return with_pool(place, ask)


def with_pool(place: Scene, work: Callable[[queues.Pool], Coroutine[Any, Any, list[Claim]]]) -> list[Claim]:
    async def run() -> list[Claim]:
        async with open_pool(place.dispatch, "test", size=1) as pool:
            return await work(pool)

    return asyncio.run(run())


def by_webhook(claim: Claim) -> Counter[str]:
    return Counter(visit.webhook_id for visit in claim.visits)


def test_nobody_gets_more_than_a_share(shared: Scene) -> None:
    ours, theirs = shared.add_tenant(), shared.add_tenant()
    busy, calm, foreign = with_queues(shared, ours, 50), with_queues(shared, ours, 2), with_queues(shared, theirs, 50)
    (claim,) = claims(shared, room(share=5))
    assert by_webhook(claim) == {busy: 5, calm: 2, foreign: 5}
    (claim,) = claims(shared, room(share=5, webhooks={busy: 4, foreign: 9}))
    assert by_webhook(claim) == {busy: 1}
    (claim,) = claims(shared, room(share=5, tenant_share=7, tenants={ours: 4, theirs: 7}))
    assert by_webhook(claim) == {busy: 3}


def test_a_tenant_with_many_webhooks_gets_one_share_of_a_tenant(shared: Scene) -> None:
    many, single = shared.add_tenant(), shared.add_tenant()
    crowd = [with_queues(shared, many, 10) for _ in range(8)]
    alone = with_queues(shared, single, 10)
    (claim,) = claims(shared, room(share=5, tenant_share=12))
    found = by_webhook(claim)
    assert found[alone] == 5
    assert sum(found[webhook] for webhook in crowd) == 12
    # Each of them has something.
    assert all(found[webhook] for webhook in crowd)


def test_those_that_fail_get_next_to_nothing(shared: Scene) -> None:
    tenant = shared.add_tenant()
    failing = [with_queues(shared, tenant, 20) for _ in range(5)]
    shared.run("UPDATE webhooks SET failing_since_time = now()")
    healthy = with_queues(shared, tenant, 20)
    (claim,) = claims(shared, room(share=10, failing_share=2, failing_room=7))
    found = by_webhook(claim)
    assert found[healthy] == 10
    assert sum(found[webhook] for webhook in failing) == 7
    assert max(found[webhook] for webhook in failing) == 2
    assert all(visit.failing == (visit.webhook_id != healthy) for visit in claim.visits)


def test_scarce_slots_are_shared_evenly(shared: Scene) -> None:
    tenant = shared.add_tenant()
    webhooks = [with_queues(shared, tenant, 20) for _ in range(4)]
    (claim,) = claims(shared, room(room=8, share=10))
    assert by_webhook(claim) == dict.fromkeys(webhooks, 2)


def test_what_has_been_due_for_longest_comes_first(shared: Scene) -> None:
    webhook = with_queues(shared, shared.add_tenant(), 9)
    (claim,) = claims(shared, room(share=3))
    assert sorted(visit.subject for visit in claim.visits) == ["7", "8", "9"]
    assert {row["subject"] for row in shared.queues() if row["lease_time"]} == {"7", "8", "9"}
    assert {visit.webhook_id for visit in claim.visits} == {webhook}


def test_what_is_not_due_paused_disabled_or_taken_is_left_alone(shared: Scene) -> None:
    tenant = shared.add_tenant()
    later, paused, disabled, taken = (with_queues(shared, tenant, 3) for _ in range(4))
    shared.run("UPDATE webhook_queues SET next_attempt_time = now() + interval '1 h' WHERE webhook_id = %s", later)
    shared.run("UPDATE webhooks SET resume_time = now() + interval '1 minute' WHERE id = %s", paused)
    shared.run("UPDATE webhooks SET enabled = false, disable_reason = 1 WHERE id = %s", disabled)
    first, second = claims(shared, room(), room())
    assert by_webhook(first) == {taken: 3}
    assert (second.visits, second.stopped, second.is_all) == ([], [], True)
    shared.clock.move(seconds=61)
    assert by_webhook(claims(shared, room())[0]) == {paused: 3, taken: 3}


def test_webhooks_that_were_disabled_for_failing_are_told(shared: Scene) -> None:
    tenant = shared.add_tenant()
    stopped = [with_queues(shared, tenant, 1) for _ in range(2)]
    for webhook, reason in zip(stopped, (2, 3), strict=True):
        shared.run("UPDATE webhooks SET enabled = false, disable_reason = %s WHERE id = %s", reason, webhook)
    (claim,) = claims(shared, room())
    assert sorted(claim.stopped) == sorted((tenant, webhook) for webhook in stopped)


def test_looks_go_round_all_webhooks(shared: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "WINDOW", 3)
    webhooks = [with_queues(shared, shared.add_tenant(), 9) for _ in range(7)]
    found = claims(shared, *[room(share=2)] * 6)
    assert [len(by_webhook(claim)) for claim in found] == [3, 3, 1, 3, 3, 1]
    assert [claim.is_all for claim in found] == [False, False, True] * 2
    total = sum(map(by_webhook, found), Counter())
    assert total == dict.fromkeys(webhooks, 4)


def test_several_workers_never_get_the_same(shared: Scene) -> None:
    for _ in range(4):
        with_queues(shared, shared.add_tenant(), 50)

    async def work() -> list[Claim]:
        async with open_pool(shared.dispatch, "test", size=4) as pool:
            now = shared.clock()
            asking = [Queues(pool).claim(room(share=5), now, now + LEASE) for _ in range(8)]
            return await asyncio.gather(*asking)

    taken = Counter((visit.webhook_id, visit.subject) for claim in asyncio.run(work()) for visit in claim.visits)
    assert set(taken.values()) == {1}
    assert len(taken) == sum(row["lease_time"] is not None for row in shared.queues())


def test_a_claim_brings_what_waits_in_order_and_in_bounds(shared: Scene) -> None:
    tenant, subject = shared.add_tenant(), new_id()
    webhook = shared.add_webhook(tenant, NOWHERE)
    events = shared.add_events(tenant, *[subject] * 14)
    for event in events:
        shared.add_delivery(tenant, webhook, event, subject)
    (claim,) = claims(shared, room())
    assert [pending.event_id for pending in claim.visits[0].deliveries] == events[: queues.BATCH]
    assert claim.visits[0].receiver is not None
    assert claim.visits[0].receiver["url"] == NOWHERE
    # Large ones are loaded one at a time.
    shared.run("UPDATE events SET payload = %s WHERE tenant_id = %s", b"x" * queues.BATCH_BYTES, tenant)
    shared.clock.move(seconds=31)
    (claim,) = claims(shared, room())
    assert [pending.event_id for pending in claim.visits[0].deliveries] == events[:1]


def test_gauges_tell_what_waits(shared: Scene) -> None:
    tenant = shared.add_tenant()
    due, failing = with_queues(shared, tenant, 40), with_queues(shared, tenant, 90)
    shared.run("UPDATE webhooks SET failing_since_time = now() WHERE id = %s", failing)
    (event,) = shared.add_events(tenant, new_id())
    shared.add_delivery(tenant, due, event, new_id())
    shared.run("INSERT INTO event_cursors (name) VALUES ('webhooks') ON CONFLICT DO NOTHING")
    gauges = WebhookGauges(shared.dispatch, name="test", clock=shared.clock)

    async def look() -> None:
        looking = asyncio.create_task(gauges.run())
        await shared.until(lambda: (REGISTRY.get_sample_value("plinth_webhook_oldest_seconds") or 0) > 0)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    asyncio.run(look())
    assert REGISTRY.get_sample_value("plinth_webhook_pending") == 1
    assert 40 <= (REGISTRY.get_sample_value("plinth_webhook_oldest_seconds") or 0) < 90
    assert (REGISTRY.get_sample_value("plinth_event_lag_seconds", {"reader": "webhooks"}) or 0) > 0
