"""Trials of webhooks, and the log of deliveries: what was sent, what was answered, and nothing that is secret."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from server.adapters.webhook_sender import Received
from server.domains.webhooks.attempts import (
    MOST_ATTEMPTS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    Sent,
    attempt_of,
    attempt_row,
)
from server.domains.webhooks.outcomes import SCHEDULE
from server.domains.webhooks.secrets import SecretBox, new_secret
from server.kernel.egress import NOT_ALLOWED
from server.secrets import Secrets
from tests.clients import Tenant, new_tenant, reason, rows
from tests.domains.events import events_of
from tests.domains.webhooks.receiver import Receiver, Reply
from tests.domains.webhooks.test_webhooks import changed, make, path
from tests.stack import PATIENCE, Stack

TYPE = ["webhook.deleted"]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def tried(tenant: Tenant, webhook: dict[str, Any], **options: Any) -> dict[str, Any]:
    response = tenant.rest.post(path(tenant, webhook, "test"), {}, **options)
    assert response.status_code == 200, response.text
    delivery: dict[str, Any] = response.json()
    return delivery


def test_a_trial_is_sent_at_once_and_answers_what_came_of_it(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    receiver.behave("/taken", Reply(204, {"x-receiver": "mine", "set-cookie": "session=secret"}))
    webhook = make(tenant, url=receiver.url("/taken"), eventTypes=TYPE)
    delivery = tried(tenant, webhook)
    (message,) = receiver.messages("/taken")
    told = Verifier(webhook["secret"]).verify(message.body, dict(message.headers))
    assert told["type"] == "webhook.tested"
    assert told["data"]["id"] == delivery["id"]
    assert told["data"]["status"] == "STATUS_PENDING"
    assert told["timestamp"] == delivery["eventTime"]
    assert message.id == delivery["eventId"]
    assert (delivery["kind"], delivery["status"], delivery["attempts"]) == ("KIND_TEST", "STATUS_SUCCEEDED", 1)
    (attempt,) = delivery["attemptLog"]
    assert attempt["statusCode"] == delivery["lastStatusCode"] == 204
    assert attempt["requestBody"].encode() == message.body
    assert attempt["requestHeaders"]["webhook-id"] == message.id
    assert attempt["responseHeaders"]["x-receiver"] == "mine"
    assert not {"webhook-signature", "set-cookie"} & {*attempt["requestHeaders"], *attempt["responseHeaders"]}
    assert tenant.rest.get(path(tenant, webhook, f"deliveries/{delivery['id']}")).json() == delivery
    assert "lastSuccessTime" in tenant.rest.get(path(tenant, webhook)).json()
    event = events_of(stack, tenant.id)[-1]
    assert (event.type, event.resource_id) == ("webhook.tested", delivery["id"])
    assert not event.payload.attempt_log


def test_a_trial_is_signed_with_both_secrets_during_an_overlap(tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url("/both"), eventTypes=TYPE)
    rotated = tenant.rest.post(path(tenant, webhook, "rotate-secret"), {}).json()
    tried(tenant, webhook)
    (message,) = receiver.messages("/both")
    for secret in (webhook["secret"], rotated["secret"]):
        Verifier(secret).verify(message.body, dict(message.headers))


def test_a_trial_fails_once_and_for_good(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    receiver.behave("/broken", Reply(500, body=b"no \0 way"))
    webhook = make(tenant, url=receiver.url("/broken"), eventTypes=TYPE)
    delivery = tried(tenant, webhook)
    assert (delivery["status"], delivery["lastError"]) == ("STATUS_FAILED", "status 500")
    assert "nextAttemptTime" not in delivery
    assert delivery["attemptLog"][0]["responseBody"] == "no � way"
    assert not rows(stack, "SELECT FROM webhook_queues WHERE webhook_id = %s", webhook["id"])
    assert len(receiver.messages("/broken")) == 1


def test_a_trial_works_for_a_disabled_webhook_and_through_no_redirect(tenant: Tenant, receiver: Receiver) -> None:
    receiver.behave("/moved", Reply(302, {"location": receiver.url("/elsewhere")}))
    webhook = make(tenant, url=receiver.url("/moved"), eventTypes=TYPE)
    changed(tenant, webhook, enabled=False)
    assert tried(tenant, webhook)["lastStatusCode"] == 302
    assert not receiver.messages("/elsewhere")


def test_where_no_connection_may_lead_none_does(stack: Stack, tenant: Tenant) -> None:
    """Settings may have been others when the webhook was made."""
    webhook = make(tenant, eventTypes=TYPE)
    assert rows(stack, "UPDATE webhooks SET url = 'https://10.0.0.1/' WHERE id = %s RETURNING id", webhook["id"])
    delivery = tried(tenant, webhook)
    assert (delivery["status"], delivery["lastError"]) == ("STATUS_FAILED", NOT_ALLOWED)
    assert "PLINTH_WEBHOOK_ALLOWED_NETWORKS" in delivery["lastError"]


def test_sent_again_with_its_key_a_trial_is_not_sent_again(tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url("/keyed"), eventTypes=TYPE)
    key = {"idempotency-key": webhook["id"]}
    assert tried(tenant, webhook, headers=key) == tried(tenant, webhook, headers=key)
    assert len(receiver.messages("/keyed")) == 1


def test_a_receiver_that_takes_its_time_holds_up_nobody(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    """Readers of the event log wait for every transaction that has written: this one has not, not even with a key."""
    asked, answer = threading.Event(), threading.Event()

    def wait(_: object) -> Reply:
        asked.set()
        assert answer.wait(PATIENCE)
        return Reply()

    receiver.behave("/slow", wait)
    webhook = make(tenant, url=receiver.url("/slow"), eventTypes=TYPE)
    headers = {"idempotency-key": webhook["id"]}
    waiting = threading.Thread(target=lambda: tried(tenant, webhook, headers=headers))
    waiting.start()
    assert asked.wait(PATIENCE)
    query = """SELECT pid, xact_start, backend_xid IS NULL AS idle FROM pg_stat_activity
                WHERE state = 'idle in transaction' AND query LIKE 'SELECT webhooks.id, webhooks.url%%'"""
    before = rows(stack, query)
    assert tenant.rest.get(path(tenant, webhook)).status_code == 200
    # Those of other tests that change a webhook are there for a moment only.
    found = [row for row in rows(stack, query) if row in before]
    answer.set()
    waiting.join()
    assert found
    assert all(row["idle"] for row in found)


def test_whose_secret_is_lost_is_seen_and_can_be_rotated(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    """Sealed under a secret of the deployment that nobody has any more."""
    webhook = make(tenant, url=receiver.url("/lost"), eventTypes=TYPE, signatureScheme="SIGNATURE_SCHEME_ED25519")
    sealed = SecretBox(Secrets(b"lost" * 10)).seal(new_secret(), webhook["id"])
    assert rows(stack, "UPDATE webhooks SET secret = %s WHERE id = %s RETURNING id", sealed, webhook["id"])
    assert tenant.rest.get(path(tenant, webhook)).json()["secret"] == ""
    assert reason(tenant.rest.post(path(tenant, webhook, "test"), {})) == (409, "STATE_FORBIDS")
    assert tenant.rest.post(path(tenant, webhook, "rotate-secret"), {}).status_code == 200
    assert tried(tenant, webhook)["status"] == "STATUS_SUCCEEDED"


# The log -------------------------------------------------------------------------------------------------------------


def test_deliveries_are_listed_by_what_can_be_filtered(tenant: Tenant, receiver: Receiver) -> None:
    receiver.behave("/log", lambda _: Reply(500 if len(receiver.messages("/log")) == 1 else 200))
    webhook = make(tenant, url=receiver.url("/log"), eventTypes=TYPE)
    other = make(tenant, url=receiver.url("/log-of-another"), eventTypes=TYPE)
    first, second, third = (tried(tenant, webhook)["id"] for _ in range(3))
    theirs = tried(tenant, other)

    def listed(**asked: Any) -> dict[str, Any]:
        response = tenant.rest.get(path(tenant, webhook, "deliveries"), asked)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer | {"ids": [delivery["id"] for delivery in answer["webhookDeliveries"]]}

    assert listed()["ids"] == [third, second, first]
    assert listed(orderBy="create_time")["ids"] == [first, second, third]
    assert listed(filter="status = FAILED")["ids"] == [first]
    assert listed(filter="last_status_code = 200 AND kind = TEST AND attempts = 1")["ids"] == [third, second]
    assert listed(filter=f"id = {theirs['id']}")["ids"] == []
    assert listed(includeTotal=True, pageSize=1)["totalSize"] == 3
    assert all(delivery["attemptLog"] == [] for delivery in listed()["webhookDeliveries"])
    page = listed(pageSize=2)
    assert listed(pageSize=2, pageToken=page["nextPageToken"])["ids"] == [first]
    elsewhere = tenant.rest.get(path(tenant, other, "deliveries"), {"pageToken": page["nextPageToken"]})
    assert elsewhere.status_code == 400
    assert tenant.rest.get(path(tenant, webhook, f"deliveries/{theirs['id']}")).status_code == 404


def test_all_attempts_that_are_shown_fit_into_one_answer() -> None:
    """What a receiver answers must not make its log unreadable."""
    headers = {f"{number:02}" + "h" * 2000: "\x80" * 2000 for number in range(60)}
    sent = Sent(datetime(2026, 11, 1, tzinfo=UTC), {"content-type": "application/json"}, b"x" * 50_000)
    row = attempt_row(1, sent, Received(timedelta(days=1), 599, "x" * 5000, headers, "\0" * 5000))
    assert len(SCHEDULE) < MOST_ATTEMPTS
    assert attempt_of(row).ByteSize() * MOST_ATTEMPTS < 4 * 1024 * 1024


def test_an_attempt_is_kept_without_secrets_and_cut_to_size() -> None:
    time = datetime(2026, 11, 1, 12, tzinfo=UTC)
    sent = Sent(time, {"Webhook-Signature": "v1,x", "Webhook-Id": "1", "Authorization": "x"}, b"\xff" + b"a" * 20_000)
    answered = {f"h{number}": "v" * 2000 for number in range(60)} | {"Set-Cookie": "a", "WWW-Authenticate": "b"}
    answer = Received(timedelta(milliseconds=1234), 200, "", answered, "\udcff\0" + "é" * 5000)
    row = attempt_row(3, sent, answer)
    assert row["request_headers"] == {"webhook-id": "1"}
    assert len(row["request_body"]) == REQUEST_BYTES
    assert len(row["response_headers"]) == 50
    assert {len(value) for value in row["response_headers"].values()} == {1000}
    assert row["response_body"].startswith("?�é")
    assert len(row["response_body"].encode()) <= RESPONSE_BYTES + 4
    attempt = attempt_of(row)
    assert (attempt.number, attempt.status_code, attempt.duration.ToMilliseconds()) == (3, 200, 1234)
    assert attempt.create_time.ToDatetime(UTC) == time
