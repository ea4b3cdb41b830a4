"""Every table and column that may hold something of a person says what becomes of it when the person is erased."""

import psycopg
import pytest

from server import modules
from server.app import SERVICES
from server.data.tables import metadata
from server.kernel.privacy import decisions
from server.kernel.privacy.decisions import Shape
from tests.clients import database
from tests.stack import Stack

OPEN = ("text", "character varying", "jsonb", "json", "bytea", "ARRAY", "USER-DEFINED")
COLUMNS = """
SELECT c.table_name AS table, c.column_name AS column,
       c.data_type IN ('text', 'character varying', 'jsonb', 'json', 'bytea', 'USER-DEFINED')
       OR (c.data_type = 'ARRAY' AND c.udt_name <> '_uuid') AS is_open
  FROM information_schema.columns c
  JOIN pg_class r ON r.oid = format('%I.%I', c.table_schema, c.table_name)::regclass
 WHERE c.table_schema = 'public' AND r.relkind IN ('r', 'p') AND NOT r.relispartition AND c.udt_name <> 'xid8'
"""


@pytest.fixture(scope="module")
def shapes(stack: Stack) -> list[Shape]:
    """The columns of every table in the database, those of the queue and of the migrations among them."""
    with database(stack) as connection, connection.cursor(row_factory=psycopg.rows.class_row(Shape)) as cursor:
        return cursor.execute(COLUMNS).fetchall()


def test_every_column_has_a_decision(shapes: list[Shape]) -> None:
    assert list(decisions.undecided(modules.privacy(), shapes)) == []
    assert {shape.table for shape in shapes} >= {table.name for table in metadata.sorted_tables}


def test_every_decision_can_be_done() -> None:
    assert list(decisions.impossible(modules.privacy())) == []


def test_what_is_personal_is_erased_and_what_is_erased_is_marked() -> None:
    assert list(decisions.unmarked(modules.privacy(), SERVICES)) == []


def test_every_table_of_persons_is_exported() -> None:
    assert list(decisions.unexported(modules.privacy())) == []
