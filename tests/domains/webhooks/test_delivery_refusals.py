"""Delivery to receivers that do not take it: each is tried again as it should be, and all of it can be looked up."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from plinth.webhooks.v1.webhook_pb2 import Webhook

from server.adapters.webhook_sender import WebhookSenders
from server.kernel.actors import PLATFORM
from server.kernel.egress import NOT_ALLOWED
from server.kernel.ids import new_id
from server.kernel.record.audit import leaf_hash
from tests.domains.webhooks.progress import CANCELLED, FAILED, PENDING, SUCCEEDED, queues_of, run, settled, statuses
from tests.domains.webhooks.receiver import FAIL, Receiver, Reply
from tests.domains.webhooks.scene import SENDING, Scene

pytestmark = pytest.mark.usefixtures("in_the_present")


def test_a_receiver_that_returns_after_an_hour(shared: Scene, receiver: Receiver) -> None:
    tenant, subjects = shared.add_tenant(), [new_id(), new_id()]
    receiver.behave("/away", FAIL)
    webhook = shared.add_webhook(tenant, receiver.url("/away"))
    events = shared.add_events(tenant, *subjects, *subjects)

    def attempted(number: int) -> Callable[[], bool]:
        return lambda: [row["attempts"] for row in shared.deliveries(webhook)] == [number, number, 0, 0]

    async def work() -> None:
        await shared.until(attempted(1))
        for number, pause in ((2, {"seconds": 7}), (3, {"minutes": 7}), (4, {"minutes": 40})):
            shared.move(**pause)
            await shared.until(attempted(number))
        assert shared.webhook(webhook)["failing_since_time"] is not None
        receiver.behave("/away", Reply())
        shared.move(hours=3)
        await shared.until(settled(shared, webhook, 4))

    run(work, shared)
    assert [row["attempts"] for row in shared.deliveries(webhook)] == [5, 5, 1, 1]
    attempts = shared.attempts(webhook)
    assert Counter(row["status_code"] for row in attempts) == {500: 8, 200: 4}
    assert sorted(row["number"] for row in attempts if row["subject"] == subjects[0]) == [1, 1, 2, 3, 4, 5]
    # Every attempt was the same message, and the later event came after the earlier one was taken.
    assert Counter(receiver.ids("/away")) == dict(zip(events, (5, 5, 1, 1), strict=True))
    assert len({(message.id, message.body) for message in receiver.messages("/away")}) == 4
    for subject, order in ((subjects[0], events[::2]), (subjects[1], events[1::2])):
        came = [message.id for message in receiver.messages("/away") if message.subject == subject]
        assert came == [order[0]] * 5 + [order[1]]
    assert shared.webhook(webhook)["failing_since_time"] is None


def test_after_three_days_a_message_is_given_up_and_the_next_goes_on(shared: Scene, receiver: Receiver) -> None:
    tenant, subject = shared.add_tenant(), new_id()
    # Not to the notice that it has been failing for three days, which chance may bring first.
    webhook = shared.add_webhook(tenant, receiver.url("/poison"), "page.updated")
    poison, good = shared.add_events(tenant, subject, subject)
    receiver.behave("/poison", lambda message: FAIL if message.id == poison else Reply())

    async def work() -> None:
        for number in range(1, 11):
            await shared.until(lambda: [row["attempts"] for row in shared.deliveries(webhook)][:1] == [number])  # noqa: B023
            shared.move_to_next(webhook)
        await shared.until(settled(shared, webhook, 1))

    run(work, shared)
    assert Counter(receiver.ids("/poison")) == {poison: 10, good: 1}
    assert [(row["status"], row["attempts"], row["last_error"]) for row in shared.deliveries(webhook)] == [
        (FAILED, 10, "status 500"),
        (SUCCEEDED, 1, ""),
    ]


@pytest.mark.parametrize(
    ("reply", "code", "error"),
    [
        (Reply(500, {}, b"out of order"), 500, "status 500"),
        (Reply(302, {"location": "http://127.0.0.1:1/private"}), 302, "status 302"),
        (Reply(hang=True), 0, "timeout"),
    ],
    ids=["fails", "redirects to a private address", "hangs"],
)
def test_what_a_bad_receiver_did_is_in_the_log(
    shared: Scene, receiver: Receiver, reply: Reply, code: int, error: str
) -> None:
    tenant, path = shared.add_tenant(), f"/bad/{code}"
    receiver.behave(path, reply)
    webhook = shared.add_webhook(tenant, receiver.url(path))
    shared.add_events(tenant, new_id())

    async def work() -> None:
        await shared.until(lambda: shared.attempts(webhook))

    run(work, shared, senders=WebhookSenders(shared.egress, total=1.0 if reply.hang else SENDING))
    (delivery,) = shared.deliveries(webhook)
    (attempt,) = shared.attempts(webhook)
    assert (delivery["status"], delivery["last_status_code"], delivery["last_error"]) == (PENDING, code, error)
    # The second pause would be of minutes.
    assert timedelta(seconds=4) <= delivery["next_attempt_time"] - attempt["create_time"] <= timedelta(seconds=60)
    assert (attempt["status_code"], attempt["error"]) == (code, "" if code else "timeout")
    assert attempt["response_headers"].get("location") == reply.headers.get("location")
    assert attempt["response_body"] == reply.body.decode()
    (queue,) = queues_of(shared, webhook)
    assert (queue["next_attempt_time"], queue["lease_time"]) == (delivery["next_attempt_time"], None)


def test_a_webhook_that_leads_to_a_private_address_gets_nothing(shared: Scene) -> None:
    tenant = shared.add_tenant()
    with Receiver("127.0.0.2") as private:
        webhook = shared.add_webhook(tenant, private.url())
        shared.add_events(tenant, new_id())

        async def work() -> None:
            await shared.until(lambda: shared.attempts(webhook))

        run(work, shared)
        assert private.connections == 0
    assert shared.attempts(webhook)[0]["error"] == NOT_ALLOWED


def test_a_receiver_that_is_gone_is_left_alone(shared: Scene, receiver: Receiver) -> None:
    tenant, subjects = shared.add_tenant(), [new_id() for _ in range(30)]
    receiver.behave("/gone", Reply(410))
    webhook = shared.add_webhook(tenant, receiver.url("/gone"), "page.*")
    other = shared.add_webhook(tenant, receiver.url("/told"), "webhook.disabled")
    shared.add_events(tenant, *subjects, *subjects)

    async def work() -> None:
        await shared.until(lambda: PENDING not in statuses(shared, webhook) and not queues_of(shared, webhook))
        await shared.until(settled(shared, other, 1))

    run(work, shared, concurrency=20)
    state = shared.webhook(webhook)
    assert (state["enabled"], state["disable_reason"], state["version"]) == (False, Webhook.DISABLE_REASON_GONE, 2)
    assert state["disable_time"] is not None
    found = Counter(statuses(shared, webhook))
    # Two were under way at once.
    assert 1 <= found[FAILED] == len(receiver.messages("/gone")) <= 2
    assert found[CANCELLED] == 60 - found[FAILED]
    (message,) = receiver.messages("/told")
    data = message.content["data"]
    assert (message.content["type"], data["id"], data["enabled"]) == ("webhook.disabled", webhook, False)
    assert data["disableReason"] == "DISABLE_REASON_GONE"
    assert data["secret"] == ""
    (entry,) = shared.run("SELECT * FROM audit_entries WHERE resource_id = %s", webhook)
    assert (entry["action"], entry["actor_kind"], entry["outcome"]) == ("webhook.disabled", PLATFORM, "OK")
    assert "DISABLE_REASON_GONE" in entry["changes"]
    plain = {name: str(value) if name.endswith("_id") and value else value for name, value in entry.items()}
    assert leaf_hash({**plain, "id": str(entry["id"])}) == entry["hash"]


def test_five_days_of_failures_disable_a_webhook_after_a_warning(shared: Scene, receiver: Receiver) -> None:
    tenant = shared.add_tenant()
    receiver.behave("/dead", FAIL)
    webhook = shared.add_webhook(tenant, receiver.url("/dead"), "page.*")
    watching = shared.add_webhook(tenant, receiver.url("/watch"), "webhook.*")

    async def work() -> None:
        for day in range(1, 7):
            shared.add_events(tenant, new_id())
            await shared.until(lambda: attempted() >= day or not shared.webhook(webhook)["enabled"])  # noqa: B023
            shared.move(hours=25)
        await shared.until(lambda: PENDING not in statuses(shared, webhook) and not queues_of(shared, webhook))
        await shared.until(settled(shared, watching, 2))

    def attempted() -> int:
        return sum(row["attempts"] > 0 for row in shared.deliveries(webhook))

    run(work, shared)
    # By id: what was under way while time passed is sent again.
    messages = {message.id: message.content for message in receiver.messages("/watch")}
    told = [(content["type"], content["data"]["enabled"]) for content in messages.values()]
    assert told == [("webhook.failing", True), ("webhook.disabled", False)]
    state = shared.webhook(webhook)
    assert (state["enabled"], state["disable_reason"]) == (False, Webhook.DISABLE_REASON_FAILING)
    assert state["disable_time"] - state["failing_since_time"] >= timedelta(days=5)
    assert state["disable_time"] - state["warn_time"] >= timedelta(days=1)
    assert set(statuses(shared, webhook)) == {CANCELLED}
    actions = shared.run("SELECT action FROM audit_entries WHERE resource_id = %s ORDER BY create_time", webhook)
    assert [row["action"] for row in actions] == ["webhook.failing", "webhook.disabled"]


def test_an_overloaded_receiver_is_left_alone_for_as_long_as_it_asks(shared: Scene, receiver: Receiver) -> None:
    tenant = shared.add_tenant()
    receiver.behave("/busy", Reply(429, {"retry-after": "600"}))
    webhook = shared.add_webhook(tenant, receiver.url("/busy"))
    shared.add_events(tenant, *(new_id() for _ in range(30)))

    async def work() -> None:
        await shared.until(lambda: not any(row["lease_time"] for row in queues_of(shared, webhook)) and asked())
        paused = len(receiver.messages("/busy"))
        # Those that were under way, and nothing after them.
        assert paused <= 4
        shared.move(minutes=9)
        other = shared.add_events(tenant, new_id())
        await shared.until(lambda: str(shared.deliveries(webhook)[-1]["event_id"]) == other[0])
        await asyncio.sleep(0.2)
        assert len(receiver.messages("/busy")) == paused
        receiver.behave("/busy", Reply())
        shared.move(minutes=4)
        await shared.until(settled(shared, webhook, 31))

    def asked() -> bool:
        return shared.webhook(webhook)["resume_time"] is not None

    run(work, shared)
    assert Counter(row["status_code"] for row in shared.attempts(webhook))[200] == 31
