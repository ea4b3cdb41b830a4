"""Push notifications through the stack: encrypted, signed, and what becomes of them by the answer of a push service."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.domains.notifications.subscriptions import box_of
from server.domains.notifications.vapid import VapidKeys
from server.domains.notifications.web_push import MOST_BYTES, PushText, payload_of
from server.secrets import Secrets
from tests.clients import Rest, Tenant, new_member, new_tenant, problem, rows, unique
from tests.domains.notifications.browsers import Browser, decrypt, from_base64url
from tests.domains.notifications.instances import sent
from tests.domains.webhooks.receiver import Receiver, Reply
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications"
DELETED = """
SELECT resource_id AS id, audience::text AS audience FROM events
 WHERE tenant_id = %s AND type = 'notification_device.deleted'
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def browser(receiver: Receiver) -> Browser:
    return Browser(receiver)


def deliveries(tenant: Tenant, **query: Any) -> list[dict[str, Any]]:
    """Those to the owner, the newest first."""
    found: list[dict[str, Any]] = tenant.rest.get(f"{PATH}/deliveries", query).json()["notificationDeliveries"]
    return found


def ended(tenant: Tenant, state: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until `count` deliveries are in a state, and return them."""
    query = {"filter": f"state = {state}", "pageSize": 200}
    wait_for(lambda: len(deliveries(tenant, **query)) == count, what=f"{count} {state}")
    return deliveries(tenant, **query)


def test_the_example_of_rfc_8291_is_read() -> None:
    """Appendix A, by which the browser of these tests is one."""
    body = from_base64url(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7"
        "A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    number = int.from_bytes(from_base64url("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), "big")
    key = ec.derive_private_key(number, ec.SECP256R1())
    text = decrypt(key, from_base64url("BTBZMqHH6r4Tts7J_aSIgg"), body)
    assert text == b"When I grow up, I want to be a watermelon"


def test_a_device_shows_what_its_person_is_told(tenant: Tenant, browser: Browser) -> None:
    key = tenant.rest.get(f"{PATH}/push-key").json()["publicKey"]
    device = browser.register(tenant, displayName="Phone")
    assert "webPush" not in device
    assert device["pushService"] == "127.0.0.1"
    outcome = sent(tenant, title="Your car is ready", body="Until 18:00.", url="/orders/1", priority="PRIORITY_HIGH")
    assert outcome["channels"] == ["NOTIFICATION_CHANNEL_IN_APP", "NOTIFICATION_CHANNEL_PUSH"]
    [delivery] = ended(tenant, "SENT")
    assert (delivery["notificationId"], delivery["attempts"]) == (outcome["notificationId"], 1)
    [message] = browser.messages
    # The tests' stack has no front end to which it could lead.
    text = {"title": "Your car is ready", "body": "Until 18:00.", "tag": outcome["notificationId"]}
    assert browser.decrypt(message.body) == {
        "web_push": 8030,
        "notification": text,
        "notification_id": outcome["notificationId"],
    }
    claims = browser.claims(message, key)
    assert claims.keys() == {"aud", "exp", "sub"}
    expected = {"content-encoding": "aes128gcm", "urgency": "high", "ttl": "86400"}
    assert expected.items() <= dict(message.headers).items()
    assert message.headers["topic"] == outcome["notificationId"].replace("-", "")
    assert b"car" not in message.body
    wait_for(lambda: "lastSuccessTime" in tenant.rest.get(f"{PATH}/devices/{device['id']}").json(), what="success")


@pytest.mark.parametrize("status", [404, 410])
def test_a_device_that_is_gone_is_removed(tenant: Tenant, browser: Browser, status: int) -> None:
    browser.receiver.behave(browser.path, Reply(status))
    device = browser.register(tenant)
    sent(tenant)
    [delivery] = ended(tenant, "FAILED")
    assert delivery["reason"] == "GONE"
    assert tenant.rest.get(f"{PATH}/devices/{device['id']}").status_code == 404
    query = "SELECT type, audience::text AS audience FROM events WHERE resource_id = %s AND type LIKE '%%gone'"
    found = [{"type": "notification_device.gone", "audience": tenant.owner.id}]
    assert rows(tenant.stack, query, device["id"]) == found
    # Who has no device is told in the inbox alone.
    assert sent(tenant)["channels"] == ["NOTIFICATION_CHANNEL_IN_APP"]


@pytest.mark.parametrize("status", [400, 403, 413])
def test_what_a_service_refuses_is_not_tried_again_and_the_device_stays(
    tenant: Tenant, browser: Browser, status: int
) -> None:
    browser.receiver.behave(browser.path, Reply(status))
    device = browser.register(tenant)
    sent(tenant)
    [delivery] = ended(tenant, "FAILED")
    assert (delivery["reason"], delivery["attempts"], len(browser.messages)) == ("REFUSED", 1, 1)
    assert tenant.rest.get(f"{PATH}/devices/{device['id']}").status_code == 200


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_a_service_cannot_take_now_is_tried_again(tenant: Tenant, browser: Browser, status: int) -> None:
    answers = iter([Reply(status, {"retry-after": "120"})])
    browser.receiver.behave(browser.path, lambda _: next(answers, Reply(201)))
    browser.register(tenant)
    sent(tenant)
    [delivery] = ended(tenant, "RETRYING")
    query = "SELECT next_attempt_time - update_time >= interval '110 seconds' AS is_later FROM notification_deliveries"
    assert rows(tenant.stack, f"{query} WHERE id = %s", delivery["id"]) == [{"is_later": True}]
    let_it_be_due(tenant)
    [delivery] = ended(tenant, "SENT")
    assert (delivery["attempts"], len(browser.messages)) == (2, 2)
    # The second one replaces the first, if that has come after all.
    assert len({message.headers["topic"] for message in browser.messages}) == 1


def let_it_be_due(tenant: Tenant) -> None:
    """What waits for its time goes out now."""
    update = "UPDATE notification_deliveries SET next_attempt_time = now() WHERE tenant_id = %s AND state IN (2, 4)"
    rows(tenant.stack, f"{update} RETURNING id", tenant.id)


def test_what_a_lost_worker_was_sending_is_not_sent_again(tenant: Tenant, browser: Browser) -> None:
    browser.register(tenant)
    tenant.rest.put(f"{PATH}/preferences", {"quietHours": {"start": "00:00", "end": "00:00"}})
    sent(tenant)
    [delivery] = deliveries(tenant)
    # As a worker leaves it that was killed: claimed, and its lease is over.
    lost = "UPDATE notification_deliveries SET state = 3, lease_time = now(), next_attempt_time = now() WHERE id = %s"
    rows(tenant.stack, f"{lost} RETURNING id", delivery["id"])
    ended(tenant, "UNCERTAIN")
    assert browser.messages == []


def test_what_meets_a_fault_of_ours_is_given_up(tenant: Tenant, browser: Browser, stack: Stack) -> None:
    device = browser.register(tenant)
    # It opens, and is no target.
    sealed = box_of(stack.settings.secrets).seal(b"nothing", device["id"])
    broken = "UPDATE notification_devices SET subscription = %s WHERE id = %s RETURNING id"
    rows(stack, broken, sealed, device["id"])
    sent(tenant)
    [delivery] = ended(tenant, "FAILED")
    assert (delivery["reason"], browser.messages) == ("FAULT", [])


def test_a_connection_that_ends_without_an_answer_leaves_it_uncertain(tenant: Tenant) -> None:
    with Receiver() as closing:
        gone = Browser(closing)
        gone.register(tenant)
        closing.behave(gone.path, Reply(hang=True))
        sent(tenant)
        wait_for(lambda: gone.messages, what="the message")
    ended(tenant, "UNCERTAIN")
    assert len(gone.messages) == 1


def test_a_service_that_nobody_can_connect_to_is_tried_again(tenant: Tenant) -> None:
    with Receiver() as closed:
        browser = Browser(closed)
        browser.register(tenant)
    sent(tenant)
    ended(tenant, "RETRYING")


def test_an_endpoint_that_is_no_address_of_the_internet_is_refused(tenant: Tenant, browser: Browser) -> None:
    for endpoint in ("http://10.0.0.1/push", "http://169.254.169.254/latest", "https://user:pw@push.example.com/"):
        body = {"webPush": browser.subscription | {"endpoint": endpoint}}
        assert problem(tenant.rest.post(f"{PATH}/devices", body)).rules == ("device.endpoint",)
    wrong = browser.subscription | {"keys": {"p256dh": "B" + "A" * 86, "auth": "BTBZMqHH6r4Tts7J_aSIgg"}}
    assert problem(tenant.rest.post(f"{PATH}/devices", {"webPush": wrong})).rules == ("device.key",)
    assert tenant.rest.get(f"{PATH}/devices").json()["notificationDevices"] == []


def test_a_device_is_one_however_often_it_is_registered_and_belongs_to_who_came_last(
    tenant: Tenant, browser: Browser, stack: Stack
) -> None:
    first = browser.register(tenant, displayName="Phone")
    again = browser.register(tenant)
    assert again == first
    browser.auth = b"another one, 16b"
    renewed = browser.register(tenant, displayName="Tablet")
    assert (renewed["id"], renewed["displayName"], renewed["etag"] != first["etag"]) == (first["id"], "Tablet", True)
    sent(tenant)
    ended(tenant, "SENT")
    assert len(browser.shown) == 1
    _, session = new_member(tenant, "member")
    answer = Rest(stack, session.access_token).post(f"{PATH}/devices", {"webPush": browser.subscription})
    assert answer.status_code == 201
    assert answer.json()["id"] != first["id"]
    gone = [{"id": first["id"], "audience": tenant.owner.id}]
    assert rows(stack, DELETED, tenant.id) == gone
    assert tenant.rest.get(f"{PATH}/devices").json()["notificationDevices"] == []


def test_a_person_keeps_the_twenty_devices_that_came_last(tenant: Tenant, receiver: Receiver) -> None:
    ids = [Browser(receiver).register(tenant)["id"] for _ in range(22)]
    found = tenant.rest.get(f"{PATH}/devices", {"pageSize": 100}).json()["notificationDevices"]
    assert [device["id"] for device in found] == ids[:1:-1]
    assert {row["id"] for row in rows(tenant.stack, DELETED, tenant.id)} == {*ids[:2]}


def test_what_is_read_or_unwanted_meanwhile_is_not_pushed(tenant: Tenant, browser: Browser) -> None:
    browser.register(tenant)
    quiet = {"quietHours": {"start": "00:00", "end": "00:00"}}
    tenant.rest.put(f"{PATH}/preferences", quiet)
    read, muted, over, kept = (
        sent(tenant, groupKey="read"),
        sent(tenant, groupKey="muted"),
        sent(tenant, expireTime="2099-01-01T00:00:00Z"),
        sent(tenant, title="Kept"),
    )
    assert {delivery["reason"] for delivery in deliveries(tenant)} == {"QUIET_HOURS"}
    why = tenant.rest.get(f"{PATH}/{kept['notificationId']}/explain").json()
    assert (why["reasons"][-1]["step"], why["reasons"][-1]["outcome"]) == ("quiet_hours", "OUTCOME_DEFER")
    tenant.rest.put(f"{PATH}/{read['notificationId']}/read")
    rules = {"rules": [{"scope": "SCOPE_GROUP", "key": "muted"}], "quietHours": None}
    assert tenant.rest.put(f"{PATH}/preferences", rules).status_code == 200
    expire = "UPDATE notification_deliveries SET expire_time = now() WHERE notification_id = %s RETURNING id"
    rows(tenant.stack, expire, over["notificationId"])
    let_it_be_due(tenant)
    ended(tenant, "SENT")
    became = {each["notificationId"]: (each["state"], each.get("reason", "")) for each in deliveries(tenant)}
    assert became == {
        read["notificationId"]: ("STATE_CANCELLED", "READ"),
        muted["notificationId"]: ("STATE_CANCELLED", "UNWANTED"),
        over["notificationId"]: ("STATE_EXPIRED", ""),
        kept["notificationId"]: ("STATE_SENT", ""),
    }
    assert [shown["title"] for shown in browser.shown] == ["Kept"]


def test_what_waited_for_the_end_of_quiet_hours_comes_as_one(tenant: Tenant, browser: Browser) -> None:
    browser.register(tenant)
    tenant.rest.put(f"{PATH}/preferences", {"quietHours": {"start": "00:00", "end": "00:00"}})
    for number in range(5):
        sent(tenant, title=f"Number {number}", body="")
    tenant.rest.put(f"{PATH}/preferences", {"quietHours": None})
    let_it_be_due(tenant)
    [delivery] = ended(tenant, "SENT")
    merged = ended(tenant, "MERGED", 4)
    assert {each["mergedIntoId"] for each in merged} == {delivery["id"]}
    [shown] = browser.shown
    assert shown["title"] == "Number 4 (+4)"
    assert shown["body"].splitlines() == ["Number 3", "Number 2", "Number 1", "Number 0"]


def test_more_than_the_rate_comes_together(tenant: Tenant, browser: Browser) -> None:
    browser.register(tenant)
    body = {"userIds": [tenant.owner.id], "message": {"title": unique("many")}}
    answer = tenant.rest.post(f"{PATH}/batch", {"requests": [body] * 70})
    assert answer.status_code == 201
    ended(tenant, "SENT", 60)
    waiting = deliveries(tenant, filter="state = DEFERRED", pageSize=100)
    assert {each["reason"] for each in waiting} == {"RATE"}
    assert len({each["nextAttemptTime"] for each in waiting}) == 1
    assert len(waiting) == 10
    let_it_be_due(tenant)
    ended(tenant, "SENT", 61)
    ended(tenant, "MERGED", 9)
    # What is CRITICAL waits for nothing.
    sent(tenant, priority="PRIORITY_CRITICAL")
    ended(tenant, "SENT", 62)


def test_long_texts_fit_into_a_push() -> None:
    for letter in ("a", "ü", "🚗", '"', "\x01"):
        text = PushText("0" * 36, letter * 200, letter * 2000, "https://app.example.com/" + "a" * 1900)
        assert len(payload_of(text)) <= MOST_BYTES
        cut = payload_of(PushText("0" * 36, "t", letter * 2000, ""))
        assert (MOST_BYTES - 20 < len(cut) <= MOST_BYTES) or letter * 2000 in cut.decode()


def test_keys_of_secrets_that_are_accepted_sign_for_their_devices() -> None:
    old, new = b"o" * 32, b"n" * 32
    before, after = (
        VapidKeys(Secrets(old), "https://a.example"),
        VapidKeys(Secrets(new, behind=(old,)), "https://a.example"),
    )
    assert before.current != after.current
    now = datetime.now(UTC)
    header = after.authorization("https://push.example:8443/x", before.current, now)
    assert header.endswith(f"k={before.current}")
    assert header == after.authorization("https://push.example:8443/y", before.current, now)
