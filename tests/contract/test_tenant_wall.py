"""The tenant wall: whatever RPC an owner calls, nothing of another tenant answers, shows or changes."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from server import app
from server.kernel.policy import EMPTY, Binding, MethodPolicy, read_policies
from tests.clients import Rest, rows
from tests.contract import doors, wall
from tests.contract.contract import PAGES, in_message, planted
from tests.contract.test_messages import TEXT, add_field
from tests.contract.wall import House
from tests.stack import Stack

NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]
WALLED = [method for method in app.policies().values() if "tenant_id" in method.descriptor.input_type.fields_by_name]
NAMING = [method for method in WALLED if wall.identifying(method.descriptor.input_type) and method.has_tenant]
OPEN = [method for method in WALLED if method not in NAMING and method.has_tenant and method.name != "DeleteTenant"]


def name_of(value: object) -> str:
    if isinstance(value, MethodPolicy):
        return value.name
    return f"{value.verb} {value.path}" if isinstance(value, Binding) else str(value)


def bound(methods: list[MethodPolicy]) -> list[tuple[MethodPolicy, Binding]]:
    return [(method, binding) for method in methods for binding in method.bindings]


@pytest.fixture(scope="module")
def ours(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def theirs(stack: Stack) -> Iterator[House]:
    """The other tenant. After all that was tried, it is as it was."""
    house = wall.furnished(stack)
    before = everything_of(stack, house)
    yield house
    assert everything_of(stack, house) == before


def everything_of(stack: Stack, house: House) -> list[Any]:
    """Every row of a tenant, as PostgreSQL prints it."""
    kept = ("tenants", "id"), ("brandings", "tenant_id"), ("domains", "tenant_id"), ("pages", "tenant_id")
    found = []
    for table, column in (*kept, ("memberships", "tenant_id"), ("events", "tenant_id")):
        found.extend(rows(stack, f"SELECT t::text FROM {table} t WHERE {column} = %s ORDER BY 1", house.tenant.id))
    return found


@pytest.fixture(scope="module")
def owner(stack: Stack, ours: House) -> Iterator[doors.Grpc]:
    """Our owner's gRPC."""
    with doors.channel(stack) as channel:
        yield doors.Grpc(channel, ours.tenant.access_token)


def test_every_request_field_is_tried(ours: House) -> None:
    assert list(wall.unknown_fields(WALLED, ours.named)) == []
    assert len(NAMING) > 5
    assert len(OPEN) > 3


def test_a_field_that_nobody_tries_is_found(ours: House) -> None:
    contract = planted(PAGES, in_message("GetPageRequest", add_field("folder_id", TEXT)))
    policies = read_policies(contract.services)
    faults = list(wall.unknown_fields(list(policies.values()), dict(ours.named)))
    assert "GetPage: nobody made an instance for `folder_id`" in faults


@pytest.mark.parametrize("method", WALLED, ids=name_of)
def test_their_tenant_is_not_found_over_grpc(owner: doors.Grpc, theirs: House, method: MethodPolicy) -> None:
    assert_not_found(owner.call(method, theirs.request(method, theirs.named)), theirs)


@pytest.mark.parametrize(("method", "binding"), bound(WALLED), ids=name_of)
def test_their_tenant_is_not_found_over_rest(
    stack: Stack, ours: House, theirs: House, method: MethodPolicy, binding: Binding
) -> None:
    rest = Rest(stack, ours.tenant.access_token)
    outcome = doors.over_rest(rest, binding, theirs.request(method, theirs.named))
    assert outcome.http_status == 404
    assert_not_found(outcome, theirs)


@pytest.mark.parametrize("method", NAMING, ids=name_of)
def test_what_is_theirs_is_not_found_in_our_tenant(
    owner: doors.Grpc, ours: House, theirs: House, method: MethodPolicy
) -> None:
    assert_not_found(owner.call(method, ours.request(method, theirs.named)), theirs)


@pytest.mark.parametrize(("method", "binding"), bound(NAMING), ids=name_of)
def test_what_is_theirs_is_not_found_in_our_tenant_over_rest(
    stack: Stack, ours: House, theirs: House, method: MethodPolicy, binding: Binding
) -> None:
    rest = Rest(stack, ours.tenant.access_token)
    outcome = doors.over_rest(rest, binding, ours.request(method, theirs.named))
    assert outcome.http_status == 404
    assert_not_found(outcome, theirs)


def assert_not_found(outcome: doors.Outcome, theirs: House) -> None:
    """Absent and another's look alike, ETag or not."""
    assert outcome.problem is not None
    assert (outcome.problem.code, outcome.problem.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert theirs.tenant.subdomain not in str(outcome)


@pytest.mark.parametrize("method", OPEN, ids=name_of)
def test_what_names_nothing_of_theirs_shows_nothing_of_theirs(
    owner: doors.Grpc, ours: House, theirs: House, method: MethodPolicy
) -> None:
    # A stream from the beginning of the log, in which their page came as well.
    named = {"last_event_id": "0-0"} if method.streaming else {}
    request = ours.request(method, named)
    smuggle(request, theirs)
    outcome = owner.call(method, request)
    shown = outcome.content.decode(errors="replace")
    assert outcome.problem is None, outcome
    assert outcome.content or method.descriptor.output_type.full_name == EMPTY
    assert theirs.tenant.subdomain not in shown
    assert theirs.tenant.id not in shown
    assert theirs.named["page_id"] not in shown


def smuggle(request: Message, theirs: House) -> None:
    """The other tenant in the body: what is output only is not taken from the caller."""
    for field, value in request.ListFields():
        if field.message_type is not None and "tenant_id" in field.message_type.fields_by_name:
            value.tenant_id = theirs.tenant.id
            value.id = theirs.named["page_id"]


def test_a_filter_for_theirs_finds_nothing(ours: House, theirs: House) -> None:
    for condition in (f"id = {theirs.named['page_id']}", f'slug = "{theirs.named["slug"]}"', f"title:{wall.MARK}"):
        answer = ours.tenant.rest.get(f"{ours.tenant.path}/pages", {"filter": condition})
        assert answer.status_code == 200
        assert theirs.tenant.id not in answer.text
        assert theirs.named["page_id"] not in answer.text
    tenants = ours.tenant.rest.get("tenants", {"filter": f"id = {theirs.tenant.id}"}).json()
    assert tenants["tenants"] == []
    everyone = ours.tenant.rest.get("tenants", {"includeTotal": "true"}).json()
    assert [tenant["id"] for tenant in everyone["tenants"]] == [ours.tenant.id]
    assert everyone["totalSize"] == 1


def test_a_filter_by_tenant_is_refused(ours: House, theirs: House) -> None:
    answer = ours.tenant.rest.get(f"{ours.tenant.path}/pages", {"filter": f"tenant_id = {theirs.tenant.id}"})
    assert answer.status_code == 400


def test_their_page_token_is_refused_here(stack: Stack, ours: House) -> None:
    other = wall.furnished(stack)
    other.tenant.rest.post(f"{other.tenant.path}/pages", {"slug": "second"})
    token = other.tenant.rest.get(f"{other.tenant.path}/pages", {"pageSize": 1}).json()["nextPageToken"]
    assert token
    answer = ours.tenant.rest.get(f"{ours.tenant.path}/pages", {"pageSize": 1, "pageToken": token})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["reason"] == "PAGE_TOKEN_INVALID"


def test_one_of_theirs_fails_a_whole_batch(ours: House, theirs: House) -> None:
    ids = [ours.named["page_id"], theirs.named["page_id"]]
    answer = ours.tenant.rest.get(f"{ours.tenant.path}/pages:batchGet", {"ids": ids})
    assert answer.status_code == 404
    assert ours.tenant.rest.get(f"{ours.tenant.path}/pages:batchGet", {"ids": ids[:1]}).status_code == 200


def test_their_etag_does_not_tell_that_something_is_there(ours: House, theirs: House) -> None:
    path = f"{ours.tenant.path}/pages/{theirs.named['page_id']}"
    for etag in (theirs.named["etag"], '"stale"', "*"):
        assert ours.tenant.rest.patch(path, {"title": "x"}, headers={"if-match": etag}).status_code == 404
        assert ours.tenant.rest.get(path, headers={"if-none-match": etag}).status_code == 404


def test_their_event_id_resumes_only_our_stream(stack: Stack) -> None:
    """A position counts for the whole log, so it may be anyone's; what is shown is ours alone."""
    first, second = wall.furnished(stack), wall.furnished(stack)
    stream = first.tenant.stubs.pages.WatchPages(_watch(first, "0-0"), timeout=10)
    event = next(stream)
    stream.cancel()
    assert event.page.tenant_id == first.tenant.id
    other = second.tenant.stubs.pages.WatchPages(_watch(second, event.id), timeout=10)
    found = next(other)
    other.cancel()
    assert found.page.tenant_id == second.tenant.id


def _watch(house: House, last_event_id: str) -> Any:
    policy = app.policies()["/plinth.sites.v1.PageService/WatchPages"]
    request: Any = house.request(policy, {})
    request.last_event_id = last_event_id
    return request
