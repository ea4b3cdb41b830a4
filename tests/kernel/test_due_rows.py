"""Rows that are due are dealt with one by one, and one that fails stops no other."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from server.kernel.due_rows import LOOKS, DueRows


class Table:
    """Rows that are due until they are dealt with."""

    def __init__(self, *ids: str, faulty: Exception | None = None) -> None:
        self.due: list[str] = list(ids)
        self.done: list[tuple[str, str]] = []
        self.tried: list[str] = []
        self.looks = 0
        self._faulty = faulty

    @contextmanager
    def read(self, _: Any) -> Any:
        self.looks += 1
        rows = [{"tenant_id": "t", "id": each} for each in self.due]
        yield SimpleNamespace(run=lambda _: SimpleNamespace(all=lambda: rows))

    def do(self, tenant_id: str, row_id: str) -> None:
        self.tried.append(row_id)
        if row_id == "faulty" and self._faulty:
            raise self._faulty
        self.due.remove(row_id)
        self.done.append((tenant_id, row_id))


def run(table: Table) -> None:
    database: Any = table
    statement: Any = None
    DueRows(database, statement, table.do, "the row").run()


@pytest.mark.parametrize("error", [psycopg.OperationalError("away"), KeyError("a workflow that is gone")])
def test_one_that_fails_stops_no_other_and_is_left_to_the_next_run(error: Exception) -> None:
    table = Table("a", "faulty", "b", faulty=error)
    run(table)
    assert table.done == [("t", "a"), ("t", "b")]
    assert (table.tried.count("faulty"), table.due) == (1, ["faulty"])


def test_a_run_ends_when_nothing_is_due() -> None:
    table = Table("a")
    run(table)
    assert (table.done, table.looks) == ([("t", "a")], 2)


def test_a_run_ends_though_something_stays_due() -> None:
    table = Table("a")
    table.do = lambda *_: None  # type: ignore[method-assign]
    run(table)
    assert table.looks == LOOKS
