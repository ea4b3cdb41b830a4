"""The tenant wall: whatever RPC an owner calls, nothing of another tenant answers, shows or changes."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import grpc
import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server import app
from server.data.tables import metadata
from server.kernel.policy import EMPTY, Access, Binding, Kind, MethodPolicy, read_policies
from server.kernel.resources.resource import EVERYONE
from server.kernel.resources.service import python_name
from tests.clients import Rest, another_tenant, rows
from tests.contract import doors, owned, wall
from tests.contract.contract import PAGES, Contract, descriptor_set, in_message, planted
from tests.contract.instances import LAST, MARK, Instance, Mutation, instances, mutations
from tests.contract.mutations import MUTATIONS
from tests.contract.test_messages import TEXT, add_field
from tests.contract.wall import House
from tests.stack import Stack, wait_for

NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
METHODS = list(app.policies().values())
# RPCs in a tenant, be it in the path or the token's.
BOUND = [method for method in METHODS if method.access is Access.PERMISSION]
# RPCs that name a tenant, which may be somebody else's.
WALLED = [method for method in METHODS if method.has_tenant or method.name == "SwitchTenant"]
# RPCs that name something in a tenant, and the fields which do.
NAMING = [(method, field) for method in BOUND for field in wall.identifying(method)]
# What ends the tenant, or needs one without a site.
# What finds nothing without words, or before somebody looked for some in vain.
FINDING = ("SearchDictionary", "SuggestWords", "ListMissingWords")
GOING = ("DeleteTenant", "ImportSite")
OPEN = [
    method
    for method in BOUND
    if not wall.must_name(method) and method.name not in GOING and method.path not in wall.BY_PROTOCOL
]
LISTS = [
    method
    for method in METHODS
    if method.kind is Kind.LIST and method.access is not Access.PLATFORM and not wall.is_shared(method)
]
CACHED = [method for method in BOUND if method.cache_seconds]
SEARCHES = [method for method in LISTS if "q" in method.descriptor.input_type.fields_by_name]
PAGE = "sites.v1.Page"
# What is being sent, and what is due soon.
UNSENT = """SELECT 1 FROM email_messages WHERE tenant_id = %s
            AND (status = 2 OR status IN (1, 4) AND next_attempt_time < now() + interval '1 minute')"""


def name_of(value: object) -> str:
    if isinstance(value, MethodPolicy):
        return f"{value.domain}.{value.name}"
    return f"{value.verb} {value.path}" if isinstance(value, Binding) else str(value)


def bound(methods: list[MethodPolicy]) -> list[tuple[MethodPolicy, Binding]]:
    return [(method, binding) for method in methods for binding in method.bindings]


@pytest.fixture(scope="module")
def ours(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def theirs(stack: Stack) -> Iterator[House]:
    """The other tenant, whose cached reads are in the cache. After all that was tried, it is as it was."""
    house = wall.furnished(stack)
    wait_for(lambda: not rows(stack, UNSENT, house.tenant.id), what="the mail of the tenant to be sent")
    with doors.channel(stack) as channel:
        caller = doors.Grpc(channel, house.tenant.access_token)
        seen, before = read_twice(caller, house), everything_of(stack, house)
        yield house
        assert everything_of(stack, house) == before
        assert read_twice(caller, house) == seen


def read_twice(caller: doors.Grpc, house: House) -> list[bytes]:
    """What the cached reads of a tenant answer, the second time from the cache."""
    requests = [(method, house.request(method)) for method in CACHED] * 2
    outcomes = [caller.call(method, request) for method, request in requests]
    assert all(outcome.content for outcome in outcomes), outcomes
    return [outcome.content for outcome in outcomes]


def everything_of(stack: Stack, house: House) -> list[Any]:
    """Every row of a tenant, as PostgreSQL prints it, but for those that change by themselves."""
    kept = [("tenants", "id")] + [
        (table.name, "tenant_id")
        for table in metadata.sorted_tables
        if "tenant_id" in table.c and table.name not in wall.MOVING
    ]
    found = []
    for table, column in kept:
        found.extend(rows(stack, f"SELECT t::text FROM {table} t WHERE {column} = %s ORDER BY 1", house.tenant.id))
    return found


@pytest.fixture(scope="module")
def owner(stack: Stack, ours: House) -> Iterator[doors.Grpc]:
    """Our owner's gRPC."""
    with doors.channel(stack) as channel:
        yield doors.Grpc(channel, ours.tenant.access_token)


@pytest.fixture(scope="module")
def key(stack: Stack, ours: House) -> Iterator[doors.Grpc]:
    """gRPC with an API key of ours that may do everything, and sees what each user owns."""
    with doors.channel(stack) as channel:
        yield doors.Grpc(channel, new_key(ours, lacking=()))


@pytest.fixture(scope="module")
def blind_key(stack: Stack, ours: House) -> Iterator[doors.Grpc]:
    """gRPC with an API key of ours that may do everything, but sees nothing that a user owns."""
    with doors.channel(stack) as channel:
        yield doors.Grpc(channel, new_key(ours, lacking=owned.SEEN_BY))


def new_key(house: House, lacking: Collection[str]) -> str:
    """An API key with all permissions but these."""
    known = [permission["name"] for permission in house.tenant.rest.get("rbac/permissions").json()["permissions"]]
    assert {*lacking} <= {*known}
    permissions = [name for name in known if name not in lacking]
    answer = house.tenant.rest.post(f"{house.tenant.path}/api-keys", {"name": "All", "permissions": permissions})
    return str(answer.json()["key"])


def test_every_request_field_is_tried(ours: House) -> None:
    assert list(wall.unknown_fields([*BOUND, *WALLED], ours.made)) == []
    assert len(NAMING) > 20
    assert {(method.name, path) for method, path in NAMING} >= {
        ("BatchUpdateSections", "requests.section_id"),
        ("BatchCreateSections", "requests.tenant_id"),
        ("BatchWriteSections", "operations.create.page_id"),
        ("BatchWriteSections", "operations.delete.section_id"),
        ("CreateExpense", "expense.trip_id"),
        ("ListTrips", "user_id"),
    }
    assert len(OPEN) > 6
    assert {method.name for method in LISTS} >= {"ListPages", "ListRoles", "ListApiKeys", "ListTenants"}


def test_a_field_that_nobody_tries_is_found(ours: House) -> None:
    contract = planted(PAGES, in_message("GetPageRequest", add_field("folder_id", TEXT)))
    policies = read_policies(contract.services)
    faults = list(wall.unknown_fields(list(policies.values()), ours.made))
    expected = "/plinth.sites.v1.PageService/GetPage: nobody made an instance for `folder_id`: "
    assert f"{expected}declare it in tests/domains/sites/instances.py" in faults


@pytest.mark.parametrize("method", [method for method in WALLED if method.read_only], ids=name_of)
def test_its_own_owner_reads_what_a_stranger_does_not_find(theirs: House, method: MethodPolicy) -> None:
    """The same request as below; else the wall would prove nothing."""
    request = theirs.request(method, theirs.named(method) | ({"last_event_id": "0-0"} if method.streaming else {}))
    with doors.channel(theirs.tenant.stack) as channel:
        outcome = doors.Grpc(channel, theirs.tenant.access_token).call(method, request)
    assert outcome.problem is None, f"{method.path} answers its owner {outcome.problem}: {wall.remedy(method)}"


@pytest.mark.parametrize("method", [method for method in WALLED if not method.read_only], ids=name_of)
def test_its_own_owner_finds_what_a_stranger_would_change(
    stack: Stack, another: Callable[[], House], method: MethodPolicy
) -> None:
    """The same request as below, in a tenant that it may change. A state may forbid it, but it is found."""
    is_the_end = method.path in MUTATIONS and MUTATIONS[method.path].stage == LAST
    house = wall.furnished(stack) if is_the_end else another()
    with doors.channel(house.tenant.stack) as channel:
        outcome = doors.Grpc(channel, house.tenant.access_token).call(method, house.request(method))
    found = outcome.problem is None or outcome.problem.code != NOT_FOUND
    assert found, f"{method.path} answers its owner {outcome.problem}: {wall.remedy(method)}"


def twin_of_pages() -> list[MethodPolicy]:
    """The RPCs of a second domain that has a resource of the same short name."""
    files = descriptor_set()
    written = next(file for file in files.file if file.name == PAGES).SerializeToString()
    # Of the same length, since lengths stand in what is written.
    for ours, twin in (
        (b"plinth.sites.v1", b"plinth.trips.v1"),
        (b"sites.pages.", b"trips.pages."),
        (b"/pages", b"/trips"),
        (b"/api/v1/templates", b"/api/v1/blueprint"),
    ):
        written = written.replace(ours, twin)
    file = FileDescriptorProto.FromString(written.replace(b"plinth/sites/v1", b"plinth/trips/v1"))
    files.file.append(file)
    return [policy for policy in read_policies(Contract(files).services).values() if policy.domain == "trips"]


def test_the_instance_of_one_domain_does_not_stand_for_its_namesake_in_another(ours: House) -> None:
    """Else the namesake's wall would be asked for ids that it never had, and be content."""
    twins = twin_of_pages()
    missing = "nobody made an instance of plinth.trips.v1.Page for `page_id`: declare it in tests/domains/trips/"
    faults = list(wall.unknown_fields(twins, ours.made))
    get = next(method for method in twins if method.name == "GetPage")
    assert f"{get.path}: {missing}instances.py" in faults
    assert any("no plinth.trips.v1.Page can be created" in fault for fault in faults)
    made = {**ours.made, "plinth.trips.v1.Page": {"page_id": "the twin's"}}
    assert wall.resolve(get, "page_id", made) == "the twin's"
    assert (
        wall.resolve(app.policies()["/plinth.sites.v1.PageService/GetPage"], "page_id", made)
        == ours.of(PAGE)["page_id"]
    )


def test_what_is_declared_twice_or_astray_is_refused() -> None:
    page = Instance(lambda _: {})
    with pytest.raises(LookupError, match=r"plinth.sites.v1.Page is declared in tests/domains/trips/instances.py"):
        instances({"sites": {"plinth.sites.v1.Page": page}, "trips": {"plinth.sites.v1.Page": page}})
    twice = [Mutation("PageService/CreatePage"), Mutation("PageService/CreatePage")]
    with pytest.raises(LookupError, match=r"/plinth.sites.v1.PageService/CreatePage is declared twice"):
        mutations({"sites": twice})


def test_every_resource_has_an_instance() -> None:
    own = [service.resource.message.DESCRIPTOR for service in app.SERVICES if service.resource]
    tenants = [message for message in own if "tenant_id" in message.fields_by_name]
    missing = sorted(str(message.full_name) for message in tenants if message.full_name not in wall.INSTANCES)
    assert [
        f"{name} has no instance: declare it in tests/domains/{name.split('.')[1]}/instances.py" for name in missing
    ] == []


@pytest.mark.parametrize("method", WALLED, ids=name_of)
def test_their_tenant_is_not_found_over_grpc(owner: doors.Grpc, theirs: House, method: MethodPolicy) -> None:
    for _ in range(2):
        assert_not_found(owner.call(method, theirs.request(method)), theirs)


@pytest.mark.parametrize("method", [method for method in WALLED if method.has_tenant], ids=name_of)
def test_their_tenant_is_not_found_with_an_api_key(key: doors.Grpc, theirs: House, method: MethodPolicy) -> None:
    assert_not_found(key.call(method, theirs.request(method)), theirs)


@pytest.mark.parametrize("method", [method for method in WALLED if method.has_tenant], ids=name_of)
def test_a_tenant_that_is_not_the_token_s_is_not_found_by_its_own_owner(
    neighbour: doors.Grpc, second: House, method: MethodPolicy
) -> None:
    assert_not_found(neighbour.call(method, second.request(method)), second)


@pytest.mark.parametrize(("method", "binding"), bound(WALLED), ids=name_of)
def test_their_tenant_is_not_found_over_rest(
    stack: Stack, ours: House, theirs: House, method: MethodPolicy, binding: Binding
) -> None:
    rest = Rest(stack, ours.tenant.access_token)
    for headers in conditions(theirs):
        outcome = doors.over_rest(rest, binding, theirs.request(method), headers)
        assert outcome.http_status == 404
        assert_not_found(outcome, theirs)


def conditions(theirs: House) -> list[dict[str, str]]:
    """What a caller may bring of another's: nothing, an ETag, or any ETag at all."""
    etags = (theirs.of(PAGE)["etag"], "*")
    return [{}, *({name: etag} for name in ("if-match", "if-none-match") for etag in etags)]


@pytest.mark.parametrize(("method", "path"), NAMING, ids=name_of)
def test_what_is_theirs_is_not_found_in_our_tenant(
    owner: doors.Grpc, ours: House, theirs: House, method: MethodPolicy, path: str
) -> None:
    for _ in range(2):
        assert_as_if_absent(owner.call(method, ours.reaching(method, path, theirs)), method, path, theirs)


@pytest.mark.parametrize(("method", "path"), NAMING, ids=name_of)
def test_what_is_theirs_is_not_found_with_an_api_key(
    key: doors.Grpc, ours: House, theirs: House, method: MethodPolicy, path: str
) -> None:
    request = ours.reaching(method, path, theirs)
    outcome = key.call(method, request)
    refusal = owned.refusal_of_key(method, request, sees_all=True)
    if refusal:
        assert_refused(outcome, refusal, theirs)
    else:
        assert_as_if_absent(outcome, method, path, theirs)


@pytest.mark.parametrize(("method", "path"), NAMING, ids=name_of)
def test_what_is_theirs_is_not_found_with_an_api_key_that_sees_nothing_owned(
    blind_key: doors.Grpc, ours: House, theirs: House, method: MethodPolicy, path: str
) -> None:
    request = ours.reaching(method, path, theirs)
    outcome = blind_key.call(method, request)
    refusal = owned.refusal_of_key(method, request, sees_all=False)
    if method.permission in owned.SEEN_BY:
        refusal = owned.PERMISSION_MISSING
    if refusal:
        assert_refused(outcome, refusal, theirs)
    else:
        assert_as_if_absent(outcome, method, path, theirs)


@pytest.mark.parametrize(("method", "path"), NAMING, ids=name_of)
def test_what_is_theirs_is_not_found_in_our_tenant_over_rest(
    stack: Stack, ours: House, theirs: House, method: MethodPolicy, path: str
) -> None:
    rest = Rest(stack, ours.tenant.access_token)
    for binding in method.bindings:
        for headers in conditions(theirs):
            outcome = doors.over_rest(rest, binding, ours.reaching(method, path, theirs), headers)
            if outcome.http_status == 304:
                # Of a list, which is there, they may have any ETag.
                assert owned.names_owner(method, path)
                assert headers == {"if-none-match": "*"}
            elif outcome.http_status == 412:
                # Ours is found, and has another ETag than theirs.
                assert wall.rules_broken(method, path) == {"immutable"} or "." in path
                assert headers == {"if-match": theirs.of(PAGE)["etag"]}
            else:
                assert_as_if_absent(outcome, method, path, theirs)


def assert_as_if_absent(outcome: doors.Outcome, method: MethodPolicy, path: str, theirs: House) -> None:
    """What is another tenant's at this path looks like what is nowhere."""
    rules = wall.rules_broken(method, path)
    if owned.names_owner(method, path):
        assert outcome.problem is None, outcome
        assert outcome.http_status in (0, 200)
        answer = doors.answer_of(method, outcome)
        assert [value for field, value in answer.ListFields()] == [], answer
    elif rules:
        assert outcome.problem is not None, outcome
        assert outcome.http_status in (0, 422)
        assert (outcome.problem.reason, {*outcome.problem.rules}) == ("RULE_VIOLATED", rules), outcome
        assert theirs.tenant.subdomain not in str(outcome)
    else:
        assert_not_found(outcome, theirs)


def assert_refused(outcome: doors.Outcome, reason: str, theirs: House) -> None:
    """Refused before anything is looked for."""
    assert outcome.problem is not None, outcome
    assert outcome.problem.reason == reason, outcome
    assert theirs.tenant.subdomain not in str(outcome)


@pytest.mark.parametrize("method", [method for method in owned.OWNED if method.kind is Kind.LIST], ids=name_of)
def test_everyone_s_are_those_of_our_tenant(
    owner: doors.Grpc, key: doors.Grpc, ours: House, theirs: House, method: MethodPolicy
) -> None:
    resource = method.descriptor.containing_service.full_name.removesuffix("Service")
    for caller in (owner, key):
        asked = {owned.owner_field(method): EVERYONE, "page_size": 200}
        outcome = caller.call(method, ours.request(method, asked))
        assert outcome.problem is None, outcome
        shown = outcome.content.decode(errors="replace")
        assert all(ours.made[resource][name] in shown for name in ours.made[resource] if name.endswith("_id"))
        assert_shows_nothing(shown, theirs)


def assert_not_found(outcome: doors.Outcome, theirs: House) -> None:
    """Absent and another's look alike, ETag or not."""
    assert outcome.problem is not None
    assert outcome.http_status in (0, 404)
    assert (outcome.problem.code, outcome.problem.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert theirs.tenant.subdomain not in str(outcome)


@pytest.mark.parametrize("method", OPEN, ids=name_of)
def test_what_names_nothing_of_theirs_shows_nothing_of_theirs(
    owner: doors.Grpc, ours: House, theirs: House, method: MethodPolicy
) -> None:
    # A stream from the beginning of the log, in which their page came as well.
    named = {"last_event_id": "0-0"} if method.streaming else {}
    request = ours.request(method, named)
    is_smuggled = smuggle(request, theirs)
    outcome = owner.call(method, request)
    if is_smuggled:
        assert outcome.problem is not None
        assert {*outcome.problem.rules} == {"read_only"}, outcome
        assert_shows_nothing(str(outcome), theirs)
        return
    assert outcome.problem is None, outcome
    assert outcome.content or method.descriptor.output_type.full_name == EMPTY or method.name in FINDING
    # Our own audit log tells which tenant we asked for, and were refused.
    own_words = {"tenant_id"} if method.domain == "audit" else set()
    assert_shows_nothing(outcome.content.decode(errors="replace"), theirs, own_words)


def assert_shows_nothing(shown: str, theirs: House, own_words: Collection[str] = ()) -> None:
    """Neither their name nor an id of theirs, other than what we said ourselves."""
    every = [pair for named in theirs.made.values() for pair in named.items()]
    names = [value for name, value in every if name.endswith("_id") and name not in own_words]
    assert [name for name in (theirs.tenant.subdomain, *names) if name in shown] == []


def smuggle(request: Message, theirs: House) -> bool:
    """The other tenant in the body, where there is room for it: what is output only is not taken from the caller."""
    found = False
    for field, value in request.ListFields():
        if field.message_type is None:
            continue
        named = theirs.made.get(field.message_type.full_name, {})
        own = {"tenant_id": theirs.tenant.id, "id": named.get(f"{field.name}_id", theirs.tenant.id)}
        output_only = [
            each.name
            for each in field.message_type.fields
            if wall.behaves(each, field_behavior_pb2.OUTPUT_ONLY) and wall.is_text(each)
        ]
        own |= {name: named[name] for name in output_only if name in named}
        for name in own.keys() & field.message_type.fields_by_name.keys():
            setattr(value, name, own[name])
            found = True
    return found


@pytest.mark.parametrize("method", LISTS, ids=name_of)
def test_a_filter_for_the_id_of_theirs_finds_nothing(
    owner: doors.Grpc, ours: House, theirs: House, method: MethodPolicy
) -> None:
    resource = method.descriptor.containing_service.full_name.removesuffix("Service")
    wanted = f"{python_name(resource.rpartition('.')[2])}_id"
    for house, found in ((theirs, False), (ours, True)):
        outcome = owner.call(method, ours.request(method, {"filter": f"id = {house.made[resource][wanted]}"}))
        assert outcome.problem is None
        assert bool(outcome.content) is found


def test_a_filter_for_what_theirs_is_called_finds_nothing(ours: House, theirs: House) -> None:
    for condition in (f'slug = "{theirs.of(PAGE)["slug"]}"', f"title:{MARK}"):
        answer = ours.tenant.rest.get(f"{ours.tenant.path}/pages", {"filter": condition})
        assert answer.status_code == 200
        assert theirs.tenant.id not in answer.text
        assert theirs.of(PAGE)["page_id"] not in answer.text
    everyone = ours.tenant.rest.get("tenants", {"includeTotal": "true"}).json()
    assert [tenant["id"] for tenant in everyone["tenants"]] == [ours.tenant.id]
    assert everyone["totalSize"] == 1


@pytest.mark.parametrize("method", SEARCHES, ids=name_of)
def test_a_search_for_what_theirs_is_called_finds_nothing(
    owner: doors.Grpc, ours: House, theirs: House, method: MethodPolicy
) -> None:
    """The mark of every instance names its tenant."""
    for house, found in ((theirs, False), (ours, True)):
        outcome = owner.call(method, ours.request(method, {"q": house.tenant.subdomain}))
        assert outcome.problem is None
        assert bool(outcome.content) is found


def test_a_filter_by_tenant_is_refused(ours: House, theirs: House) -> None:
    answer = ours.tenant.rest.get(f"{ours.tenant.path}/pages", {"filter": f"tenant_id = {theirs.tenant.id}"})
    assert answer.status_code == 400


@pytest.mark.parametrize("method", LISTS, ids=name_of)
def test_their_page_token_is_refused_here(
    owner: doors.Grpc, ours: House, neighbour: doors.Grpc, crowded: House, method: MethodPolicy
) -> None:
    outcome = neighbour.call(method, one_a_page(method, crowded))
    answer: Any = GetMessageClass(method.descriptor.output_type).FromString(outcome.content)
    assert answer.next_page_token
    problem = owner.call(method, one_a_page(method, ours, answer.next_page_token)).problem
    assert problem is not None
    assert problem.reason == "PAGE_TOKEN_INVALID"


@pytest.fixture(scope="module")
def crowded(stack: Stack) -> House:
    """A tenant with more than one of everything."""
    house = wall.furnished(stack)
    house.again()
    return house


@pytest.fixture(scope="module")
def second(crowded: House) -> House:
    """Another tenant of the same owner."""
    return House(another_tenant(crowded.tenant), crowded.made)


@pytest.fixture(scope="module")
def neighbour(stack: Stack, crowded: House, second: House) -> Iterator[doors.Grpc]:
    """gRPC of the owner of both, with the token of the crowded one."""
    assert second.tenant.owner == crowded.tenant.owner
    with doors.channel(stack) as channel:
        yield doors.Grpc(channel, crowded.tenant.access_token)


def one_a_page(method: MethodPolicy, house: House, token: str = "") -> Message:
    return house.request(method, {"page_size": 1, "page_token": token})


@pytest.mark.parametrize("method", [method for method in BOUND if method.kind is Kind.BATCH_GET], ids=name_of)
def test_one_of_theirs_fails_a_whole_batch(owner: doors.Grpc, ours: House, theirs: House, method: MethodPolicy) -> None:
    own, other = ours.named(method)["ids"], theirs.named(method)["ids"]
    for _ in range(2):
        assert owner.call(method, ours.request(method, {"ids": own})).content
        for ids in ([*own, *other], [*other, *own]):
            assert_not_found(owner.call(method, ours.request(method, {"ids": ids})), theirs)


def test_their_etag_stands_for_nothing_of_ours(ours: House, theirs: House) -> None:
    path, etag = f"{ours.tenant.path}/pages/{ours.of(PAGE)['page_id']}", theirs.of(PAGE)["etag"]
    for _ in range(2):
        assert ours.tenant.rest.get(path, headers={"if-none-match": etag}).status_code == 200
        assert ours.tenant.rest.get(path, headers={"if-none-match": ours.of(PAGE)["etag"]}).status_code == 304
    assert ours.tenant.rest.patch(path, {"title": "x"}, headers={"if-match": etag}).status_code == 412


def test_their_event_id_resumes_only_our_stream(stack: Stack) -> None:
    """A position counts for the whole log, so it may be anyone's; what is shown is ours alone."""
    first, second = wall.furnished(stack), wall.furnished(stack)
    stream = first.tenant.stubs.pages.WatchPages(_watch(first, "0-0"), timeout=30)
    event = next(stream)
    stream.cancel()
    assert event.page.tenant_id == first.tenant.id
    other = second.tenant.stubs.pages.WatchPages(_watch(second, event.id), timeout=30)
    found = next(other)
    other.cancel()
    assert found.page.tenant_id == second.tenant.id


def _watch(house: House, last_event_id: str) -> Any:
    policy = app.policies()["/plinth.sites.v1.PageService/WatchPages"]
    request: Any = house.request(policy, {})
    request.last_event_id = last_event_id
    return request
