"""Cached reads: nobody gets what was made for a tenant or caller that they are not, or what is true no more."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server import app
from server.data.tables import metadata
from server.kernel.policy import Access, Kind, MethodPolicy
from server.kernel.queries.filter_sql import is_money
from tests.clients import Account, Rest, Session, database, new_member, unique
from tests.contract import doors, owned, wall
from tests.contract.mutations import METHODS, MUTATIONS
from tests.contract.wall import House
from tests.stack import Stack

CACHED = [method for method in app.policies().values() if method.cache_seconds]
GUARDED = [method for method in CACHED if method.access is Access.PERMISSION]
LISTS = [method for method in GUARDED if method.kind is Kind.LIST]
# Of what belongs to something else.
BELOW = [
    method for method in GUARDED if (resource := owned.resource_of(method)) is not None and resource.parent is not None
]
# The tenant's end leaves nothing to read. An erasure goes on after its answer, and drops what is cached by itself
# (tests/privacy). Of users, the request names the owner who calls, and who stays one. Credentials are those of a
# template, and nothing of them is cached. ReorderNavigationItems names every item of the tenant, and other tests add
# items to this one (tests/domains/sites tries it). ImportSite needs a tenant without a site, and changes nothing
# itself: its job calls other RPCs.
APART = {
    # These need a draft, one in review, and a revision of the same entry.
    *(f"/plinth.dictionary.v1.DictionaryEntryService/{verb}DictionaryEntry" for verb in ("Submit", "Return")),
    "/plinth.dictionary.v1.DictionaryEntryService/RestoreDictionaryRevision",
    # These need a story in another state, or somebody else's.
    *(f"/plinth.stories.v1.StoryService/{verb}Story" for verb in ("Submit", "Withdraw")),
    *(f"/plinth.stories.v1.StoryChapterService/{verb}StoryChapter" for verb in ("Submit", "Withdraw")),
    *(f"/plinth.stories.v1.StoryCommentService/{verb}StoryComment" for verb in ("Approve", "VoteOn", "Undelete")),
    *(
        f"/plinth.stories.v1.ModerationItemService/{verb}ModerationItem"
        for verb in ("Release", "Approve", "Reject", "Ignore", "Escalate")
    ),
    "/plinth.stories.v1.ModerationAppealService/AppealModerationDecision",
    "/plinth.stories.v1.StoryRatingService/RateStory",
    "/plinth.stories.v1.StoryReadingService/SetStoryProgress",
    "/plinth.stories.v1.StoryReportService/ReportStory",
    "/plinth.sites.v1.SiteArchiveService/ImportSite",
    "/plinth.sites.v1.NavigationItemService/ReorderNavigationItems",
    "/plinth.tenancy.v1.TenantService/DeleteTenant",
    "/plinth.identity.v1.PrivacyService/ErasePerson",
    "/plinth.identity.v1.UserService/UpdateUser",
    "/plinth.identity.v1.UserService/DeleteUser",
    "/plinth.integrations.v1.IntegrationService/ReplaceIntegrationCredentials",
}
CHANGES = [
    method
    for method in app.policies().values()
    if method.access is Access.PERMISSION and not method.read_only and method.path not in APART
]
# How often something is read: at the second time it is in the cache.
TWICE = 2
# A write of another test may share a slot of the generations with ours (see generations.py), or drop everything.
TRIES = 5
MISSING = {(403, "PERMISSION_MISSING")}
AMOUNTS = {
    resource.table.name: [f"{field.name}_minor" for field in resource.message.DESCRIPTOR.fields if is_money(field)]
    for resource in owned.RESOURCES.values()
}
"""The columns of amounts by table."""


def name_of(method: MethodPolicy) -> str:
    return method.name


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    made = wall.furnished(stack)
    made.again()
    return made


@pytest.fixture(scope="module")
def other(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def member(house: House) -> tuple[Account, Session]:
    """Somebody who may read, and sees what others own."""
    account, session = new_member(house.tenant, "viewer")
    rest, role = house.tenant.rest, unique("seer")
    assert rest.post("rbac/roles", {"name": role, "permissions": owned.SEEN_BY}).status_code == 201
    assert rest.post(f"users/{account.id}/roles", {"role": role}).status_code == 200
    return account, session


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with doors.channel(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def as_caller(stack: Stack, channel: grpc.Channel) -> Callable[[str], "Reader"]:
    """A reader by their credentials, if any."""
    return lambda secret: Reader(stack, channel, secret)


As = Callable[[str], "Reader"]


class Reader:
    """Somebody who asks through both doors, twice each."""

    def __init__(self, stack: Stack, channel: grpc.Channel, secret: str) -> None:
        self._grpc = doors.Grpc(channel, secret)
        self._rest = Rest(stack, secret or None)

    def read(self, method: MethodPolicy, house: House, **named: Any) -> set[bytes]:
        """What is answered: one answer, unless it changes meanwhile."""
        over_grpc, over_rest = self._ask(method, house, named)
        assert {outcome.http_status for outcome in over_rest} == {200}
        assert all(outcome.content for outcome in over_grpc), over_grpc
        return {outcome.content for outcome in over_grpc}

    def refusals(self, method: MethodPolicy, house: House, **named: Any) -> set[tuple[int, str]]:
        """Statuses and reasons of what is refused."""
        # Once: a refusal is not kept.
        over_grpc, over_rest = self._ask(method, house, named, times=1)
        outcomes = list(zip([outcome.http_status for outcome in over_rest * 2], over_rest + over_grpc, strict=True))
        return {(status, outcome.problem.reason if outcome.problem else "OK") for status, outcome in outcomes}

    def is_shut_out(self, method: MethodPolicy, house: House) -> bool:
        """Whether nothing of another tenant is found, or listed where only a user of theirs is named."""
        named = {*wall.identifying(method)} & {*house.named(method)}
        if not named and not method.has_tenant:
            # It asks about the tenant of its caller alone.
            own = [outcome for door in self._ask(method, house, {}) for outcome in door]
            assert all(outcome.problem is None for outcome in own), own
            return not any(house.tenant.id.encode() in outcome.content for outcome in own)
        if method.has_tenant or named != {owned.owner_field(method)}:
            return self.refusals(method, house) == {(404, "RESOURCE_NOT_FOUND")}
        outcomes = [outcome for door in self._ask(method, house, {}) for outcome in door]
        assert all(outcome.problem is None for outcome in outcomes), outcomes
        return not any(doors.answer_of(method, outcome).ListFields() for outcome in outcomes)

    def _ask(
        self, method: MethodPolicy, house: House, named: dict[str, Any], times: int = TWICE
    ) -> tuple[list[doors.Outcome], list[doors.Outcome]]:
        request = house.request(method, house.named(method) | named)
        binding = method.bindings[0]
        return (
            [self._grpc.call(method, request) for _ in range(times)],
            [doors.over_rest(self._rest, binding, request) for _ in range(times)],
        )


@dataclass(frozen=True)
class Callers:
    """Who asks for what is in the house."""

    owner: Reader
    member: Reader
    peer: Reader
    """A member who may read, but sees nothing that others own."""
    idler: Reader
    """A member who may do nothing."""
    stranger: Reader
    """The owner of the other tenant."""
    nobody: Reader


@pytest.fixture(scope="module")
def callers(as_caller: As, house: House, other: House, member: tuple[Account, Session]) -> Callers:
    others = [session.access_token for _, session in (new_member(house.tenant, "viewer"), new_member(house.tenant))]
    tokens = (house.tenant.access_token, member[1].access_token, *others, other.tenant.access_token, "")
    return Callers(*map(as_caller, tokens))


def change_behind_the_server_s_back(stack: Stack, house: House) -> None:
    """Give every row of a tenant another version and other amounts, which show to whoever asks the database."""
    versioned = [table for table in metadata.sorted_tables if {"tenant_id", "version"} <= {*table.c.keys()}]
    with database(stack) as connection:
        for table, column in (("tenants", "id"), *((table.name, "tenant_id") for table in versioned)):
            # Alone, table by table: the server notes meanwhile which keys were used, and in an order of its own.
            with connection.transaction():
                connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE".encode())
                more = ", ".join(f"{name} = {name} + 1" for name in ("version", *AMOUNTS.get(table, ())))
                connection.execute(f"UPDATE {table} SET {more} WHERE {column} = %s".encode(), (house.tenant.id,))


def new_key(house: House, *permissions: str) -> str:
    """An API key of a tenant."""
    answer = house.tenant.rest.post(f"{house.tenant.path}/api-keys", {"name": "Key", "permissions": permissions})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def is_per_caller(method: MethodPolicy) -> bool:
    """Whether the owner and a reader of a tenant have cached answers of their own."""
    resource = owned.resource_of(method)
    is_shown_in_part = resource is not None and resource.shown is not None
    return method.per_caller or bool(owned.owner_field(method)) or is_shown_in_part


# One that no cached read needs.
USELESS = min({method.permission for method in CHANGES} - {method.permission for method in GUARDED})


def allowing(method: MethodPolicy) -> set[str]:
    """What a key has to hold to be answered like the owner of what is in the house."""
    return {method.permission, owned.seen_by(method)} - {""}


def unseen(method: MethodPolicy) -> set[tuple[int, str]]:
    """What is said to somebody else in the tenant about what a user owns."""
    return MISSING if method.kind is Kind.LIST else {(404, "RESOURCE_NOT_FOUND")}


def test_every_cached_read_is_tried() -> None:
    """One for everybody would need a sweep of its own."""
    assert [method.name for method in CACHED if method not in GUARDED] == []
    assert len(GUARDED) > 5
    assert LISTS


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_tenants_and_roles_never_mix(
    stack: Stack, callers: Callers, house: House, other: House, method: MethodPolicy
) -> None:
    own = callers.stranger.read(method, other)

    def is_cached_all_the_while() -> bool:
        shown = callers.owner.read(method, house)
        assert shown != own
        change_behind_the_server_s_back(stack, house)
        seen = callers.member.read(method, house)
        assert callers.idler.refusals(method, house) == MISSING
        assert callers.stranger.is_shut_out(method, house)
        assert callers.nobody.refusals(method, house) == {(401, "CREDENTIALS_MISSING")}
        if owned.owner_field(method):
            assert callers.peer.refusals(method, house) == unseen(method)
        assert callers.stranger.read(method, other) == own
        # The database would tell another version by now. What is for its caller alone was read anew for the member.
        return callers.owner.read(method, house) == shown and (seen == shown) is not is_per_caller(method)

    assert any(is_cached_all_the_while() for _ in range(TRIES))


@pytest.fixture(scope="module")
def keys(as_caller: As, house: House, other: House) -> tuple[Reader, Reader]:
    """One that may read nothing that is cached, and one of the other tenant that may read it all there."""
    everything = sorted({permission for method in GUARDED for permission in allowing(method)})
    return as_caller(new_key(house, USELESS)), as_caller(new_key(other, *everything))


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_api_keys_get_what_is_cached_if_they_may_ask(
    stack: Stack, as_caller: As, house: House, keys: tuple[Reader, Reader], method: MethodPolicy
) -> None:
    owner, (lacking, theirs) = as_caller(house.tenant.access_token), keys
    blind, allowed = (as_caller(new_key(house, *held)) for held in ((method.permission,), allowing(method)))

    def is_cached_all_the_while() -> bool:
        shown = owner.read(method, house)
        change_behind_the_server_s_back(stack, house)
        seen = allowed.read(method, house)
        assert lacking.refusals(method, house) == MISSING
        assert theirs.is_shut_out(method, house)
        refusal = owned.refusal_of_key(method, house.request(method), sees_all=False)
        assert not refusal or blind.refusals(method, house) == {(403, refusal)}
        return owner.read(method, house) == shown and (seen == shown) is not is_per_caller(method)

    assert any(is_cached_all_the_while() for _ in range(TRIES))


@pytest.mark.parametrize("method", LISTS, ids=name_of)
def test_each_caller_goes_on_with_a_page_token_of_their_own(
    callers: Callers, house: House, method: MethodPolicy
) -> None:
    readers = [callers.owner, callers.member]
    parse: Any = GetMessageClass(method.descriptor.output_type).FromString
    tokens = [parse(reader.read(method, house, page_size=1).pop()).next_page_token for reader in readers]
    assert len(set(tokens)) == len(tokens)
    for place, reader in enumerate(readers):
        assert reader.read(method, house, page_size=1, page_token=tokens[place])
        refused = reader.refusals(method, house, page_size=1, page_token=tokens[1 - place])
        assert refused == {(400, "PAGE_TOKEN_INVALID")}


def test_who_loses_a_role_loses_what_is_cached(callers: Callers, house: House, member: tuple[Account, Session]) -> None:
    account, reader, rest = member[0], callers.member, house.tenant.rest
    [role] = rest.get("rbac/roles", {"filter": "name = viewer"}).json()["roles"]
    assert all(reader.read(method, house) for method in GUARDED)
    assert rest.delete(f"users/{account.id}/roles/{role['id']}").status_code == 204
    assert {refusal for method in GUARDED for refusal in reader.refusals(method, house)} == MISSING
    assert rest.post(f"users/{account.id}/roles", {"role": "viewer"}).status_code == 200
    assert all(reader.read(method, house) for method in GUARDED)


def meeting(change: MethodPolicy) -> list[MethodPolicy]:
    """The cached reads that a change invalidates."""
    return [method for method in GUARDED if {*method.cache_tags} & {*change.invalidates}]


@pytest.mark.parametrize("change", [change for change in CHANGES if meeting(change)], ids=name_of)
def test_cached_reads_tell_what_a_change_has_made_of_things(
    channel: grpc.Channel, another: Callable[[], House], change: MethodPolicy
) -> None:
    assert list(stale_reads(channel, another(), change, meeting(change))) == []


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_a_cached_answer_is_confirmed_by_its_weak_etag_until_something_changes(
    channel: grpc.Channel, another: Callable[[], House], method: MethodPolicy
) -> None:
    house = another()
    path, query, _ = doors.rest_parts(method.bindings[0], house.request(method))

    def get(etag: str = "") -> httpx.Response:
        return house.tenant.rest.request("GET", path, params=query, headers={"if-none-match": etag} if etag else {})

    (etag,) = {get().headers["etag"] for _ in range(TWICE)}
    assert etag.startswith('W/"')
    assert {get(f'"other", {etag}').status_code for _ in range(TWICE)} == {304}
    updates = [change for change in CHANGES if method in meeting(change) and change.kind is Kind.UPDATE]
    # That of the same service: what belongs to a resource may stay as it is when that is changed.
    change = max(updates, key=lambda change: service_of(change) == service_of(method))
    assert doors.Grpc(channel, house.tenant.access_token).call(change, request_of(change, house)).problem is None
    # It answers anew, or that it is gone from there.
    assert 304 not in {get(etag).status_code for _ in range(TWICE)}


def service_of(method: MethodPolicy) -> str:
    return method.path.rpartition("/")[0]


@pytest.mark.heavy
@pytest.mark.parametrize("change", CHANGES, ids=name_of)
def test_no_cached_read_at_all_is_stale_after_a_change(
    channel: grpc.Channel, another: Callable[[], House], change: MethodPolicy
) -> None:
    """Those that the change does not name as well: it may have forgotten one. This grows with changes times reads."""
    assert list(stale_reads(channel, another(), change, GUARDED)) == []


def stale_reads(channel: grpc.Channel, house: House, change: MethodPolicy, reads: list[MethodPolicy]) -> Iterator[str]:
    """Reads that tell after a change what was there before, from the cache."""
    owner = doors.Grpc(channel, house.tenant.access_token)
    name = MUTATIONS[change.path].before
    if name:
        before = METHODS[f"{change.path.rpartition('/')[0]}/{name}"]
        assert owner.call(before, request_of(before, house)).problem is None
    for method in reads * TWICE:
        # What is deleted now is not found, until it is brought back.
        seen = owner.call(method, listing(method, house)).problem
        assert seen is None or seen.reason == "RESOURCE_NOT_FOUND", f"{method.path}: {seen}"
    outcome = owner.call(change, request_of(change, house))
    assert outcome.problem is None, f"{change.path} answers its owner {outcome.problem}: {wall.remedy(change)}"
    for method in reads * TWICE:
        answer = told(owner.call(method, listing(method, house)))
        if answer != told(owner.call(method, listing(method, house, in_any_case(house.tenant.id)))):
            yield f"{method.path} is stale after {change.path}: `invalidates` has to name one of {method.cache_tags}"


@pytest.mark.parametrize("method", BELOW, ids=name_of)
def test_what_belongs_to_a_thing_is_gone_from_the_cache_with_it_and_comes_back(
    channel: grpc.Channel, another: Callable[[], House], method: MethodPolicy
) -> None:
    """The RPC that deletes the parent need not name the tags of what belongs to it."""
    house = another()
    owner, resource = doors.Grpc(channel, house.tenant.access_token), owned.RESOURCES[service_of(method)[1:]]
    assert resource.parent is not None
    parent_id = house.made[service_of(method)[1:].removesuffix("Service")][resource.parent.field]
    above = next(name for name, each in owned.RESOURCES.items() if each is resource.parent.resource)
    changes = {change.kind: change for change in CHANGES if service_of(change)[1:] == above}
    for kind, found in ((None, True), (Kind.DELETE, False), (Kind.UNDELETE, True)):
        if kind is not None:
            named = dict.fromkeys(wall.identifying(changes[kind]), parent_id)
            assert owner.call(changes[kind], house.request(changes[kind], named)).problem is None
        for _ in range(TWICE):
            problem = owner.call(method, house.request(method)).problem
            assert problem is None if found else problem is not None and problem.reason == "RESOURCE_NOT_FOUND"


def test_a_deleted_tenant_is_gone_from_the_cache(stack: Stack, as_caller: As) -> None:
    gone = wall.furnished(stack)
    owner = as_caller(gone.tenant.access_token)
    assert all(owner.read(method, gone) for method in GUARDED)
    assert gone.tenant.rest.delete(gone.tenant.path).status_code == 204
    assert {refusal for method in GUARDED for refusal in owner.refusals(method, gone)} == {(404, "RESOURCE_NOT_FOUND")}


def request_of(change: MethodPolicy, house: House) -> Message:
    """A request that can be fulfilled: what it may leave out is left out."""
    named = house.named(change)
    request = house.request(change, {name: named[name] for name in wall.identifying(change) if name in named})
    fields: Any = request
    if MUTATIONS[change.path].mask:
        fields.update_mask.paths.extend(MUTATIONS[change.path].mask)
    if "now" in request.DESCRIPTOR.fields_by_name:
        # What ends at a later time may still be there for the change that follows.
        fields.now = True
    return request


def listing(method: MethodPolicy, house: House, tenant_id: str = "") -> Message:
    """A question about everything. With the tenant's id in another case, nobody has asked it before."""
    return house.request(method, house.named(method) | {"page_size": 200}, tenant_id)


def in_any_case(text: str) -> str:
    return "".join(secrets.choice((sign, sign.upper())) for sign in text)


def told(outcome: doors.Outcome) -> bytes | str:
    """What is there, or why not."""
    return outcome.problem.reason if outcome.problem else outcome.content
