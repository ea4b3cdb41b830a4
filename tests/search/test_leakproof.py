"""What an index is good for under row-level security: the reason why searches are made of rows with one word each.

A condition whose function is not LEAKPROOF might tell something of a row of another tenant, in an error for example. It
is therefore evaluated after the policy, as a filter over all rows of the tenant, and no index of it is used.
"""

from collections.abc import Iterator

import psycopg
import pytest

from server.data.tables import CURRENT_TENANT
from tests.contract.scratch import run, scratch_role
from tests.kernel.database import scratch
from tests.search.database import bind, tenant
from tests.stack import Stack

TABLE = """
    CREATE TABLE notes (
        tenant_id uuid NOT NULL, id bigint, title text NOT NULL, plain text COLLATE "C" NOT NULL,
        vector tsvector NOT NULL, words text[] NOT NULL, PRIMARY KEY (tenant_id, id));
    INSERT INTO notes
        SELECT ('01890000-0000-7000-8000-' || lpad(to_hex(n % 20), 12, '0'))::uuid, n, word, word,
               to_tsvector('simple', word), ARRAY[word]
          FROM generate_series(1, 20000) n CROSS JOIN LATERAL (SELECT 'word' || n AS word) w;
    CREATE INDEX notes_vector_idx ON notes USING gin (vector);
    CREATE INDEX notes_words_idx ON notes USING gin (words);
    CREATE INDEX notes_lower_idx ON notes (tenant_id, lower(title));
    CREATE INDEX notes_title_idx ON notes (tenant_id, title text_pattern_ops);
    CREATE INDEX notes_plain_idx ON notes (tenant_id, plain);
"""
WALL = f"""
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    ALTER TABLE notes FORCE ROW LEVEL SECURITY;
    CREATE POLICY notes_wall ON notes USING (tenant_id = {CURRENT_TENANT});
"""
FILTERS = {
    "full text": "vector @@ to_tsquery('simple', 'word27')",
    "an array that contains": "words @> ARRAY['word27']",
    "LIKE": "title LIKE 'word27%'",
    "LIKE on code points": "plain LIKE 'word27%'",
    "an index of an expression": "lower(title) = 'word27'",
}
CONDITIONS = {
    "equality": "plain = 'word27'",
    "equality with one of several": "plain = ANY (ARRAY['word27', 'word47'])",
    "a range of code points": "plain >= 'word27' AND plain < 'word28'",
    "a range of text_pattern_ops": "title ~>=~ 'word27' AND title ~<~ 'word28'",
}


@pytest.fixture(scope="module")
def notes(stack: Stack) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The notes of 20 tenants, seen by one of them."""
    with scratch(stack, TABLE, WALL, "ANALYZE notes") as dsn, scratch_role(dsn) as (role, runtime):
        run(dsn, "GRANT SELECT ON notes TO {}", role)
        with psycopg.connect(runtime, autocommit=True) as connection:
            bind(connection, 7)
            yield connection


def plan(connection: psycopg.Connection[tuple[object, ...]], condition: str) -> list[str]:
    """The lines of the plan of a query for one tenant's notes."""
    query = f"EXPLAIN (COSTS OFF) SELECT id FROM notes WHERE tenant_id = '{tenant(7)}' AND {condition}"
    return [str(line).strip() for (line,) in connection.execute(query.encode())]


def lines_of(plan: list[str], kind: str) -> list[str]:
    """The conditions of one kind, without that for the tenant."""
    own = f"(tenant_id = '{tenant(7)}'::uuid)"
    lines = [line.removeprefix(f"{kind}: ") for line in plan if line.startswith(f"{kind}: ")]
    return [line for line in lines if line != own]


@pytest.mark.parametrize("what", FILTERS)
def test_what_is_not_leakproof_filters_all_rows_of_the_tenant(
    notes: psycopg.Connection[tuple[object, ...]], what: str
) -> None:
    lines = plan(notes, FILTERS[what])
    assert lines_of(lines, "Filter")
    assert not lines_of(lines, "Index Cond"), lines


@pytest.mark.parametrize("what", CONDITIONS)
def test_equality_and_ranges_of_text_are_conditions_of_an_index(
    notes: psycopg.Connection[tuple[object, ...]], what: str
) -> None:
    lines = plan(notes, CONDITIONS[what])
    assert lines_of(lines, "Index Cond"), lines
    assert not lines_of(lines, "Filter"), lines


def test_without_row_level_security_each_of_them_uses_its_index(stack: Stack) -> None:
    """The control: it is the wall that switches the indexes off."""
    with scratch(stack, TABLE, "ANALYZE notes") as dsn, psycopg.connect(dsn) as connection:
        for condition in FILTERS.values():
            if condition != FILTERS["LIKE"]:
                continue
            assert lines_of(plan(connection, condition), "Index Cond"), condition
        for index in ("vector", "words"):
            condition = FILTERS["full text" if index == "vector" else "an array that contains"]
            assert any(f"notes_{index}_idx" in line for line in plan(connection, condition))
