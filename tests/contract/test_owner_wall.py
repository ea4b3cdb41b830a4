"""The owner wall: whatever RPC a member of a tenant calls, nothing that another member owns answers, shows or changes.

A member who holds the permission `Resource.seen_by` is beyond it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from google.api import field_behavior_pb2
from google.protobuf.message import Message

from server import app
from server.kernel.policy import Binding, Kind, MethodPolicy
from server.kernel.resources.resource import EVERYONE, AnyResource
from server.kernel.resources.service import python_name
from tests.clients import Account, Rest, Session, Tenant, new_member, rows, unique
from tests.contract import doors, owned, wall
from tests.contract.mutations import METHODS, MUTATIONS
from tests.contract.wall import Furniture, House
from tests.stack import Stack


def is_below_shown(method: MethodPolicy) -> bool:
    """Whether it lists what belongs to something that others may see: it is empty for them then."""
    parent = owned.RESOURCES[method.descriptor.containing_service.full_name].parent
    return method.kind is Kind.LIST and parent is not None and parent.resource.shown is not None


NAMING = [(method, path) for method in owned.OWNED if not is_below_shown(method) for path in wall.identifying(method)]
# What belongs to a parent may be listed by that alone.
LISTS = [
    method
    for method in owned.OWNED
    if method.kind is Kind.LIST and owned.owner_field(method) in method.descriptor.input_type.fields_by_name
]
BODIES = [method for method in owned.OWNED if method.kind in (Kind.CREATE, Kind.UPDATE)]
CACHED = [method for method in owned.OWNED if method.cache_seconds]
SERVICES = sorted({method.descriptor.containing_service.full_name for method in owned.OWNED})
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
# Twice: what is refused once is refused when an answer for its owner is in the cache as well.
TWICE = 2


def name_of(value: object) -> str:
    return value.name if isinstance(value, MethodPolicy) else str(value)


@dataclass(frozen=True)
class Members:
    """A tenant with some of its members. None of them is the owner of the tenant."""

    tenant: Tenant
    mine: House
    """Of somebody who owns one of everything, and sees only what they own."""
    peer: House
    """Of another one like that. They may do everything else."""
    third: House
    """Of one like them, whose things change."""
    seer: House
    """Of one who sees what others own."""


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with doors.channel(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def members(stack: Stack) -> Members:
    tenant = wall.open_house(stack).tenant
    rest, unlimited, limited = tenant.rest, unique("unlimited"), unique("limited")
    known = {permission["name"] for permission in rest.get("rbac/permissions").json()["permissions"]}
    assert {*owned.SEEN_BY} < known
    for role, held in ((unlimited, known), (limited, known - {*owned.SEEN_BY})):
        answer = rest.post("rbac/roles", {"name": role, "permissions": sorted(held)})
        assert answer.status_code == 201, answer.text

    def joined(role: str) -> House:
        account, session = new_member(tenant)
        assert rest.post(f"users/{account.id}/roles", {"role": role}).status_code == 200
        return house_of(tenant, account, session)

    return Members(tenant, joined(limited), joined(limited), joined(limited), joined(unlimited))


def house_of(tenant: Tenant, account: Account, session: Session) -> House:
    """What a member of a tenant will own."""
    own = replace(tenant, owner=account, session=session)
    return House(own, Furniture(own))


@pytest.fixture(scope="module")
def mine(stack: Stack, channel: grpc.Channel, members: Members) -> Iterator[House]:
    """Whose things are reached for. After all that was tried they are as they were."""
    house, caller = members.mine, caller_of(channel, members.mine)
    for service in SERVICES:
        assert house.made[service.removesuffix("Service")]
    seen, before = read_twice(caller, house), everything_of(stack, house)
    assert before
    yield house
    assert everything_of(stack, house) == before
    assert read_twice(caller, house) == seen


def caller_of(channel: grpc.Channel, house: House) -> doors.Grpc:
    """The gRPC of whose house it is."""
    return doors.Grpc(channel, house.tenant.access_token)


def read_twice(caller: doors.Grpc, house: House) -> list[bytes]:
    """What the cached reads answer their owner, the second time from the cache."""
    outcomes = [caller.call(method, house.request(method)) for method in CACHED * TWICE]
    assert all(outcome.content for outcome in outcomes), outcomes
    return [outcome.content for outcome in outcomes]


def everything_of(stack: Stack, house: House) -> list[Any]:
    """Every row that a member owns, as PostgreSQL prints it, but for those that change by themselves."""
    found = []
    for service in SERVICES:
        table, owner = owned.RESOURCES[service].table.name, owned.RESOURCES[service].owner
        if table in wall.MOVING:
            continue
        found += rows(stack, f"SELECT t::text FROM {table} t WHERE {owner} = %s ORDER BY 1", house.tenant.owner.id)
    return found


def resource_of(method: MethodPolicy) -> AnyResource:
    return owned.RESOURCES[method.descriptor.containing_service.full_name]


def ids_of(method: MethodPolicy, house: House) -> set[str]:
    """The ids of what a member owns that a method is about, and theirs."""
    named = house.made[method.descriptor.containing_service.full_name.removesuffix("Service")]
    return {value for name, value in named.items() if name.endswith("_id")}


def test_every_resource_that_has_an_owner_is_tried() -> None:
    declared = {
        service.descriptor.full_name
        for service in app.SERVICES
        if service.resource is not None and service.resource.owner and service.resource.shown is None
    }
    assert set(SERVICES) == declared
    assert len(NAMING) > 12
    assert LISTS
    assert CACHED


# What a peer gets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), NAMING, ids=name_of)
def test_what_another_member_owns_is_not_found(
    channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy, path: str
) -> None:
    caller, request = caller_of(channel, members.peer), members.peer.reaching(method, path, mine)
    keep_in_cache(channel, mine, method)
    for _ in range(TWICE):
        assert_unseen(caller.call(method, request), method, path, mine)


@pytest.mark.parametrize(("method", "path"), NAMING, ids=name_of)
def test_what_another_member_owns_is_not_found_over_rest(
    channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy, path: str
) -> None:
    request = members.peer.reaching(method, path, mine)
    keep_in_cache(channel, mine, method)
    for binding in method.bindings:
        for headers in ({}, {"if-none-match": "*"}, {"if-match": "*"}):
            outcome = over_rest(members.peer, binding, request, headers)
            assert_unseen(outcome, method, path, mine)


@pytest.mark.parametrize("method", sorted({method for method, _ in NAMING}, key=name_of), ids=name_of)
def test_the_whole_request_of_another_member_is_not_answered(
    channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy
) -> None:
    """Every field at once names what is another's, as in a request that was recorded."""
    request = mine.request(method)
    keep_in_cache(channel, mine, method)
    for outcome in through_both_doors(channel, members.peer, method, request):
        assert outcome.problem is not None, outcome
        is_denied = method.kind is Kind.LIST
        assert outcome.problem.reason == (owned.PERMISSION_MISSING if is_denied else "RESOURCE_NOT_FOUND"), outcome
        assert outcome.http_status in (0, 403 if is_denied else 404)


def keep_in_cache(channel: grpc.Channel, mine: House, method: MethodPolicy) -> None:
    """Have a read answered to its owner right before: whatever was made meanwhile dropped what was kept."""
    if method.cache_seconds:
        for _ in range(TWICE):
            assert caller_of(channel, mine).call(method, mine.request(method)).problem is None


def assert_unseen(outcome: doors.Outcome, method: MethodPolicy, path: str, mine: House) -> None:
    """What another member owns looks like what is nowhere. A list that names them says what permission it takes."""
    rules = wall.rules_broken(method, path)
    assert outcome.problem is not None, outcome
    # Unless the request names them, they are in no answer.
    assert path == owned.owner_field(method) or mine.tenant.owner.id not in str(outcome)
    if owned.names_owner(method, path):
        assert outcome.http_status in (0, 403)
        assert outcome.problem.reason == owned.PERMISSION_MISSING
        assert outcome.problem.metadata == {"permission": owned.seen_by(method)}
    elif rules:
        assert outcome.http_status in (0, 422)
        assert (outcome.problem.reason, {*outcome.problem.rules}) == ("RULE_VIOLATED", rules)
    else:
        assert outcome.http_status in (0, 404)
        assert (outcome.problem.code, outcome.problem.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize("method", LISTS, ids=name_of)
def test_a_list_has_the_caller_s_own(
    channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy
) -> None:
    peer = members.peer
    for named in ({}, {"show_deleted": True, "include_total": True}, {owned.owner_field(method): peer.tenant.owner.id}):
        request = peer.request(method, named)
        for outcome in through_both_doors(channel, peer, method, request):
            assert outcome.problem is None, outcome
            shown = outcome.content.decode(errors="replace")
            assert [each for each in ids_of(method, peer) if each not in shown] == []
            assert [each for each in ids_of(method, mine) if each in shown] == []


@pytest.mark.parametrize("method", LISTS, ids=name_of)
def test_everyone_s_are_not_listed(channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy) -> None:
    request = members.peer.request(method, {owned.owner_field(method): EVERYONE})
    for outcome in through_both_doors(channel, members.peer, method, request):
        assert_unseen(outcome, method, owned.owner_field(method), mine)


@pytest.mark.parametrize("method", LISTS, ids=name_of)
def test_no_filter_finds_what_another_member_owns(
    channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy
) -> None:
    """By each id that can be filtered by; the same filter finds it for its owner, even counted."""
    for condition in conditions(method, mine):
        for house, is_found in ((members.peer, False), (mine, True)):
            request = house.request(method, {"filter": condition, "include_total": True, "show_deleted": True})
            for outcome in through_both_doors(channel, house, method, request):
                assert outcome.problem is None, outcome
                answer = doors.answer_of(method, outcome)
                assert bool(answer.total_size) is is_found, condition
                assert bool(owned.named_in(answer) - {"total_size"}) is is_found, condition


def conditions(method: MethodPolicy, house: House) -> list[str]:
    """Filters for what is in a house, by its own id and by that of its parent."""
    service = method.descriptor.containing_service.full_name
    named, resource = house.made[service.removesuffix("Service")], resource_of(method)
    found = {"id": named[f"{python_name(resource.message.DESCRIPTOR.name)}_id"]}
    found |= {name: named[name] for name in resource.filterable if name in named and name.endswith("_id")}
    assert found["id"]
    return [f"{name} = {value}" for name, value in found.items() if name in resource.filterable]


@pytest.mark.parametrize("method", LISTS, ids=name_of)
def test_the_page_token_of_another_member_is_refused(
    channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy
) -> None:
    first = caller_of(channel, mine).call(method, mine.request(method, {"page_size": 1}))
    token = doors.answer_of(method, first).next_page_token
    assert token
    own = mine.request(method, {"page_size": 1, "page_token": token})
    assert caller_of(channel, mine).call(method, own).problem is None
    other = members.peer.request(method, {"page_size": 1, "page_token": token})
    for outcome in through_both_doors(channel, members.peer, method, other):
        assert outcome.problem is not None
        assert outcome.problem.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("method", BODIES, ids=name_of)
def test_nobody_else_is_made_the_owner(
    channel: grpc.Channel, members: Members, mine: House, method: MethodPolicy
) -> None:
    """The field of the owner is output only, in what is new and in what is changed."""
    peer, owner = members.peer, owned.owner_field(method)
    request: Any = peer.request(method)
    body = next(
        name for name in owned.named_in(request) if method.descriptor.input_type.fields_by_name[name].message_type
    )
    assert wall.behaves(resource_of(method).message.DESCRIPTOR.fields_by_name[owner], field_behavior_pb2.OUTPUT_ONLY)
    setattr(getattr(request, body), owner, mine.tenant.owner.id)
    for outcome in through_both_doors(channel, peer, method, request):
        assert outcome.problem is not None, outcome
        assert (outcome.problem.reason, {*outcome.problem.rules}) == ("RULE_VIOLATED", {"read_only"})


# What its owner gets, and who sees what others own -----------------------------------------------------------------


@pytest.mark.parametrize("method", owned.OWNED, ids=name_of)
def test_its_owner_is_answered(channel: grpc.Channel, members: Members, method: MethodPolicy) -> None:
    """The same requests, and their owner holds no more than the peer; else the wall would prove nothing."""
    house = members.third.one_more()
    assert_answered(channel, house, house, method)


@pytest.mark.parametrize("method", owned.OWNED, ids=name_of)
def test_who_holds_the_permission_is_answered(channel: grpc.Channel, members: Members, method: MethodPolicy) -> None:
    house = members.third.one_more()
    assert_answered(channel, members.seer, house, method)
    # Those of its own domain: with DOMAIN, there is nothing of others.
    for list_of in (each for each in LISTS if each.domain == method.domain):
        everyone = members.seer.request(list_of, {owned.owner_field(list_of): EVERYONE, "page_size": 200})
        outcome = caller_of(channel, members.seer).call(list_of, everyone)
        assert outcome.problem is None, outcome
        assert house.tenant.owner.id in outcome.content.decode(errors="replace")


def assert_answered(channel: grpc.Channel, caller: House, house: House, method: MethodPolicy) -> None:
    """A caller does with what is in a house what the method does, and it stays its owner's."""
    grpc_caller = caller_of(channel, caller)
    before = MUTATIONS[method.path].before if method.path in MUTATIONS else ""
    if before:
        first = METHODS[f"{method.path.rpartition('/')[0]}/{before}"]
        assert grpc_caller.call(first, request_of(first, house)).problem is None
    request = request_of(method, house)
    outcome = grpc_caller.call(method, request)
    assert outcome.problem is None, f"{method.path}: {outcome.problem}"
    if method.read_only:
        assert outcome.content
    if method.read_only and not method.streaming:
        over = over_rest(caller, method.bindings[0], request)
        assert over.http_status == 200
        answers = [doors.answer_of(method, each) for each in (outcome, over)]
        assert answers[0] == answers[1]
    answer = doors.answer_of(method, outcome)
    if owned.owner_field(method) in answer.DESCRIPTOR.fields_by_name:
        is_callers = method.kind is Kind.CREATE and not wall.identifying(method)
        expected = caller if is_callers else house
        assert getattr(answer, owned.owner_field(method)) == expected.tenant.owner.id


def request_of(method: MethodPolicy, house: House) -> Message:
    """A request that can be fulfilled, without an ETag."""
    named = {path: value for path, value in house.named(method).items() if path in wall.identifying(method)}
    return house.request(method, named)


def through_both_doors(
    channel: grpc.Channel, house: House, method: MethodPolicy, request: Message
) -> list[doors.Outcome]:
    """What the member of a house is answered, twice through each door."""
    caller = caller_of(channel, house)
    return [
        *(caller.call(method, request) for _ in range(TWICE)),
        *(over_rest(house, binding, request) for binding in method.bindings for _ in range(TWICE)),
    ]


def over_rest(house: House, binding: Binding, request: Message, headers: dict[str, str] | None = None) -> doors.Outcome:
    return doors.over_rest(Rest(house.tenant.stack, house.tenant.access_token), binding, request, headers)
