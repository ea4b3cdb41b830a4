"""One stream for the events of all resources: each caller gets what they may see, live and on resume."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from plinth.realtime.v1 import realtime_pb2
from plinth.sites.v1.page_pb2 import Page
from plinth.travel.v1.trip_pb2 import Trip

from tests.clients import Rest, Session, Tenant, new_member, problem, stubs, unique
from tests.domains.operations import instances as operations
from tests.domains.travel.instances import new_trip
from tests.streams import sse

STREAM = "/api/v1/realtime/stream"
TICKETS = "/api/v1/realtime/tickets"


@contextmanager
def listening(tenant: Tenant, token: str, types: str = "", last: str = "") -> Iterator[sse.Reader]:
    """The stream of a caller. What is committed from here on arrives."""
    params = {"types": types} if types else {}
    with sse.connect(tenant.stack, "", token, url=STREAM, params=params, headers=sse.after(last)) as reader:
        assert reader.response.status_code == 200, reader.response.read()
        assert reader.next().event == "stream.open"
        yield reader


def member_of(tenant: Tenant, *roles: str) -> Session:
    """A new member with these roles, signed in there."""
    return new_member(tenant, *roles)[1]


def make_page(tenant: Tenant) -> str:
    """The id of a new page."""
    response = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("page")})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def make_trip(tenant: Tenant, token: str) -> str:
    """The id of a new trip of the caller."""
    response = Rest(tenant.stack, token).post("/api/v1/trips", new_trip())
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def told(frames: list[sse.Frame]) -> list[tuple[str, str]]:
    """Type and resource of events."""
    return [(frame.event, frame.data["id"]) for frame in frames]


def test_events_of_all_resources_come_in_the_order_of_the_log(tenant: Tenant) -> None:
    # What made the tenant may be told of a moment later, and is not asked for.
    with listening(tenant, tenant.access_token, "page.*,trip.*,section.*") as reader:
        page, trip = make_page(tenant), make_trip(tenant, tenant.access_token)
        section = tenant.rest.post(f"{tenant.path}/pages/{page}/sections", {"kind": "hero"}).json()
        frames = reader.events(3)
    assert told(frames) == [("page.created", page), ("trip.created", trip), ("section.created", section["id"])]
    assert frames[2].data == section


def test_types_choose_what_comes(tenant: Tenant) -> None:
    with listening(tenant, tenant.access_token, "trip.*, page.published") as reader:
        page = make_page(tenant)
        trip = make_trip(tenant, tenant.access_token)
        assert tenant.rest.post(f"{tenant.path}/pages/{page}/publish").status_code == 200
        assert told(reader.events(2)) == [("trip.created", trip), ("page.published", page)]


def test_a_type_that_is_not_known_is_refused_and_named(tenant: Tenant) -> None:
    answer = tenant.rest.get(STREAM, {"types": "page.*,pgae.created"})
    found = problem(answer)
    assert (answer.status_code, found.reason) == (422, "RULE_VIOLATED")
    assert found.violations["types"] == ["has no event type `pgae.created`"]


def test_what_a_caller_may_not_read_does_not_come(tenant: Tenant) -> None:
    role = {"name": unique("reader").replace("-", "_"), "permissions": READS_TRIPS}
    assert tenant.rest.post("/api/v1/rbac/roles", role).status_code == 201
    reader_only = member_of(tenant, str(role["name"]))
    with listening(tenant, reader_only.access_token) as reader:
        start = sse.position(tenant)
        make_page(tenant)
        trip = make_trip(tenant, reader_only.access_token)
        assert told(reader.events(1)) == [("trip.created", trip)]
    with listening(tenant, reader_only.access_token, last=start) as reader:
        assert told(reader.events(1)) == [("trip.created", trip)]


READS_TRIPS = ["travel.trips.read", "travel.trips.create", "realtime.events.read"]


@pytest.mark.parametrize("resumes", [False, True], ids=["live", "resumed"])
def test_what_belongs_to_one_user_comes_to_nobody_else_without_the_permission(tenant: Tenant, *, resumes: bool) -> None:
    one, other = member_of(tenant, "member"), member_of(tenant, "member")
    start = sse.position(tenant)
    with (
        listening(tenant, one.access_token, "trip.*", start if resumes else "") as ones,
        listening(tenant, other.access_token, "trip.*", start if resumes else "") as others,
        listening(tenant, tenant.access_token, "trip.*", start if resumes else "") as owners,
    ):
        trips = [make_trip(tenant, session.access_token) for session in (one, other, one)]
        created = [("trip.created", trip) for trip in trips]
        assert told(ones.events(2)) == [created[0], created[2]]
        assert told(others.events(1)) == [created[1]]
        # The owner of a tenant holds `travel.trips.manage`.
        assert told(owners.events(3)) == created
    with listening(tenant, other.access_token, "trip.*", start) as again:
        assert told(again.events(1)) == [created[1]]


def test_services_watch_the_same_events(tenant: Tenant) -> None:
    request = realtime_pb2.WatchEventsRequest(types="page.*,trip.*", last_event_id=sse.position(tenant))
    page, trip = make_page(tenant), make_trip(tenant, tenant.access_token)
    watching = stubs(tenant.stack, tenant.access_token)["plinth.realtime.v1.RealtimeService"].WatchEvents(request)
    first, second = next(watching), next(watching)
    watching.cancel()
    assert (first.type, first.message_type, Page.FromString(first.payload).id) == ("page.created", PAGE, page)
    assert (second.type, second.resource_id, Trip.FromString(second.payload).id) == ("trip.created", trip, trip)


PAGE = "plinth.sites.v1.Page"


# Tickets --------------------------------------------------------------------------------------------------------------


def ticket_of(tenant: Tenant, token: str = "") -> str:
    """A new ticket."""
    response = Rest(tenant.stack, token or tenant.access_token).post(TICKETS, {})
    assert response.status_code == 200, response.text
    return str(response.json()["ticket"])


def opened(tenant: Tenant, url: str = STREAM, **params: str) -> tuple[int, str]:
    """The status of a stream without a header, and its reason if it is refused."""
    with sse.connect(tenant.stack, "", None, url=url, params=params) as reader:
        status = reader.response.status_code
        if status == 200:
            return status, reader.next().event
        reader.response.read()
        return status, problem(reader.response).reason


def test_a_ticket_opens_one_stream(tenant: Tenant) -> None:
    member = member_of(tenant, "member")
    ticket = ticket_of(tenant, member.access_token)
    with sse.connect(tenant.stack, "", None, url=STREAM, params={"ticket": ticket, "types": "trip.*"}) as reader:
        assert reader.next().event == "stream.open"
        make_trip(tenant, tenant.access_token)
        trip = make_trip(tenant, member.access_token)
        assert told(reader.events(1)) == [("trip.created", trip)]
    assert opened(tenant, ticket=ticket) == (401, "CREDENTIALS_INVALID")


def test_a_ticket_opens_the_stream_of_a_resource_too(tenant: Tenant) -> None:
    assert opened(tenant, sse.path(tenant.id), ticket=ticket_of(tenant)) == (200, "stream.open")


def test_a_ticket_opens_the_stream_of_an_operation_too(tenant: Tenant) -> None:
    named = operations.INSTANCES["plinth.operations.v1.Operation"].make(tenant)
    path = f"/api/v1/long-operations/{named['operation_id']}/stream"
    assert opened(tenant, path, ticket=ticket_of(tenant)) == (200, "operation.current")


def test_a_ticket_is_no_access_token_and_an_access_token_no_ticket(tenant: Tenant) -> None:
    ticket = ticket_of(tenant)
    assert Rest(tenant.stack, ticket).get(f"{tenant.path}/pages").status_code == 401
    assert opened(tenant, sse.path(tenant.id), access_token=ticket) == (401, "CREDENTIALS_INVALID")
    assert opened(tenant, ticket=tenant.access_token) == (401, "CREDENTIALS_INVALID")
    assert opened(tenant, ticket=ticket) == (200, "stream.open")


def test_an_api_key_gets_no_ticket(tenant: Tenant) -> None:
    key: dict[str, Any] = tenant.rest.post(
        f"{tenant.path}/api-keys", {"name": unique("key"), "permissions": ["realtime.events.read"]}
    ).json()
    answer = Rest(tenant.stack, key["key"]).post(TICKETS, {})
    assert (answer.status_code, problem(answer).reason) == (403, "USER_REQUIRED")


def test_a_ticket_ends_with_its_session(tenant: Tenant) -> None:
    member = member_of(tenant, "member")
    ticket = ticket_of(tenant, member.access_token)
    assert Rest(tenant.stack, member.access_token).post("/api/v1/auth/logout", {}).status_code in {200, 204}
    assert opened(tenant, ticket=ticket)[0] == 401
