"""What new resources get before they are stored: numbers without gaps, places, and room, however many come at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from plinth.sites.v1.section_pb2 import BatchWriteSectionsRequest, Section
from plinth.travel.v1.trip_pb2 import Trip

from server.data.statements import Row
from server.data.transactions import Database
from server.domains.sites.sections import SectionService
from server.domains.travel.trips import TripService
from server.kernel.call import Access, Call, Principal
from server.kernel.ids import new_id
from server.kernel.messages.fields import descriptor_of, enum_of
from server.kernel.problems import Problem, Reason, RuleViolated, StateForbids
from server.kernel.resources.batches import Batches
from server.kernel.resources.reorder import Reordering, _check
from server.kernel.resources.resource import Hooks, Resource, States
from server.kernel.resources.rows import ResourceRows
from server.kernel.resources.states import StateMachine
from tests.clients import Tenant, new_tenant, rows, unique
from tests.kernel.calls import CREATE, Context
from tests.kernel.database import connections
from tests.stack import Stack

AT_ONCE = 24


class Cancelled(Exception):
    """What ends a transaction of a test."""


class OnPage(Hooks[Section]):
    """Puts sections on a page, where they have no parent that is declared."""

    def __init__(self, page_id: str) -> None:
        self._page_id = page_id

    def before_write(self, call: Call, values: Row, before: Section | None) -> None:
        del call, before
        values["page_id"] = self._page_id
        values.setdefault("place", 0)


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def database(stack: Stack) -> Iterator[Database]:
    with connections(stack.settings.runtime_dsn, size=8) as pool:
        yield Database(pool)


Make = Callable[[int], Any]


def maker(database: Database, tenant: Tenant, resource: Resource[Section]) -> Make:
    """Makes a section in a transaction of its own; every third one ends without effect."""
    page_id = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("page")}).json()["id"]
    made = ResourceRows(OnPage(page_id), resource)

    def make(number: int) -> Section | Problem | None:
        call = Call(CREATE, Context())
        call.tenant_id = tenant.id
        call.principal = Principal(tenant.owner.id, "", tenant.id, (), is_platform=False, expires_at=9e9)
        call.access = Access(tenant.id, frozenset(), (), None)
        try:
            with database.write(call.scope) as call.transaction:
                found = made.insert(call, Section(kind=f"kind-{number}", page_id=page_id))
                _give_up_some(number)
                return found
        except Cancelled:
            return None
        except Problem as problem:
            return problem

    return make


def _give_up_some(number: int) -> None:
    if number % 3 == 2:
        raise Cancelled


def at_once(make: Make) -> list[Any]:
    """What comes of many at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(make, range(AT_ONCE)))


def places(tenant: Tenant) -> list[int]:
    """The places, or numbers, that are stored."""
    sql = "SELECT place FROM sections WHERE tenant_id = %s ORDER BY place"
    return [row["place"] for row in rows(tenant.stack, sql, tenant.id)]


def test_numbers_have_no_gap_whoever_gives_up(database: Database, tenant: Tenant) -> None:
    plain = replace(SectionService.resource, order="", most=0, parent=None, number="place")
    found = [each for each in at_once(maker(database, tenant, plain)) if each is not None]
    assert sorted(each.place for each in found) == places(tenant) == [*range(1, AT_ONCE * 2 // 3 + 1)]


def test_each_tenant_counts_by_itself(database: Database, tenant: Tenant, stack: Stack) -> None:
    plain = replace(SectionService.resource, order="", most=0, parent=None, number="place")
    for each in (tenant, new_tenant(stack)):
        assert maker(database, each, plain)(0).place == 1


def test_without_a_parent_the_tenant_has_one_order(database: Database, tenant: Tenant) -> None:
    plain = replace(SectionService.resource, parent=None)
    found = [each for each in at_once(maker(database, tenant, plain)) if each is not None]
    assert sorted(each.place for each in found) == [*range(1, AT_ONCE * 2 // 3 + 1)]


def test_there_is_room_for_as_many_as_declared(database: Database, tenant: Tenant) -> None:
    plain = replace(SectionService.resource, order="", parent=None, most=5)
    found = at_once(maker(database, tenant, plain))
    assert len([each for each in found if isinstance(each, Section)]) == len(places(tenant)) == 5
    refused = [each for each in found if isinstance(each, StateForbids)]
    assert {each.reason for each in refused} == {Reason.REASON_LIMIT_REACHED}
    assert {each.metadata["limit"] for each in refused} == {"5"}


def test_there_is_room_for_each_owner(database: Database, tenant: Tenant) -> None:
    owned: ResourceRows[Trip] = ResourceRows(Hooks(), replace(TripService.resource, most=2))

    def make(user_id: str) -> str:
        call = Call(CREATE, Context())
        call.tenant_id = tenant.id
        call.principal = Principal(user_id, "", tenant.id, (), is_platform=False, expires_at=9e9)
        day = {"year": 2026, "month": 12, "day": 1}
        try:
            with database.write(call.scope) as call.transaction:
                found = owned.insert(call, Trip(title="One", start_date=day, end_date=day))
        except StateForbids:
            return ""
        assert call.audience == found.user_id
        return found.user_id

    first, second = new_id(), new_id()
    assert [make(each) for each in (first, first, first, second)] == [first, first, "", second]


def test_what_one_user_owns_is_reordered_for_that_user(tenant: Tenant) -> None:
    rows_of: ResourceRows[Trip] = ResourceRows(Hooks(), TripService.resource)
    call = Call(CREATE, Context())
    call.tenant_id = tenant.id
    call.principal = Principal(tenant.owner.id, "", tenant.id, (), is_platform=False, expires_at=9e9)
    scope = Reordering(rows_of)._scope(call, Trip())  # noqa: SLF001 - no domain has such a resource yet
    assert scope == {"tenant": tenant.id, "owner": tenant.owner.id}
    assert call.audience == tenant.owner.id


def test_an_order_with_one_of_them_twice_is_refused() -> None:
    with pytest.raises(RuleViolated) as refused:
        _check(["a", "a"], ["a"])
    assert [(each.field, each.rule) for each in refused.value.violations] == [("ids[1]", "ids.unique")]


def test_a_change_that_says_nothing_is_refused() -> None:
    batches = Batches(ResourceRows(Hooks(), SectionService.resource), "section", "sections", {})
    request = BatchWriteSectionsRequest(operations=[BatchWriteSectionsRequest.Operation()])
    with pytest.raises(RuleViolated) as refused:
        batches._operations(request)  # noqa: SLF001 - the rule of the .proto comes first at the doors
    assert [(each.field, each.rule) for each in refused.value.violations] == [("operations[0]", "required")]


def test_a_state_in_which_nothing_begins_is_refused() -> None:
    states = States("state", (Trip.STATE_PLANNED,), {})
    machine: StateMachine[Trip] = StateMachine(TripService.resource, states)
    machine.check(Trip(state=Trip.STATE_PLANNED), None)
    with pytest.raises(StateForbids, match="It cannot begin so: it is COMPLETED, and PLANNED is allowed"):
        machine.check(Trip(state=Trip.STATE_COMPLETED), None)


def test_a_field_without_an_enum_has_no_states() -> None:
    with pytest.raises(LookupError, match=r"Trip\.title holds no enum"):
        enum_of(descriptor_of(Trip).fields_by_name["title"])
