"""Every field that a column holds comes back from the real PostgreSQL as it was stored, and as Create answered it."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    bindparam,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.schema import CreateTable

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.ids import new_id
from server.kernel.problems import Malformed, RuleViolated
from server.kernel.queries.filter_sql import FilterPlan
from server.kernel.queries.filters import parse_filter
from server.kernel.queries.pages import OrderTerm, PageTokens, after_cursor, order_columns
from server.kernel.resources.convert import ConversionPlan, PlanFault
from tests.kernel.database import connections, scratch
from tests.kernel.messages import FIELDS, everything, scheduled
from tests.stack import Stack

EVERYTHING = everything()
COLUMNS = {
    "id": UUID(as_uuid=False),
    "text": Text(),
    "flag": Boolean(),
    "raw": LargeBinary(),
    "ratio": Double(),
    "share": Float(),
    "small": Integer(),
    "large": BigInteger(),
    "unsigned": BigInteger(),
    "kind": SmallInteger(),
    "maybe": Double(),
    "owner_id": UUID(as_uuid=False),
    "texts": ARRAY(Text()),
    "flags": ARRAY(Boolean()),
    "ratios": ARRAY(Double()),
    "numbers": ARRAY(BigInteger()),
    "kinds": ARRAY(SmallInteger()),
    "ids": ARRAY(UUID(as_uuid=False)),
    "moment": DateTime(timezone=True),
    "span": Interval(),
    "day": Date(),
    "place_latitude": Double(),
    "place_longitude": Double(),
    "free": JSONB(),
    "value": JSONB(),
    "part": JSONB(),
    "parts": JSONB(),
    "prices": JSONB(),
}


def table_of(columns: dict[str, Any]) -> Table:
    return Table("everything", MetaData(), *(Column(name, kind) for name, kind in columns.items()))


TABLE = table_of(COLUMNS)
PLAN: ConversionPlan[Any] = ConversionPlan(EVERYTHING, TABLE)
INSERT = Statement(insert(TABLE).values({c.name: bindparam(c.name, type_=c.type) for c in TABLE.c}))
FOUND = Statement(select(*PLAN.columns).where(TABLE.c.id == bindparam("wanted", type_=TABLE.c.id.type)))

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
doubles = st.floats(allow_nan=False)
ids = st.uuids().map(str)
int64s = st.integers(-(2**63), 2**63 - 1)
moments = st.fixed_dictionaries(
    {"seconds": st.integers(-62_000_000_000, 250_000_000_000), "nanos": st.integers(0, 999_999_999)}
)
spans = st.integers(-(10**17), 10**17).map(lambda microseconds: divmod(microseconds, 10**6))
parts = st.fixed_dictionaries({"name": texts, "count": int64s}, optional={"since": moments})
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "flag": st.booleans(),
    "raw": st.binary(max_size=8),
    "ratio": doubles,
    "share": st.floats(width=32, allow_nan=False),
    "small": st.integers(-(2**31), 2**31 - 1),
    "large": int64s,
    "unsigned": st.integers(0, 2**32 - 1),
    "kind": st.integers(0, 2),
    "maybe": doubles,
    "owner_id": ids,
    "texts": st.lists(texts, max_size=3),
    "flags": st.lists(st.booleans(), max_size=3),
    "ratios": st.lists(doubles, max_size=3),
    "numbers": st.lists(int64s, max_size=3),
    "kinds": st.lists(st.integers(0, 2), max_size=3),
    "ids": st.lists(ids, max_size=3),
    "moment": moments,
    "span": spans.map(lambda pair: {"seconds": pair[0] + (pair[0] < 0 < pair[1]), "nanos": 0}),
    "day": st.dates(date(1, 1, 1)).map(lambda day: {"year": day.year, "month": day.month, "day": day.day}),
    "place": st.fixed_dictionaries({"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180)}),
    "part": parts,
    "parts": st.lists(parts, max_size=3),
    "prices": st.dictionaries(texts, st.integers(-5, 5), max_size=3),
}
# jsonb has no negative zero, and adding a zero to one makes it positive.
numbers = st.floats(-1e15, 1e15).map(lambda number: number + 0.0)
free = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[Database]:
    """A database with a column of every type."""
    create = str(CreateTable(TABLE).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    with scratch(stack, create) as dsn, connections(dsn) as pool:
        yield Database(pool)


def stored(database: Database, message: Any) -> Any:
    """A message as PostgreSQL has it."""
    with database.write(Scope()) as transaction:
        transaction.queue(INSERT, **PLAN.values(message))
        (found,) = PLAN.messages(transaction.run(FOUND, wanted=message.id))
    return found


def test_every_field_is_tried() -> None:
    assert {*FIELDS} == {*VALUES, "id", "free", "value"}
    assert {*PLAN.fields} == {*COLUMNS}


@settings(max_examples=150, deadline=None)
@given(facts=st.fixed_dictionaries({}, optional=VALUES), struct=st.dictionaries(texts, free, max_size=3), value=free)
def test_what_is_stored_comes_back_and_is_what_create_answers(
    database: Database, facts: dict[str, Any], struct: dict[str, Any], value: Any
) -> None:
    message = EVERYTHING(id=new_id(), **facts)
    json_format.ParseDict(struct, message.free)
    json_format.ParseDict(value, message.value)
    found = stored(database, message)
    assert found == PLAN.as_stored(message, {}, {}, 1)
    for each in (found, message):
        # PostgreSQL stores microseconds.
        each.moment.nanos -= each.moment.nanos % 1000
    if "moment" not in facts:
        message.ClearField("moment")
        found.ClearField("moment")
    assert found == message


def test_rows_have_the_values_of_python(database: Database) -> None:
    message = EVERYTHING(id=new_id(), ratio=1.5, share=0.5, numbers=[1, 2], day={"year": 2026, "month": 11, "day": 27})
    message.span.FromMicroseconds(-1_500_000)
    with database.write(Scope()) as transaction:
        transaction.queue(INSERT, **PLAN.values(message))
        row = transaction.run(FOUND, wanted=message.id).one()
    assert (row["ratio"], row["share"], row["numbers"]) == (1.5, 0.5, [1, 2])
    assert (row["day"], row["span"]) == (date(2026, 11, 27), timedelta(seconds=-1.5))


def test_nothing_set_is_nothing_read(database: Database) -> None:
    message = EVERYTHING(id=new_id())
    found = stored(database, message)
    assert found == message
    assert [field.name for field, _ in found.ListFields()] == ["id"]


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"day": {"year": 2026, "month": 2, "day": 30}}, "date.day"),
        ({"day": {"year": 2026, "month": 2}}, "date.day"),
        ({"place": {"latitude": 90.1, "longitude": 0}}, "lat_lng.range"),
        ({"place": {"latitude": float("nan"), "longitude": 0}}, "lat_lng.range"),
        ({"moment": {"seconds": 10**15}}, "timestamp.range"),
        ({"value": {"number_value": float("inf")}}, "json.value"),
    ],
)
def test_what_no_column_can_hold_is_refused_with_the_field(facts: dict[str, Any], rule: str) -> None:
    with pytest.raises(RuleViolated) as refused:
        PLAN.values(EVERYTHING(id=new_id(), **facts))
    assert [(one.field, one.rule) for one in refused.value.violations] == [(next(iter(facts)), rule)]


@pytest.mark.parametrize(
    ("column", "kind", "fault"),
    [
        ("ratio", Text(), "test.Everything.ratio does not fit into `everything.ratio` of Text(): use Double"),
        (
            "numbers",
            ARRAY(Text()),
            "test.Everything.numbers does not fit into `everything.numbers` of ARRAY(Text()): use ARRAY of BigInteger",
        ),
        ("day", DateTime(), "test.Everything.day does not fit into `everything.day` of DateTime(): use Date"),
        ("place_longitude", None, "test.Everything.place has no column `place_longitude` in `everything`: add it"),
    ],
)
def test_a_column_that_cannot_hold_its_field_keeps_the_server_from_starting(column: str, kind: Any, fault: str) -> None:
    columns = {name: known for name, known in (COLUMNS | {column: kind}).items() if known is not None}
    with pytest.raises(PlanFault) as refused:
        ConversionPlan(EVERYTHING, table_of(columns))
    assert str(refused.value) == fault


def test_a_field_without_a_codec_keeps_the_server_from_starting() -> None:
    table = table_of({"id": UUID(as_uuid=False), "start": JSONB()})
    with pytest.raises(
        PlanFault, match=r"^test\.Scheduled\.start is of a type that no column holds: name it in computed="
    ):
        ConversionPlan(scheduled(), table)


FILTERS = FilterPlan(EVERYTHING.DESCRIPTOR.fields_by_name, TABLE, ("ratio", "day", "moment", "small"))


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("ratio > 1.25", 1),
        ("ratio <= 1.25", 0),
        ("ratio = 1.5 AND small = 7", 1),
        ("day = 2026-11-27", 1),
        ("day > 2026-11-27", 0),
        ("day:*", 1),
    ],
)
def test_numbers_and_days_are_filtered_by(database: Database, condition: str, found: int) -> None:
    message = EVERYTHING(id=new_id(), ratio=1.5, small=7, day={"year": 2026, "month": 11, "day": 27})
    bound = FILTERS.bind(parse_filter(condition))
    wanted = FILTERS.condition(bound)
    assert wanted is not None
    with database.write(Scope()) as transaction:
        transaction.queue(INSERT, **PLAN.values(message))
        own = TABLE.c.id == bindparam("wanted", type_=TABLE.c.id.type)
        statement = Statement(select(TABLE.c.id).where(own, wanted), is_kept=False)
        result = transaction.run(statement, wanted=message.id, **bound.parameters)
    assert result.returned == found


@pytest.mark.parametrize("condition", ["ratio = NaN", "ratio = inf", "ratio = much", "day = 2026-02-30", "day = today"])
def test_a_filter_with_a_value_that_the_field_cannot_have_is_refused(condition: str) -> None:
    with pytest.raises(Malformed, match="cannot be"):
        FILTERS.bind(parse_filter(condition))


@pytest.mark.parametrize("name", ["parts", "span", "part", "raw"])
def test_a_field_that_cannot_be_compared_is_not_filterable(name: str) -> None:
    with pytest.raises(TypeError, match=rf"test\.Everything\.{name} cannot be filtered"):
        FilterPlan(EVERYTHING.DESCRIPTOR.fields_by_name, TABLE, (name,))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("ratio", [-1e300, -0.5, 1e-7, 2.0]),
        ("day", [{"year": year, "month": 2, "day": 28} for year in (1, 1999, 2026, 9999)]),
        ("span", [{"seconds": seconds, "nanos": 0} for seconds in (-(10**11), -1, 0, 86_401)]),
        ("large", [-(2**63), -1, 0, 2**63 - 1]),
    ],
)
def test_pages_go_on_after_numbers_days_and_spans(database: Database, field: str, values: list[Any]) -> None:
    """A page of one item each, with the token of the page before."""
    order, tokens, kind = (OrderTerm(field, descending=False),), PageTokens(b"key"), new_id()
    own = TABLE.c.text == kind
    page = select(*PLAN.columns).where(own).order_by(*order_columns(TABLE, order)).limit(1)
    first, following = Statement(page), Statement(page.where(after_cursor(TABLE, order)))
    with database.write(Scope()) as transaction:
        for value in values[::-1]:
            transaction.queue(INSERT, **PLAN.values(EVERYTHING(id=new_id(), text=kind, **{field: value})))
        result, found = transaction.run(first), []
        while result.returned:
            found += PLAN.messages(result)
            cursor = tokens.read("question", tokens.write("question", [result.one()[field]]))
            result = transaction.run(following, **cursor)
    assert [getattr(one, field) for one in found] == [getattr(EVERYTHING(**{field: value}), field) for value in values]
