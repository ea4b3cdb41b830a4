"""Delivery: whatever a receiver does, everybody else gets their messages, in order."""

from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.adapters.webhook_sender import WebhookSenders
from server.kernel.ids import new_id
from tests.domains.webhooks.progress import PENDING, SUCCEEDED, queues_of, run, settled, statuses
from tests.domains.webhooks.receiver import FAIL, Message, Receiver, Reply
from tests.domains.webhooks.scene import Scene

pytestmark = pytest.mark.usefixtures("in_the_present")


def test_receivers_that_hang_hold_up_nobody_else(shared: Scene, receiver: Receiver) -> None:
    """Twenty webhooks hang, with much to do for each; one tenant has most of them. Two others are served meanwhile."""
    receiver.behave("/hang", Reply(hang=True))
    bad, good, beside = shared.add_tenant(), shared.add_tenant(), shared.add_tenant()
    hanging = [shared.add_webhook(bad if number else beside, receiver.url("/hang")) for number in range(20)]
    shared.add_events(bad, *(new_id() for _ in range(20)))
    shared.add_events(beside, *(new_id() for _ in range(20)))
    fine = [shared.add_webhook(tenant, receiver.url("/fine")) for tenant in (good, beside)]
    shared.run("UPDATE webhooks SET create_time = now() + interval '1 hour' WHERE id = ANY(%s::uuid[])", fine)

    async def work() -> None:
        await shared.until(lambda: len(receiver.messages("/hang")) >= 10)
        shared.run("UPDATE webhooks SET create_time = now() - interval '1 hour' WHERE id = ANY(%s::uuid[])", fine)
        shared.run("UPDATE webhooks SET create_time = now() + interval '1 hour' WHERE id = ANY(%s::uuid[])", hanging)
        for tenant in (good, beside):
            shared.add_events(tenant, *(new_id() for _ in range(40)))
        for webhook in fine:
            await shared.until(settled(shared, webhook, 40))
        assert all(row["status"] == PENDING for webhook in hanging for row in shared.deliveries(webhook))

    # They hang for longer than the test lasts.
    run(work, shared, senders=WebhookSenders(shared.egress, total=60.0))
    assert len(receiver.messages("/fine")) == 80


def test_a_subject_that_hangs_holds_up_no_other_one(shared: Scene, receiver: Receiver) -> None:
    tenant, poison, subjects = shared.add_tenant(), new_id(), [new_id() for _ in range(20)]
    receiver.behave("/one", lambda message: Reply(hang=True) if message.subject == poison else Reply())
    webhook = shared.add_webhook(tenant, receiver.url("/one"))
    shared.add_events(tenant, poison, poison, *subjects, *subjects)

    async def work() -> None:
        await shared.until(lambda: statuses(shared, webhook).count(SUCCEEDED) == 40)

    run(work, shared)
    assert statuses(shared, webhook)[:2] == [PENDING, PENDING]
    assert {message.subject for message in receiver.messages("/one")} == {poison, *subjects}


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=15))
def test_the_order_of_each_subject_is_kept_whatever_fails(
    shared: Scene, receiver: Receiver, plan: list[tuple[int, int]]
) -> None:
    """A plan says which subject each event is about, and how often its delivery fails first."""
    tenant, path = shared.add_tenant(), f"/order/{new_id()}"
    subjects = [new_id() for _ in range(4)]
    webhook = shared.add_webhook(tenant, receiver.url(path))
    events = shared.add_events(tenant, *(subjects[subject] for subject, _ in plan))
    failures = {event: number for event, (_, number) in zip(events, plan, strict=True)}
    tries: Counter[str] = Counter()

    def behave(message: Message) -> Reply:
        tries[message.id] += 1
        return FAIL if tries[message.id] <= failures[message.id] else Reply()

    receiver.behave(path, behave)

    async def work() -> None:
        def goes_on() -> bool:
            # Not while something is under way or about to be queued: its lease would be over, and it be sent twice.
            now, queues = shared.clock(), queues_of(shared, webhook)
            if queues and all(row["next_attempt_time"] > now and not row["lease_time"] for row in queues):
                shared.move(minutes=30)
            return settled(shared, webhook, len(plan))()

        await shared.until(goes_on)

    run(work, shared)
    shared.run("UPDATE webhooks SET enabled = false WHERE id = %s", webhook)
    came: dict[str, list[str]] = defaultdict(list)
    for message in receiver.messages(path):
        came[message.subject].append(message.id)
    for number, subject in enumerate(subjects):
        expected = [
            event
            for event, (about, fails) in zip(events, plan, strict=True)
            if about == number
            for _ in range(fails + 1)
        ]
        assert came[subject] == expected
