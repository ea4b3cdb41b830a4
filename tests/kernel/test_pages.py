"""Orders, keyset cursors and page tokens."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, bindparam, select

from server.data.connections import Connections
from server.data.statements import Statement
from server.data.tables import time_column, uuid_column
from server.data.transactions import Database, Scope
from server.kernel.problems import Malformed
from server.kernel.queries.pages import (
    DEFAULT_SIZE,
    LARGEST_SIZE,
    Order,
    OrderTerm,
    PageTokens,
    after_cursor,
    order_columns,
    page_size,
    parse_order,
)
from tests.kernel.database import connections, scratch
from tests.stack import Stack

SORTABLE = ("create_time", "size", "title")
DEFAULT: Order = (OrderTerm("create_time", descending=True),)
TOKENS = PageTokens(b"k" * 32)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", [("create_time", True), ("id", True)]),
        ("   ", [("create_time", True), ("id", True)]),
        ("title", [("title", False), ("id", False)]),
        ("title asc", [("title", False), ("id", False)]),
        ("title desc", [("title", True), ("id", True)]),
        ("createTime", [("create_time", False), ("id", False)]),
        (" size  desc , title ", [("size", True), ("title", False), ("id", False)]),
    ],
)
def test_an_order_ends_with_the_id(text: str, order: list[tuple[str, bool]]) -> None:
    assert parse_order(text, SORTABLE, DEFAULT) == tuple(OrderTerm(name, descending) for name, descending in order)


@pytest.mark.parametrize(
    "text", ["nope", "id", "title down", "title desc desc", ",", "title,", "title,title desc", "title;--", "title DESC"]
)
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_order(text, SORTABLE, DEFAULT)
    assert caught.value.reason_name == "ORDER_INVALID"


@pytest.mark.parametrize(("asked", "given"), [(0, DEFAULT_SIZE), (1, 1), (LARGEST_SIZE, 200), (10_000, 200)])
def test_page_sizes_have_a_default_and_a_ceiling(asked: int, given: int) -> None:
    assert page_size(asked) == given


def test_a_token_brings_its_values_back() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    token = TOKENS.write("question", [moment, 'Straße, "x"', 7, None, True])
    assert token.isascii()
    assert not set(token) & set("+/=")
    assert TOKENS.read("question", token) == {
        "after_0": moment.isoformat(),
        "after_1": 'Straße, "x"',
        "after_2": 7,
        "after_3": None,
        "after_4": True,
    }


def test_a_token_answers_only_its_question() -> None:
    token = TOKENS.write("question", [1])
    for other in ("", "Question", "question "):
        with pytest.raises(Malformed) as caught:
            TOKENS.read(other, token)
        assert caught.value.reason_name == "PAGE_TOKEN_INVALID"
    with pytest.raises(Malformed):
        PageTokens(b"o" * 32).read("question", token)


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_token_that_was_tampered_with_is_refused(place: int, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(_padded(TOKENS.write("question", [1, "a"]))))
    raw[place % len(raw)] ^= 1 << bit
    with pytest.raises(Malformed):
        TOKENS.read("question", base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_is_no_token_is_malformed(token: str) -> None:
    with pytest.raises(Malformed):
        TOKENS.read("question", token)


def _padded(token: str) -> str:
    return token + "=" * (-len(token) % 4)


# Against PostgreSQL --------------------------------------------------------------------------------------------------

ITEMS = Table(
    "items",
    MetaData(),
    uuid_column("id", primary_key=True),
    Column("a", Integer, nullable=False),
    Column("b", BigInteger, nullable=False),
    time_column("at"),
)
START = datetime(2026, 1, 1, tzinfo=UTC)
# Few values for many rows, so that every order has ties.
ROWS: list[dict[str, Any]] = [
    {
        "id": f"01900000-0000-7000-8000-{number * 7919 % 1000:012d}",
        "a": number % 3,
        "b": number * number % 5,
        "at": START + timedelta(microseconds=number % 4),
    }
    for number in range(40)
]
orders = st.lists(
    st.tuples(st.sampled_from(["a", "b", "at"]), st.booleans()), min_size=1, max_size=3, unique_by=lambda term: term[0]
)


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[Database]:
    table = "CREATE TABLE items (id uuid PRIMARY KEY, a int NOT NULL, b bigint NOT NULL, at timestamptz NOT NULL)"
    with scratch(stack, table) as dsn:
        with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO items VALUES (%(id)s, %(a)s, %(b)s, %(at)s)", ROWS)
        with connections(dsn, size=1) as pool:
            assert isinstance(pool, Connections)
            yield Database(pool)


def walk(database: Database, order: Order, size: int) -> Iterator[list[str]]:
    """Every page of a list, one after the other, by tokens."""
    limit = bindparam("limit", type_=BigInteger())
    page = select(ITEMS).order_by(*order_columns(ITEMS, order)).limit(limit)
    first, further = Statement(page), Statement(page.where(after_cursor(ITEMS, order)))
    token = ""
    for _ in range(len(ROWS)):
        cursor = TOKENS.read("q", token) if token else {}
        with database.read(Scope()) as transaction:
            rows = transaction.run(further if token else first, **cursor, limit=size).all()
        if not rows:
            return
        yield [row["id"] for row in rows]
        token = TOKENS.write("q", [rows[-1][term.field] for term in order])
    raise AssertionError("the pages have no end")


def brute_force(order: Order) -> list[str]:
    rows = list(ROWS)
    for term in reversed(order):
        rows.sort(key=lambda row: row[term.field], reverse=term.descending)
    return [row["id"] for row in rows]


@settings(max_examples=25, deadline=None)
@given(terms=orders, size=st.integers(5, 17))
def test_pages_in_any_order_give_every_row_once(database: Database, terms: list[tuple[str, bool]], size: int) -> None:
    text = ",".join(f"{name} desc" if descending else name for name, descending in terms)
    order = parse_order(text, ("a", "b", "at"), DEFAULT)
    pages = list(walk(database, order, size))
    assert [row for page in pages for row in page] == brute_force(order), text
    assert all(len(page) == size for page in pages[:-1])
