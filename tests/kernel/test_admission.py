"""What new resources get before they are stored: numbers without gaps, places, and room, however many come at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from plinth.sites.v1.section_pb2 import Section

from server.data.statements import Row
from server.data.transactions import Database
from server.domains.sites.sections import SectionService
from server.kernel.call import Access, Call, Principal
from server.kernel.problems import Problem, Reason, StateForbids
from server.kernel.resources.resource import Hooks, Resource
from server.kernel.resources.rows import ResourceRows
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
    plain = replace(SectionService.resource, parent=None, most=0)
    found = [each for each in at_once(maker(database, tenant, plain)) if each is not None]
    assert sorted(each.place for each in found) == [*range(1, AT_ONCE * 2 // 3 + 1)]


def test_there_is_room_for_as_many_as_declared(database: Database, tenant: Tenant) -> None:
    plain = replace(SectionService.resource, order="", parent=None, most=5)
    found = at_once(maker(database, tenant, plain))
    assert len([each for each in found if isinstance(each, Section)]) == len(places(tenant)) == 5
    refused = [each for each in found if isinstance(each, StateForbids)]
    assert {each.reason for each in refused} == {Reason.REASON_LIMIT_REACHED}
    assert {each.metadata["limit"] for each in refused} == {"5"}
