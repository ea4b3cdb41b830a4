"""Delivery: whatever a receiver does, everybody else gets their messages, in order, and all of it can be looked up."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plinth.webhooks.v1.webhook_pb2 import Webhook
from standardwebhooks import Webhook as Verifier

from server.adapters.webhook_sender import WebhookSenders
from server.domains.webhooks.queues import Queues, open_pool
from server.domains.webhooks.slots import Slots
from server.kernel.audit import PLATFORM, leaf_hash
from server.kernel.ids import new_id
from tests.stack import Stack
from tests.webhooks.receiver import FAIL, Message, Receiver, Reply
from tests.webhooks.scene import Scene, scene

PENDING, SUCCEEDED, FAILED, CANCELLED = 1, 2, 3, 4


@pytest.fixture(scope="module")
def shared(stack: Stack) -> Iterator[Scene]:
    with scene(stack) as one:
        yield one


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture(autouse=True)
def _in_the_present(shared: Scene) -> Iterator[None]:
    """What a test leaves undone is nobody's business after it."""
    yield
    shared.run("UPDATE webhooks SET enabled = false")
    shared.clock.ahead = timedelta()


def run(work: Callable[[], Awaitable[None]], place: Scene, **options: Any) -> None:
    """Do it while a dispatcher and an engine are working."""

    async def go() -> None:
        async with place.working(**options):
            await work()

    asyncio.run(go())


def statuses(place: Scene, webhook: str) -> list[int]:
    return [row["status"] for row in place.deliveries(webhook)]


def settled(place: Scene, webhook: str, number: int) -> Callable[[], bool]:
    """Whether so many deliveries have succeeded, and nothing is left to do for them."""
    return lambda: statuses(place, webhook).count(SUCCEEDED) >= number and not queues_of(place, webhook)


def queues_of(place: Scene, webhook: str) -> list[dict[str, Any]]:
    return [row for row in place.queues() if str(row["webhook_id"]) == webhook]


# What is sent --------------------------------------------------------------------------------------------------------


def test_a_message_and_its_log(shared: Scene, receiver: Receiver) -> None:
    tenant, subject = shared.add_tenant(), new_id()
    receiver.behave("/plain", Reply(201, {"x-own": "1", "set-cookie": "secret=1"}, b"thanks\0"))
    webhook = shared.add_webhook(tenant, receiver.url("/plain"))
    (event,) = shared.add_events(tenant, subject)

    async def work() -> None:
        await shared.until(settled(shared, webhook, 1))

    run(work, shared)
    (message,) = receiver.messages("/plain")
    Verifier(b"0" * 32).verify(message.body, dict(message.headers))
    (logged,) = shared.run("SELECT create_time FROM events WHERE id = %s", event)
    assert message.id == event
    assert message.content["type"] == "page.updated"
    assert datetime.fromisoformat(message.content["timestamp"]) == logged["create_time"]
    # As REST shows it: what is unset as well, names in camel case.
    assert message.content["data"].items() >= {"id": subject, "title": "News", "tenantId": ""}.items()
    (delivery,) = shared.deliveries(webhook)
    assert (delivery["status"], delivery["attempts"], delivery["last_status_code"]) == (SUCCEEDED, 1, 201)
    assert (delivery["last_error"], delivery["next_attempt_time"]) == ("", None)
    (attempt,) = shared.attempts(webhook)
    assert (attempt["number"], attempt["status_code"], attempt["error"]) == (1, 201, "")
    assert attempt["request_body"].encode() == message.body
    assert attempt["request_headers"]["webhook-id"] == event
    assert "webhook-signature" not in attempt["request_headers"]
    assert attempt["response_headers"] == {"x-own": "1", "content-length": "7"}
    assert attempt["response_body"] == "thanks\ufffd"
    assert attempt["create_time"] <= delivery["finish_time"]
    state = shared.webhook(webhook)
    assert state["last_success_time"] == delivery["finish_time"]
    assert (state["failing_since_time"], state["version"]) == (None, 1)


def test_while_a_secret_is_replaced_both_sign(shared: Scene, receiver: Receiver) -> None:
    tenant = shared.add_tenant()
    webhook = shared.add_webhook(tenant, receiver.url("/rotated"))
    shared.run(
        "UPDATE webhooks SET previous_secret = %s, previous_secret_expire_time = now() + interval '1 h' WHERE id = %s",
        *(shared.box.seal(b"1" * 32, webhook), webhook),
    )

    async def work() -> None:
        for number in (1, 2):
            shared.add_events(tenant, new_id())
            await shared.until(settled(shared, webhook, number))
            shared.move(hours=2)

    run(work, shared)
    during, after = receiver.messages("/rotated")
    assert [len(message.headers["webhook-signature"].split()) for message in (during, after)] == [2, 1]
    for secret in (b"0" * 32, b"1" * 32):
        Verifier(secret).verify(during.body, dict(during.headers))


def test_what_cannot_be_made_any_more_fails_and_the_next_goes_on(shared: Scene, receiver: Receiver) -> None:
    tenant, subject = shared.add_tenant(), new_id()
    webhook = shared.add_webhook(tenant, receiver.url("/unmakeable"))
    gone, unknown, broken, good = shared.add_events(tenant, *[subject] * 4)
    shared.run("UPDATE events SET message_type = 'plinth.old.v1.Thing' WHERE id = %s", unknown)
    shared.run("UPDATE events SET payload = '\\xff' WHERE id = %s", broken)
    shared.add_delivery(tenant, webhook, gone, subject)
    shared.run("DELETE FROM events WHERE id = %s", gone)

    async def work() -> None:
        await shared.until(settled(shared, webhook, 1))

    run(work, shared)
    assert receiver.ids("/unmakeable") == [good]
    assert [(row["status"], row["last_error"], row["attempts"]) for row in shared.deliveries(webhook)] == [
        (FAILED, "the event is no longer kept", 0),
        (FAILED, "plinth.old.v1.Thing is no longer known", 0),
        (FAILED, "the event is no plinth.sites.v1.Page", 0),
        (SUCCEEDED, "", 1),
    ]
    # It is no fault of the receiver.
    assert shared.webhook(webhook)["failing_since_time"] is None


def test_a_secret_that_cannot_be_opened_costs_no_attempt(
    shared: Scene, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = shared.add_tenant()
    webhook = shared.add_webhook(tenant, receiver.url("/keyless"))
    (sealed,) = shared.run("SELECT secret FROM webhooks WHERE id = %s", webhook)
    shared.run("UPDATE webhooks SET secret = '\\x00' WHERE id = %s", webhook)
    shared.add_events(tenant, new_id())

    async def work() -> None:
        due = datetime.now(UTC) + timedelta(minutes=4)
        await shared.until(lambda: [row for row in queues_of(shared, webhook) if row["next_attempt_time"] > due])
        shared.run("UPDATE webhooks SET secret = %s WHERE id = %s", sealed["secret"], webhook)
        shared.move(minutes=6)
        await shared.until(settled(shared, webhook, 1))

    with caplog.at_level(logging.CRITICAL, "plinth.webhooks"):
        run(work, shared)
    assert len(shared.attempts(webhook)) == 1


# Receivers that do not take it ---------------------------------------------------------------------------------------


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
    webhook = shared.add_webhook(tenant, receiver.url("/poison"))
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

    run(work, shared)
    (delivery,) = shared.deliveries(webhook)
    (attempt,) = shared.attempts(webhook)
    assert (delivery["status"], delivery["last_status_code"], delivery["last_error"]) == (PENDING, code, error)
    assert timedelta(seconds=4) <= delivery["next_attempt_time"] - attempt["create_time"] <= timedelta(seconds=9)
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
    assert shared.attempts(webhook)[0]["error"] == "the address is not allowed"


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


# Nobody is held up ---------------------------------------------------------------------------------------------------


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
            # Not while something is under way: its lease would be over.
            now = shared.clock()
            if all(row["next_attempt_time"] > now and not row["lease_time"] for row in queues_of(shared, webhook)):
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


# Workers that die ----------------------------------------------------------------------------------------------------


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
            await asyncio.sleep(0.3)
            assert receiver.ids("/written") == events[:1]
        await shared.until(settled(shared, webhook, 2))

    shared.run("UPDATE webhook_queues SET next_attempt_time = now() + interval '1 h' WHERE webhook_id = %s", webhook)
    with shared.nothing_new():
        run(work, shared)
    assert receiver.ids("/written") == events


def test_several_workers_share_the_work_and_end_in_the_middle_of_it(shared: Scene, receiver: Receiver) -> None:
    """Everything arrives, in order; what was under way when a worker ended comes again, and nothing else does."""
    tenant, subjects = shared.add_tenant(), [new_id() for _ in range(30)]
    webhook = shared.add_webhook(tenant, receiver.url("/shared"))
    events = shared.add_events(tenant, *subjects, *subjects, *subjects)

    async def work() -> None:
        for _ in range(3):
            passing = asyncio.create_task(shared.engine().run())
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
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'plinth test %%'"
        )
        for _ in range(4):
            await asyncio.to_thread(shared.run, terminate)
            await asyncio.sleep(0.1)
        await shared.until(settled(shared, webhook, 50))

    run(work, shared)
    assert statuses(shared, webhook) == [SUCCEEDED] * 50
    # Written is what was sent: nothing had to be sent twice, since whoever sent it was still there to write it.
    assert len(receiver.messages("/cut")) == len(shared.attempts(webhook)) == 50
