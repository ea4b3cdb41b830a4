"""An export is one JSON object, made in pieces and read in batches, of the tenants that it is asked for."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from server import modules
from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.travel.tables import expenses, trips
from server.kernel.ids import new_id
from server.kernel.privacy import Export, Owner, exporting, sections
from tests.clients import Tenant, another_tenant, database, new_tenant
from tests.privacy.scene import Marked, marked
from tests.stack import Stack
from tests.workers.machinery import own_database


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def own(stack: Stack) -> Iterator[Database]:
    """The database as the runtime role."""
    with own_database(stack.settings.runtime_dsn) as database:
        yield database


@pytest.fixture
def person(tenant: Tenant) -> Marked:
    return marked(another_tenant(tenant))


def made(own: Database, exports: tuple[Export, ...], person: Marked) -> list[bytes]:
    """The pieces of an export of the person's tenant."""

    def run(tenant_id: str, statement: Statement, **parameters: object) -> Result:
        with own.read(Scope(tenant_id=tenant_id or None, user_id=person.id)) as transaction:
            return transaction.run(statement, **parameters)

    return list(sections(run, exports, person.id, [person.session.tenant_id]))


def rows_of(pieces: list[bytes]) -> dict[str, Any]:
    """What the pieces say together."""
    told: dict[str, Any] = json.loads(b"".join(pieces))
    return told


def test_every_declared_table_is_a_section(own: Database, person: Marked) -> None:
    exports = modules.privacy().exports
    told = rows_of(made(own, exports, person))
    assert told.keys() == {"personId", *(export.table.name for export in exports)}
    assert len(told["users"]) == len(told["memberships"]) == len(told["trips"]) == 1


def test_batches_and_pieces_join_without_a_gap(
    stack: Stack, own: Database, person: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "CHUNK", 1000)
    with database(stack) as connection:
        connection.execute(
            "INSERT INTO trips (tenant_id, id, user_id, title, start_date, end_date, state) "
            "SELECT %s, gen_random_uuid(), %s, 'Many', '2026-01-01', '2026-01-01', 1 FROM generate_series(1, %s)",
            (person.session.tenant_id, person.id, 2 * exporting.AT_ONCE - 1),
        )
    pieces = made(own, (Export(trips), Export(expenses)), person)
    assert len(pieces) > 100
    told = rows_of(pieces)
    assert len({trip["id"] for trip in told["trips"]}) == len(told["trips"]) == 2 * exporting.AT_ONCE
    assert len(told["expenses"]) == 1


def test_rows_below_those_of_the_person_belong_to_the_export(own: Database, person: Marked) -> None:
    below = Export(expenses, by="trip_id", of=Owner(trips), leave_out=("place",))
    (expense,) = rows_of(made(own, (below,), person))["expenses"]
    assert expense["description"] == f"Meal {person.mark}"
    assert "place" not in expense


def test_of_nothing_an_export_is_empty(own: Database, person: Marked) -> None:
    nobody = Marked(**{**vars(person), "account": type(person.account)("", "", new_id())})
    assert rows_of(made(own, (Export(trips),), nobody)) == {"personId": nobody.id, "trips": []}
