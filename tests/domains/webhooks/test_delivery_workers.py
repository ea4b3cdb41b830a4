"""Delivery by workers that die, end, or are several: nothing is lost."""

import asyncio
from collections import Counter
from datetime import timedelta

import psycopg
import pytest

from server.adapters.webhook_sender import WebhookSenders
from server.domains.webhooks.queues import Queues, open_pool
from server.domains.webhooks.slots import Slots
from server.kernel.ids import new_id
from tests.domains.webhooks.progress import SUCCEEDED, queues_of, run, settled, statuses
from tests.domains.webhooks.receiver import Receiver, Reply
from tests.domains.webhooks.scene import SENDING, Scene

pytestmark = pytest.mark.usefixtures("in_the_present")


def test_what_a_dead_worker_had_is_delivered_after_its_lease(shared: Scene, receiver: Receiver) -> None:
    tenant, subject = shared.add_tenant(), new_id()
    webhook = shared.add_webhook(tenant, receiver.url("/lease"))
    events = shared.add_events(tenant, subject, subject)
    for event in events:
        shared.add_delivery(tenant, webhook, event, subject)

    async def die() -> None:
        """Claim everything, and never be heard of again."""
        async with open_pool(shared.dispatch, "dead", size=1) as pool:
            now = shared.clock()
            claim = await Queues(pool).claim(Slots(40).room, now, now + timedelta(seconds=30))
            assert [visit.subject for visit in claim.visits] == [subject]
            assert [pending.event_id for pending in claim.visits[0].deliveries] == events

    async def work() -> None:
        await asyncio.sleep(0.3)
        assert receiver.messages("/lease") == []
        shared.move(seconds=31)
        await shared.until(settled(shared, webhook, 2))

    asyncio.run(die())
    with shared.nothing_new():
        run(work, shared)
    assert receiver.ids("/lease") == events


def test_a_worker_that_ends_gives_back_what_it_could_not_finish(shared: Scene, receiver: Receiver) -> None:
    tenant = shared.add_tenant()
    webhook = shared.add_webhook(tenant, receiver.url("/ending"))
    events = shared.add_events(tenant, new_id())
    receiver.behave("/ending", Reply(hang=True))

    async def begin() -> None:
        await shared.until(lambda: receiver.messages("/ending"))

    async def go_on() -> None:
        await shared.until(settled(shared, webhook, 1))

    run(begin, shared, senders=WebhookSenders(shared.egress, total=60.0))
    (queue,) = queues_of(shared, webhook)
    assert queue["lease_time"] is None
    receiver.behave("/ending", Reply())
    run(go_on, shared)
    assert receiver.ids("/ending") == events * 2
    assert [row["number"] for row in shared.attempts(webhook)] == [1]


def test_nothing_is_sent_before_it_is_written_what_came_before(shared: Scene, receiver: Receiver) -> None:
    """Otherwise a worker that dies would have the first message repeated after the second."""
    tenant, subject = shared.add_tenant(), new_id()
    webhook = shared.add_webhook(tenant, receiver.url("/written"))
    events = shared.add_events(tenant, subject, subject)
    for event in events:
        shared.add_delivery(tenant, webhook, event, subject)

    async def work() -> None:
        with psycopg.connect(shared.administrator) as holding:
            first = shared.deliveries(webhook)[0]["id"]
            holding.execute("SELECT FROM webhook_deliveries WHERE id = %s FOR UPDATE", (first,))
            shared.run("UPDATE webhook_queues SET next_attempt_time = now() WHERE webhook_id = %s", webhook)
            await shared.until(lambda: receiver.messages("/written"))
            await shared.until_somebody_waits()
            assert receiver.ids("/written") == events[:1]
        await shared.until(settled(shared, webhook, 2))

    shared.run("UPDATE webhook_queues SET next_attempt_time = now() + interval '1 h' WHERE webhook_id = %s", webhook)
    with shared.nothing_new():
        run(work, shared)
    assert receiver.ids("/written") == events


def test_several_workers_share_the_work_and_end_in_the_middle_of_it(shared: Scene, receiver: Receiver) -> None:
    """Everything arrives, in order; and nothing comes twice."""
    tenant, subjects = shared.add_tenant(), [new_id() for _ in range(30)]
    webhook = shared.add_webhook(tenant, receiver.url("/shared"))
    events = shared.add_events(tenant, *subjects, *subjects, *subjects)

    async def work() -> None:
        for _ in range(3):
            # It finishes what is under way, or else that would come again.
            passing = asyncio.create_task(shared.engine(patience=SENDING).run())
            await asyncio.sleep(0.05)
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)
        await shared.until(settled(shared, webhook, 90))

    run(work, shared)
    counts = Counter(receiver.ids("/shared"))
    assert counts.keys() == set(events)
    assert set(counts.values()) == {1}
    for number, subject in enumerate(subjects):
        came = [message.id for message in receiver.messages("/shared") if message.subject == subject]
        assert came == [events[number], events[number + 30], events[number + 60]]


def test_a_database_that_goes_away_for_a_moment_costs_nothing(shared: Scene, receiver: Receiver) -> None:
    tenant, subjects = shared.add_tenant(), [new_id() for _ in range(25)]
    webhook = shared.add_webhook(tenant, receiver.url("/cut"))
    shared.add_events(tenant, *subjects, *subjects)

    async def work() -> None:
        terminate = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            # Other tests have workers of this name in databases of their own.
            " WHERE application_name LIKE 'plinth test %%' AND datname = current_database()"
        )
        for _ in range(4):
            await asyncio.to_thread(shared.run, terminate)
            await asyncio.sleep(0.1)
        await shared.until(settled(shared, webhook, 50))

    run(work, shared)
    assert statuses(shared, webhook) == [SUCCEEDED] * 50
    # Written is what was sent: nothing had to be sent twice, since whoever sent it was still there to write it.
    assert len(receiver.messages("/cut")) == len(shared.attempts(webhook)) == 50
