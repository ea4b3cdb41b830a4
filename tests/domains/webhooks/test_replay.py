"""Replays: events are sent to a webhook again, those asked for and no others, however often the job is done."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.data.transactions import Database
from server.domains.webhooks import replay
from server.domains.webhooks.replay import Replayer, delivery_id
from server.kernel.ids import new_id
from tests.clients import Rest, Tenant, new_tenant, problem, reason, rows
from tests.domains.events import events_of
from tests.domains.webhooks.receiver import Receiver
from tests.domains.webhooks.test_webhooks import changed, make, path
from tests.stack import Stack, wait_for
from tests.workers.machinery import own_database

START = "2020-01-01T00:00:00Z"
PENDING, SUCCEEDED, FAILED, CANCELLED = 1, 2, 3, 4


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[Database]:
    """As the jobs of a worker have it."""
    with own_database(stack.settings.runtime_dsn) as database:
        yield database


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """With five pages, made before there is a webhook to which that could be told."""
    tenant = new_tenant(stack)
    for number in range(5):
        assert tenant.rest.post(f"{tenant.path}/pages", {"title": f"Page {number}"}).status_code == 201
    return tenant


def asked(tenant: Tenant, webhook: dict[str, Any], **request: Any) -> int:
    """How many events are sent again."""
    response = tenant.rest.post(path(tenant, webhook, "replay"), request)
    assert response.status_code == 200, response.text
    return int(response.json()["eventCount"])


def created(stack: Stack, tenant: Tenant) -> list[str]:
    """The ids of the events that pages were created, in order."""
    query = (
        "SELECT id::text FROM events WHERE tenant_id = %s AND type = 'page.created' ORDER BY transaction_id, sequence"
    )
    return [row["id"] for row in rows(stack, query, tenant.id)]


def replayed(stack: Stack, webhook: dict[str, Any]) -> list[str]:
    """The ids of the events that a replay has queued, in the order in which they are to go out."""
    query = "SELECT event_id::text FROM webhook_deliveries WHERE webhook_id = %s AND kind = 2 ORDER BY number"
    return [row["event_id"] for row in rows(stack, query, webhook["id"])]


def unwatched(tenant: Tenant, receiver: Receiver) -> dict[str, Any]:
    """A webhook that takes events of pages, and whose receiver takes everything."""
    return make(tenant, url=receiver.url(f"/{new_id()}"))


def arguments(tenant: Tenant, webhook: dict[str, Any], **others: Any) -> dict[str, Any]:
    """What the job takes: all creations of pages so far."""
    return {
        "tenant_id": tenant.id,
        "webhook_id": webhook["id"],
        "start_time": START,
        "end_time": (datetime.now(UTC) + timedelta(minutes=1)).isoformat(),
        "event_types": ["page.created"],
        "only_failed": False,
        "replay_id": new_id(),
    } | others


# What is asked for ---------------------------------------------------------------------------------------------------


def test_a_range_is_sent_again_in_order_with_the_ids_that_it_had(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    webhook, events = unwatched(tenant, receiver), created(stack, tenant)
    assert asked(tenant, webhook, startTime=START) == 5
    where = webhook["url"].removeprefix(receiver.url(""))
    wait_for(lambda: len(receiver.messages(where)) == 5, what="the deliveries")
    assert sorted(receiver.ids(where)) == sorted(events)
    assert replayed(stack, webhook) == events
    (event,) = [event for event in events_of(stack, tenant.id) if event.type == "webhook.replayed"]
    assert event.payload.event_count == 5


def operations_of(tenant: Tenant, key: str = "") -> list[dict[str, Any]]:
    """The operations that the owner, or somebody with a key, has started."""
    rest = Rest(tenant.stack, key) if key else tenant.rest
    listed: list[dict[str, Any]] = rest.get("/api/v1/long-operations").json()["operations"]
    return listed


def test_a_range_is_an_operation_that_can_be_waited_for(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = unwatched(tenant, receiver)
    answer = tenant.rest.post(path(tenant, webhook, "replay"), {"startTime": START})
    operation_id = answer.json()["operationId"]
    ended = tenant.rest.get(f"/api/v1/long-operations/{operation_id}/wait").json()
    assert (ended["kind"], ended["state"], ended["done"], ended["total"]) == ("webhook_replay", "STATE_DONE", 5, 5)
    assert ended["result"] == {"queued": 5}
    assert ended["requestId"] == answer.headers["x-request-id"]
    assert len(replayed(stack, webhook)) == 5
    told = [event for event in events_of(stack, tenant.id) if event.resource_id == operation_id]
    assert [event.type for event in told] == ["operation.queued", "operation.started", "operation.succeeded"]
    assert told[0].actor_id == tenant.owner.id
    assert not tenant.rest.post(path(tenant, webhook, "replay"), {"eventId": created(stack, tenant)[0]}).json()[
        "operationId"
    ]


def test_the_same_key_is_the_same_operation(tenant: Tenant, receiver: Receiver) -> None:
    webhook, headers = unwatched(tenant, receiver), {"idempotency-key": new_id()}
    answers = [
        tenant.rest.post(path(tenant, webhook, "replay"), {"startTime": START}, headers=headers) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert [each["id"] for each in operations_of(tenant)] == [answers[0].json()["operationId"]]


def test_an_operation_is_its_api_keys_own(tenant: Tenant, receiver: Receiver) -> None:
    webhook = unwatched(tenant, receiver)
    permissions = ["webhooks.deliveries.replay", "operations.operations.read"]
    made = [tenant.rest.post(f"{tenant.path}/api-keys", {"name": "n", "permissions": permissions}) for _ in range(2)]
    own, other = (each.json() for each in made)
    answer = Rest(tenant.stack, own["key"]).post(path(tenant, webhook, "replay"), {"startTime": START})
    (operation,) = operations_of(tenant, own["key"])
    assert (operation["id"], operation["ownerId"]) == (answer.json()["operationId"], own["id"])
    ended = Rest(tenant.stack, own["key"]).get(f"/api/v1/long-operations/{operation['id']}/wait")
    assert ended.json()["state"] == "STATE_DONE"
    assert operations_of(tenant, other["key"]) == []
    there = Rest(tenant.stack, other["key"]).get(f"/api/v1/long-operations/{operation['id']}")
    assert reason(there) == (404, "RESOURCE_NOT_FOUND")
    assert operations_of(tenant) == []


def test_a_dry_run_counts_and_does_nothing(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = unwatched(tenant, receiver)
    before = [event.type for event in events_of(stack, tenant.id)]
    jobs = "SELECT id FROM procrastinate_jobs WHERE args->>'webhook_id' = %s"
    assert asked(tenant, webhook, startTime=START, dryRun=True) == 5
    assert asked(tenant, webhook, eventId=created(stack, tenant)[0], dryRun=True) == 1
    assert [event.type for event in events_of(stack, tenant.id)] == before
    assert not rows(stack, jobs, webhook["id"])
    assert replayed(stack, webhook) == []


def test_one_event_is_sent_again_at_once(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    """Whether or not the webhook names its type, and as often as somebody asks."""
    webhook = make(tenant, url=receiver.url("/one"), eventTypes=["role.*"])
    event = created(stack, tenant)[2]
    assert asked(tenant, webhook, eventId=event) == 1
    assert replayed(stack, webhook) == [event]
    assert asked(tenant, webhook, eventId=event) == 1
    wait_for(lambda: receiver.ids("/one") == [event, event], what="the deliveries")


def test_a_range_is_narrowed_by_time_and_type(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = unwatched(tenant, receiver)
    page = tenant.rest.get(f"{tenant.path}/pages").json()["pages"][0]
    assert tenant.rest.patch(f"{tenant.path}/pages/{page['id']}", {"title": "New"}).status_code == 200
    query = "SELECT create_time FROM events WHERE tenant_id = %s AND type = 'page.created' ORDER BY sequence"
    times = [row["create_time"].astimezone(UTC).isoformat() for row in rows(stack, query, tenant.id)]

    def count(**request: Any) -> int:
        return asked(tenant, webhook, dryRun=True, **request)

    assert count(startTime=times[1]) == 5
    assert count(startTime=times[1], endTime=times[3]) == 2
    assert count(startTime=START, eventTypes=["page.created"]) == 5
    assert count(startTime=START, eventTypes=["page.updated", "role.*"]) == 1
    # The webhook takes pages only.
    assert count(startTime=START, eventTypes=["tenant.created"]) == 0
    assert count(startTime=START, eventTypes=["*"]) == 6


def test_only_what_failed_is_sent_again(stack: Stack, tenant: Tenant, receiver: Receiver, database: Database) -> None:
    """What failed first and succeeded or waits since is not among it."""
    webhook, other, events = unwatched(tenant, receiver), unwatched(tenant, receiver), created(stack, tenant)
    stories = [(FAILED,), (SUCCEEDED,), (CANCELLED, FAILED), (FAILED, SUCCEEDED), (FAILED, PENDING)]
    for event, story in zip(events, stories, strict=True):
        for taker, status in [(other, SUCCEEDED), *((webhook, status) for status in story)]:
            plant = """INSERT INTO webhook_deliveries
                              (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status)
                       SELECT tenant_id, gen_random_uuid(), %s, id, type, resource_id, create_time, 1, %s
                         FROM events WHERE tenant_id = %s AND id = %s RETURNING id"""
            assert rows(stack, plant, taker["id"], status, tenant.id, event)
    assert asked(tenant, webhook, startTime=START, onlyFailed=True, dryRun=True) == 2
    assert (
        asked(tenant, webhook, startTime="2999-01-01T00:00:00Z", endTime="2999-01-02T00:00:00Z", onlyFailed=True) == 0
    )
    again = arguments(tenant, webhook, only_failed=True)
    for _ in range(2):
        Replayer(database).run(**again)
        assert replayed(stack, webhook) == [events[0], events[2]]


def test_what_makes_no_sense_is_refused(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook, event = unwatched(tenant, receiver), created(stack, tenant)[0]

    def faults(**request: Any) -> dict[str, list[str]]:
        answer = tenant.rest.post(path(tenant, webhook, "replay"), request)
        assert reason(answer) == (422, "RULE_VIOLATED")
        return problem(answer).violations

    assert faults() == {"startTime": ["is required unless event_id is given"]}
    assert faults(startTime=START, endTime=START) == {"startTime": ["is not before end_time"]}
    assert faults(startTime="2999-01-01T00:00:00Z") == {"startTime": ["is not before end_time"]}
    assert faults(startTime=START, eventTypes=["page.create"]).keys() == {"eventTypes[0]"}
    alone = faults(eventId=event, startTime=START, onlyFailed=True)
    assert alone == {"onlyFailed": ["goes without event_id"], "startTime": ["goes without event_id"]}
    absent = tenant.rest.post(path(tenant, webhook, "replay"), {"eventId": new_id()})
    assert reason(absent) == (404, "RESOURCE_NOT_FOUND")


def test_nothing_is_sent_again_to_a_disabled_webhook(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = unwatched(tenant, receiver)
    changed(tenant, webhook, enabled=False)
    for request in ({"startTime": START}, {"startTime": START, "dryRun": True}, {"eventId": created(stack, tenant)[0]}):
        answer = tenant.rest.post(path(tenant, webhook, "replay"), request)
        assert reason(answer) == (409, "STATE_FORBIDS")
        assert problem(answer).metadata["state"] == "DISABLED"
    assert replayed(stack, webhook) == []


# The job -------------------------------------------------------------------------------------------------------------


def test_a_job_that_is_done_again_queues_nothing_twice(
    stack: Stack, tenant: Tenant, receiver: Receiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, of which the first ones were committed when the worker died."""
    monkeypatch.setattr(replay, "BATCH", 2)
    webhook, events = unwatched(tenant, receiver), created(stack, tenant)
    begun = arguments(tenant, webhook)
    monkeypatch.setattr(replay, "MOST_EVENTS", 3)
    Replayer(database).run(**begun)
    assert replayed(stack, webhook) == events[:3]
    monkeypatch.setattr(replay, "MOST_EVENTS", 100)
    for _ in range(2):
        Replayer(database).run(**begun)
        assert replayed(stack, webhook) == events
    Replayer(database).run(**begun | {"replay_id": new_id()})
    assert replayed(stack, webhook) == events * 2
    where = webhook["url"].removeprefix(receiver.url(""))
    wait_for(lambda: len(receiver.messages(where)) == 10, what="the deliveries")


def test_a_job_ends_when_the_webhook_was_disabled_or_deleted_meanwhile(
    stack: Stack, tenant: Tenant, receiver: Receiver, database: Database
) -> None:
    webhook = unwatched(tenant, receiver)
    changed(tenant, webhook, enabled=False)
    Replayer(database).run(**arguments(tenant, webhook))
    assert replayed(stack, webhook) == []
    Replayer(database).run(**arguments(tenant, {"id": new_id()}))


def test_what_is_queued_joins_the_queue_that_is_there(
    stack: Stack, tenant: Tenant, receiver: Receiver, database: Database
) -> None:
    """A queue that waits for a later attempt is due now, and there is one per subject."""
    webhook = unwatched(tenant, receiver)
    subject = tenant.rest.get(f"{tenant.path}/pages").json()["pages"][0]["id"]
    # Leased, so that no engine touches them.
    plant = "INSERT INTO webhook_queues VALUES (%s, %s, %s, '2999-01-01', '2999-01-01') RETURNING subject"
    assert rows(stack, plant, tenant.id, webhook["id"], subject)
    Replayer(database).run(**arguments(tenant, webhook))
    query = "SELECT next_attempt_time <= now() AS due FROM webhook_queues WHERE webhook_id = %s AND subject = %s"
    assert rows(stack, query, webhook["id"], subject) == [{"due": True}]
    assert tenant.rest.delete(path(tenant, webhook)).status_code == 204


def test_the_id_of_a_delivery_follows_from_the_replay_and_the_event() -> None:
    one, event = new_id(), new_id()
    made = delivery_id(one, event)
    assert made == delivery_id(one, event)
    assert made not in (delivery_id(one, new_id()), delivery_id(new_id(), event))
    assert made[:13] == one[:13]
    assert made[14] == "7"
    assert made[19] in "89ab"
    assert [len(part) for part in made.split("-")] == [8, 4, 4, 4, 12]
