"""Every type goes to PostgreSQL and comes back as it was."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    bindparam,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from server.data.connections import Connections
from server.data.statements import Statement, decoder_of, uuid_text
from server.data.transactions import Database, Scope
from tests.contract.scratch import administrator
from tests.kernel.database import connections
from tests.stack import Stack


@pytest.fixture(scope="module")
def pool(stack: Stack) -> Iterator[Connections]:
    with connections(administrator(stack)) as opened:
        yield opened


@pytest.fixture(scope="module")
def database(pool: Connections) -> Database:
    return Database(pool)


def echo(kind: Any) -> Statement:
    """A statement that answers what it is given."""
    return Statement(select(bindparam("value", type_=kind).label("value")))


KINDS: dict[str, Statement] = {
    "text": echo(Text()),
    "smallint": echo(SmallInteger()),
    "integer": echo(Integer()),
    "bigint": echo(BigInteger()),
    "boolean": echo(Boolean()),
    "time": echo(DateTime(timezone=True)),
    "uuid": echo(UUID(as_uuid=False)),
    "json": echo(JSONB()),
    "bytes": echo(LargeBinary()),
    "texts": echo(ARRAY(Text())),
    "uuids": echo(ARRAY(UUID(as_uuid=False))),
}


def sent(database: Database, kind: str, value: Any) -> Any:
    with database.read(Scope()) as transaction:
        return transaction.run(KINDS[kind], value=value).value()


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
VALUES = st.one_of(
    st.tuples(st.just("text"), text),
    st.tuples(st.just("smallint"), st.integers(-(2**15), 2**15 - 1)),
    st.tuples(st.just("integer"), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("bigint"), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("boolean"), st.booleans()),
    st.tuples(st.just("time"), moments),
    st.tuples(st.just("uuid"), st.uuids().map(str)),
    st.tuples(st.just("json"), st.dictionaries(text, json, max_size=3)),
    st.tuples(st.just("bytes"), st.binary(max_size=50)),
    st.tuples(st.just("texts"), st.lists(text, max_size=5)),
    st.tuples(st.just("uuids"), st.lists(st.uuids().map(str), max_size=4)),
)


@settings(max_examples=100, deadline=None)
@given(pair=VALUES)
def test_every_value_comes_back_as_it_was(database: Database, pair: tuple[str, Any]) -> None:
    kind, value = pair
    assert sent(database, kind, value) == value


@pytest.mark.parametrize("kind", KINDS)
def test_null_comes_back_as_none(database: Database, kind: str) -> None:
    assert sent(database, kind, None) is None


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["NULL"],
        ["null", "{}", "{a,b}"],
        ['a"b', "a\\b", 'a\\"b', "\\"],
        ["a,b", " a ", "\n", "\t"],
        ["é", "日本", "🦆"],
    ],
    ids=repr,
)
def test_lists_keep_their_quotes_and_words(database: Database, values: list[str]) -> None:
    assert sent(database, "texts", values) == values
    assert sent(database, "texts", tuple(values)) == values


def test_microseconds_and_zones_survive(database: Database) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789012, timezone(timedelta(hours=5, minutes=30)))
    found = sent(database, "time", moment)
    assert found == moment
    assert found.tzinfo is UTC


def test_a_list_does_not_turn_none_into_a_word(database: Database) -> None:
    """NULL in an array is either kept or refused, never the text `None`."""
    try:
        found = sent(database, "texts", ["a", None])
    except (TypeError, ValueError, psycopg.Error):
        return
    assert found == ["a", None]


@pytest.mark.parametrize("value", ["a\0b", "\0", "abc\0"])
def test_nul_is_refused_and_never_cuts_text_short(database: Database, value: str) -> None:
    with pytest.raises((ValueError, psycopg.Error)):
        sent(database, "text", value)
    with pytest.raises((ValueError, psycopg.Error)):
        sent(database, "texts", [value])
    with pytest.raises((ValueError, psycopg.Error)):
        sent(database, "json", {"a": value})
    assert sent(database, "text", "fine") == "fine"


@pytest.mark.parametrize("value", [1j, object(), {1}], ids=["complex", "object", "set"])
def test_what_has_no_type_is_refused_and_harms_no_later_statement(database: Database, value: Any) -> None:
    with pytest.raises((TypeError, KeyError), match=type(value).__name__):
        sent(database, "text", value)
    assert sent(database, "text", "fine") == "fine"


def test_a_lone_surrogate_is_refused_and_harms_no_later_statement(database: Database) -> None:
    with pytest.raises(UnicodeEncodeError):
        sent(database, "text", "\ud800")
    assert sent(database, "text", "fine") == "fine"


def test_a_parameter_that_nobody_gave_is_no_null(database: Database) -> None:
    """A misspelt name would otherwise store NULL, or match nothing, in silence."""
    with database.read(Scope()) as transaction, pytest.raises((KeyError, TypeError)):
        transaction.run(KINDS["text"], vlaue="x")


def test_constants_stand_in_the_statement(database: Database) -> None:
    statement = Statement(
        select(literal("x").label("a"), literal(7).label("b"), bindparam("c", type_=Text()).label("c"))
    )
    with database.read(Scope()) as transaction:
        assert transaction.run(statement, c="given").one() == {"a": "x", "b": 7, "c": "given"}


def test_a_column_without_a_decoder_is_refused_when_the_statement_is_compiled() -> None:
    statement = Statement(select(type_coerce(literal(1), Numeric()).label("x")))
    with pytest.raises(TypeError, match="cast it"):
        statement.compile()


COMPILE_ALL = """
import gc
from server.data.statements import Statement
from tests.everything import import_everything
import_everything()
made = [each for each in gc.get_objects() if isinstance(each, Statement)]
for each in made:
    each.compile()
print(len(made))
"""


def test_every_statement_of_the_server_compiles() -> None:
    """Each is compiled when it is first used, which would be too late to find out. In a process without others."""
    done = subprocess.run([sys.executable, "-c", COMPILE_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_every_statement_has_a_name_of_its_own() -> None:
    assert len({statement.name for statement in KINDS.values()}) == len(KINDS)


def test_many_rows_and_none(database: Database) -> None:
    statement = Statement(
        select(type_coerce(bindparam("value", type_=Integer()), Integer()).label("n")).where(
            bindparam("wanted", type_=Boolean())
        )
    )
    with database.read(Scope()) as transaction:
        assert transaction.run(statement, value=3, wanted=True).all() == [{"n": 3}]
        empty = transaction.run(statement, value=3, wanted=False)
    assert (empty.all(), empty.first(), empty.returned, empty.count) == ([], None, 0, 0)
    with pytest.raises(LookupError):
        empty.one()


@given(st.uuids())
def test_uuid_text_is_canonical(value: uuid.UUID) -> None:
    assert uuid_text(value.bytes) == str(value)


def test_bounds_of_integers_are_read_as_signed() -> None:
    read = decoder_of(BigInteger())
    assert read((-1).to_bytes(8, "big", signed=True)) == -1
    assert read((2**62).to_bytes(8, "big")) == 2**62


def test_threads_that_compile_a_statement_at_once_find_the_same() -> None:
    """The one that comes second finds it compiled."""
    statement = Statement(lambda: select(literal(1).label("one")))
    compiled = statement.sql
    statement.compile()
    assert statement.sql is compiled
