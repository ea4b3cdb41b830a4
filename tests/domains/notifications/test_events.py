"""Events of other domains tell people something, each once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from google.protobuf.message import Message
from plinth.operations.v1.operation_pb2 import Operation
from plinth.webhooks.v1.webhook_pb2 import Webhook

from server import app
from server.data.events import NO_TENANT, Event, Position
from server.data.transactions import Database
from server.domains.notifications.event_telling import EventTeller
from server.domains.notifications.event_workflows import EVENT_WORKFLOWS
from server.domains.notifications.workflows import WORKFLOWS
from server.domains.tenancy.memberships import Memberships
from server.kernel.clock import utc_now
from server.kernel.following import LogFollower
from server.kernel.ids import new_id
from tests.clients import Rest, Tenant, new_member, new_tenant, rows, unique
from tests.domains.notifications.parts import own_teller
from tests.domains.sites.archives import done
from tests.kernel.database import connections
from tests.stack import Stack, wait_for
from tests.workers.machinery import no_hints, own_database

PATH = "/api/v1/notifications"


@pytest.fixture(scope="module")
def teller(stack: Stack) -> Iterator[EventTeller]:
    with own_database(stack.settings.runtime_dsn) as database:
        yield EventTeller(database, Memberships(), own_teller())


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def event_of(tenant_id: str, kind: str, payload: Message) -> Event:
    """An event of the log."""
    return Event(
        tenant_id=tenant_id,
        position=Position(1, 1),
        id=new_id(),
        type=kind,
        resource_id="",
        message_type=payload.DESCRIPTOR.full_name,
        payload=payload.SerializeToString(),
        create_time=utc_now(),
    )


def titles(rest: Rest) -> list[str]:
    return [each["title"] for each in rest.get(PATH).json()["notifications"]]


def test_who_started_something_long_is_told_when_it_ends(tenant: Tenant) -> None:
    operation = done(tenant, tenant.rest.post(f"{tenant.path}/site/export", {}))
    wait_for(lambda: titles(tenant.rest) == ["`site_export` is done"], what="a notification of the export")
    [found] = tenant.rest.get(PATH).json()["notifications"]
    assert (found["workflow"], found["category"], found["groupKey"]) == (
        "operation-ended",
        "operations",
        f"operation:{operation['id']}",
    )
    query = "SELECT audience::text AS audience FROM events WHERE type = 'notification.created' AND resource_id = %s"
    assert rows(tenant.stack, query, found["id"]) == [{"audience": tenant.owner.id}]


def test_an_event_tells_those_whom_it_concerns_once(teller: EventTeller, tenant: Tenant, stack: Stack) -> None:
    _, admin = new_member(tenant, "admin")
    _, editor = new_member(tenant, "editor")
    event = event_of(tenant.id, "webhook.disabled", Webhook(id=new_id(), url="https://example.com/hook"))
    for _ in range(3):
        teller.handle(event)
    for token, shown in ((tenant.access_token, 1), (admin.access_token, 1), (editor.access_token, 0)):
        assert titles(Rest(stack, token)) == ["A webhook was disabled"] * shown
    [found] = tenant.rest.get(PATH).json()["notifications"]
    assert (found["body"], found["priority"]) == ("https://example.com/hook", "PRIORITY_CRITICAL")
    assert tenant.rest.get(f"{PATH}/unread-count").json() == {"unreadCount": 1, "unseenCount": 1}


def test_nobody_is_told_of_what_is_nobody_s(teller: EventTeller, tenant: Tenant) -> None:
    stranger = new_tenant(tenant.stack)
    for owner_id in ("", new_id(), stranger.owner.id):
        teller.handle(event_of(tenant.id, "operation.failed", Operation(id=new_id(), owner_id=owner_id, kind="x")))
    teller.handle(event_of(NO_TENANT, "webhook.disabled", Webhook(id=new_id())))
    assert (titles(tenant.rest), titles(stranger.rest)) == ([], [])


def test_who_has_turned_it_off_is_not_told(teller: EventTeller, tenant: Tenant) -> None:
    rule = {"scope": "SCOPE_CATEGORY", "key": "operations"}
    assert tenant.rest.put(f"{PATH}/preferences", {"rules": [rule]}).status_code == 200
    teller.handle(event_of(tenant.id, "webhook.failing", Webhook(id=new_id())))
    assert titles(tenant.rest) == []
    [run] = rows(tenant.stack, "SELECT explanation FROM notification_runs WHERE tenant_id = %s", tenant.id)
    assert run["explanation"]["reasons"][-1]["code"] == "UNWANTED"


def test_every_event_that_is_told_of_exists() -> None:
    known = {policy.emits for policy in app.policies().values()}
    known |= {event for service in app.SERVICES for event in service.events}
    assert EVENT_WORKFLOWS.keys() <= known
    assert {each.workflow for each in EVENT_WORKFLOWS.values()} <= WORKFLOWS.keys()
    assert all(bool(each.user_field) is not bool(each.roles) for each in EVENT_WORKFLOWS.values())


class Handler:
    """What a follower has handled, and what it is to raise."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant_id = tenant.id
        self.handled: list[str] = []
        self.errors: list[Exception] = []

    def handle(self, event: Event) -> None:
        if event.tenant_id != self._tenant_id:
            return
        if self.errors:
            raise self.errors.pop(0)
        self.handled.append(event.resource_id)


def test_a_follower_begins_at_the_end_and_leaves_out_only_what_is_faulty(stack: Stack) -> None:
    tenant, name = new_tenant(stack), unique("follower")
    handler = Handler(tenant)

    def page(slug: str) -> str:
        answer = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique(slug), "title": slug})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def handled() -> list[str]:
        follower.follow()
        return [each for each in handler.handled if each in made]

    page("before")
    with connections(stack.settings.dispatch_dsn) as dispatch, ThreadPoolExecutor(1) as threads:
        follower = LogFollower(
            *(name, ["page.created"], handler.handle), dispatch=Database(dispatch), hints=no_hints, threads=threads
        )
        made: list[str] = []
        follower.follow()
        made += [page("one"), page("two")]
        wait_for(lambda: handled() == made, what="both pages")
        # An outage is no fault of the event: the next round begins at the same place.
        handler.errors = [psycopg.OperationalError("away")]
        made.append(page("three"))
        wait_for(lambda: not _follows(follower), what="the outage")
        wait_for(lambda: handled() == made, what="the page behind the outage")
        known = list(made)
        handler.errors = [ValueError("broken")]
        page("faulty")
        wait_for(lambda: (follower.follow(), not handler.errors)[1], what="the faulty one")
        made.append(page("last"))
        wait_for(lambda: handled() == made, what="the page behind the faulty one")
        assert made[:-1] == known
    assert len(rows(stack, "SELECT name FROM event_cursors WHERE name = %s", name)) == 1


def _follows(follower: LogFollower) -> bool:
    """Whether it gets through a round."""
    try:
        follower.follow()
    except psycopg.OperationalError:
        return False
    return True
