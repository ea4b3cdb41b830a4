"""Why an event was or was not sent to a webhook: each answer turns round when what it says is done."""

from typing import Any

import pytest

from server.kernel.ids import new_id
from tests.clients import Rest, Tenant, new_member, new_tenant, reason, rows
from tests.domains.explanations import explained, steps
from tests.domains.travel.instances import new_trip
from tests.domains.webhooks.receiver import FAIL, Receiver, Reply
from tests.domains.webhooks.test_webhooks import changed, make, path
from tests.stack import Stack, wait_for

SENT = [("event", "KNOWN"), ("dispatch", "QUEUED"), ("delivery", "SUCCEEDED")]
UNSENT = [("event", "KNOWN"), ("audience", "FOR_THE_TENANT")]


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def new_page(tenant: Tenant) -> str:
    """Make a page; its id."""
    response = tenant.rest.post(f"{tenant.path}/pages", {"title": "News"})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def event_about(stack: Stack, tenant: Tenant, resource: str) -> str:
    """The id of the last event about a resource."""
    query = "SELECT id::text FROM events WHERE tenant_id = %s AND resource_id = %s ORDER BY create_time DESC LIMIT 1"
    return str(rows(stack, query, tenant.id, resource)[0]["id"])


def why(tenant: Tenant, webhook: dict[str, Any], event: str) -> dict[str, Any]:
    return explained(tenant.rest, path(tenant, webhook, "explain"), eventId=event)


def replay(tenant: Tenant, webhook: dict[str, Any], event: str) -> None:
    response = tenant.rest.post(path(tenant, webhook, "replay"), {"eventId": event})
    assert response.status_code == 200, response.text


def wait_until(tenant: Tenant, webhook: dict[str, Any], event: str, *last: tuple[str, str]) -> dict[str, Any]:
    """Wait until the explanation ends so."""
    wait_for(lambda: tuple(steps(why(tenant, webhook, event))[-len(last) :]) == last, what=f"{last}")
    return why(tenant, webhook, event)


def test_an_event_that_was_sent(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url(f"/{new_id()}"))
    event = event_about(stack, tenant, new_page(tenant))
    answer = wait_until(tenant, webhook, event, *SENT)
    assert (answer["outcome"], answer["reasons"][-1]["value"]) == ("OUTCOME_PASS", "attempt 1: status 200")


def test_an_event_is_named_by_its_place_in_a_stream_too(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url(f"/{new_id()}"))
    event = event_about(stack, tenant, new_page(tenant))
    wait_until(tenant, webhook, event, *SENT)
    query = "SELECT to_hex(transaction_id::text::bigint) || '-' || to_hex(sequence) AS place FROM events WHERE id = %s"
    assert steps(why(tenant, webhook, rows(stack, query, event)[0]["place"])) == SENT


def test_a_webhook_that_came_later_is_replayed_to(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    event = event_about(stack, tenant, new_page(tenant))
    webhook = make(tenant, url=receiver.url(f"/{new_id()}"))
    answer = why(tenant, webhook, event)
    assert steps(answer) == [*UNSENT, ("webhook", "CREATED_LATER")]
    assert answer["reasons"][-1]["time"]
    replay(tenant, webhook, event)
    wait_until(tenant, webhook, event, *SENT)


def test_a_disabled_webhook_gets_nothing(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url(f"/{new_id()}"), enabled=False)
    other = make(tenant, url=receiver.url(f"/{new_id()}"))
    event = event_about(stack, tenant, new_page(tenant))
    # When it was sent to one, it has been dispatched for all: enabled before that, the webhook would get it.
    wait_until(tenant, other, event, *SENT)
    answer = why(tenant, webhook, event)
    assert steps(answer) == [*UNSENT, ("webhook", "DISABLED")]
    assert answer["reasons"][-1]["value"] == "DISABLE_REASON_MANUAL"
    changed(tenant, webhook, enabled=True)
    # What it missed is not made good by itself.
    assert steps(why(tenant, webhook, event))[-2:] == [("subscription", "TYPE_NAMED"), ("dispatch", "CHANGED_SINCE")]
    replay(tenant, webhook, event)
    wait_until(tenant, webhook, event, *SENT)


def test_a_type_that_is_not_named(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url(f"/{new_id()}"), eventTypes=["page.published"])
    event = event_about(stack, tenant, new_page(tenant))
    answer = why(tenant, webhook, event)
    assert steps(answer)[2:] == [("webhook", "ENABLED"), ("subscription", "TYPE_NOT_NAMED")]
    assert answer["reasons"][-1]["value"] == "page.published"
    assert "`page.created`" in answer["reasons"][-1]["wouldChangeIf"]
    changed(tenant, webhook, eventTypes=["page.created"])
    later = event_about(stack, tenant, new_page(tenant))
    wait_until(tenant, webhook, later, *SENT)


def test_events_of_one_user_go_only_where_they_are_named(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url(f"/{new_id()}"), eventTypes=["*"])
    trip = tenant.rest.post("trips", new_trip("To Petra"))
    assert trip.status_code == 201, trip.text
    event = event_about(stack, tenant, trip.json()["id"])
    assert steps(why(tenant, webhook, event))[1:] == [
        ("audience", "FOR_ONE_USER"),
        ("webhook", "ENABLED"),
        ("subscription", "ONLY_BY_NAME"),
    ]
    changed(tenant, webhook, eventTypes=["trip.created"])
    another = tenant.rest.post("trips", new_trip("To Wadi Rum")).json()["id"]
    wait_until(tenant, webhook, event_about(stack, tenant, another), *SENT)


def test_events_of_another_user_are_not_told_of(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = make(tenant, url=receiver.url(f"/{new_id()}"), eventTypes=["trip.*"])
    name, permissions = f"hooks-{new_id()[-8:]}", ["webhooks.deliveries.read", "webhooks.webhooks.read"]
    assert tenant.rest.post("rbac/roles", {"name": name, "permissions": permissions}).status_code == 201
    _, session = new_member(tenant, name)
    member = Rest(stack, session.access_token)
    trip = tenant.rest.post("trips", new_trip("Alone")).json()["id"]
    event = event_about(stack, tenant, trip)
    wait_until(tenant, webhook, event, *SENT)
    assert reason(member.get(path(tenant, webhook, "explain"), {"eventId": event})) == (404, "RESOURCE_NOT_FOUND")
    page = event_about(stack, tenant, new_page(tenant))
    assert member.get(path(tenant, webhook, "explain"), {"eventId": page}).status_code == 200


def test_a_receiver_that_fails_is_waited_for(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    place = f"/{new_id()}"
    receiver.behave(place, FAIL)
    webhook = make(tenant, url=receiver.url(place))
    page = new_page(tenant)
    event = event_about(stack, tenant, page)
    answer = wait_until(tenant, webhook, event, ("dispatch", "QUEUED"), ("attempt", "RETRYING"))
    assert answer["reasons"][-1]["value"] == "attempt 1: status 500"
    assert answer["reasons"][-1]["time"]
    # What comes later waits for what came first.
    tenant.rest.patch(f"{tenant.path}/pages/{page}", {"title": "Later"})
    later = event_about(stack, tenant, page)
    first = next(one["ruleId"] for one in answer["reasons"] if one["step"] == "dispatch")
    behind = wait_until(tenant, webhook, later, ("dispatch", "QUEUED"), ("subject", "EARLIER_FIRST"))
    assert behind["reasons"][-1]["ruleId"] == first
    receiver.behave(place, Reply())
    changed(tenant, webhook, enabled=False)
    for one in (event, later):
        assert steps(why(tenant, webhook, one)) == [*SENT[:2], ("webhook", "DISABLED")]
    changed(tenant, webhook, enabled=True)
    for one in (event, later):
        wait_until(tenant, webhook, one, *SENT)


def test_a_receiver_that_asks_to_wait_is_left_alone(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    place = f"/{new_id()}"
    receiver.behave(place, Reply(429, {"retry-after": "600"}))
    webhook = make(tenant, url=receiver.url(place))
    event = event_about(stack, tenant, new_page(tenant))
    answer = wait_until(tenant, webhook, event, ("dispatch", "QUEUED"), ("pause", "RECEIVER_PAUSES"))
    assert answer["reasons"][-1]["time"]
    receiver.behave(place, Reply())
    changed(tenant, webhook, url=receiver.url(f"/{new_id()}"))
    replay(tenant, webhook, event)
    assert ("pause", "RECEIVER_PAUSES") not in steps(why(tenant, webhook, event))


def test_a_receiver_that_refuses_for_good(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    place = f"/{new_id()}"
    receiver.behave(place, Reply(410))
    webhook = make(tenant, url=receiver.url(place))
    event = event_about(stack, tenant, new_page(tenant))
    answer = wait_until(tenant, webhook, event, ("delivery", "GIVEN_UP"))
    assert answer["outcome"] == "OUTCOME_FAIL"
    receiver.behave(place, Reply())
    changed(tenant, webhook, enabled=True)
    replay(tenant, webhook, event)
    wait_until(tenant, webhook, event, *SENT)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("01890000-0000-7000-8000-000000000000", (404, "RESOURCE_NOT_FOUND")),
        ("1a-2b", (404, "RESOURCE_NOT_FOUND")),
        ("no id", (422, "RULE_VIOLATED")),
        ("", (422, "RULE_VIOLATED")),
    ],
)
def test_events_that_do_not_exist(tenant: Tenant, event: str, expected: tuple[int, str]) -> None:
    webhook = make(tenant)
    assert reason(tenant.rest.get(path(tenant, webhook, "explain"), {"eventId": event})) == expected
