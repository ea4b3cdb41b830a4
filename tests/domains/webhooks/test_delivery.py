"""Delivery: what is sent, and how it can be looked up."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from plinth.sites.v1.page_pb2 import Page
from standardwebhooks import Webhook as Verifier

from server.domains.webhooks.messages import message_of
from server.kernel.ids import new_id
from tests.domains.webhooks.progress import FAILED, SUCCEEDED, queues_of, run, settled
from tests.domains.webhooks.receiver import Receiver, Reply
from tests.domains.webhooks.scene import Scene

pytestmark = pytest.mark.usefixtures("in_the_present")


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


def test_each_attempt_sends_the_same_bytes() -> None:
    """The entries of a map come in another order in every process."""
    settings = {f"setting-{number}": number for number in range(30)}
    pages = [Page(title="One"), Page(title="One")]
    pages[0].settings.update(settings)
    pages[1].settings.update(dict(reversed(settings.items())))
    bodies = {message_of("page.updated", datetime(2026, 1, 1, tzinfo=UTC), page) for page in pages}
    assert len(bodies) == 1
