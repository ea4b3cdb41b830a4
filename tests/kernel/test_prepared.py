"""What connections keep prepared is bounded, and whatever fails meanwhile, every statement goes on to be answered."""

# ruff: noqa: PT012 - what is raised in a transaction is raised by a statement or at its end, as the test says

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, Text, bindparam, select, text

from server.data import connections as module
from server.data import shapes
from server.data.connections import Connections, PipelineConnection, Result
from server.data.shapes import Shapes
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from tests.contract.scratch import administrator
from tests.kernel.database import connections
from tests.stack import Stack

MOST = 4
# What looks itself needs: the binding of its transaction, and PREPARED. They are closed after that, not before.
LOOKING = 2
NUMBER = bindparam("number", type_=Integer())
MANY = [Statement(text(f"SELECT :number + {n} AS n").bindparams(NUMBER).columns(n=Integer)) for n in range(12)]
DIVIDE = Statement(text("SELECT 1 / :number AS n").bindparams(NUMBER).columns(n=Integer))
BROKEN = Statement(text("SELECT nothing AS n").columns(n=Integer))
PREPARED = Statement(
    text("SELECT name, prepare_time FROM pg_prepared_statements").columns(name=Text, prepare_time=DateTime)
)
WHO = Statement(text("SELECT pg_backend_pid() AS n").columns(n=Integer))


@pytest.fixture(params=[True, False], ids=["close", "deallocate"])
def closes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way of closing: libpq's own, and the one for those that have none."""
    if request.param and not module.CLOSES:
        pytest.skip("this libpq cannot close")
    monkeypatch.setattr(module, "CLOSES", request.param)
    monkeypatch.setattr(module, "MOST_PREPARED", MOST)


@pytest.fixture
def pool(stack: Stack, closes: None) -> Iterator[Connections]:
    """One connection, which is the one that is looked at."""
    del closes
    with connections(administrator(stack), size=1) as opened:
        yield opened


@pytest.fixture
def database(pool: Connections) -> Database:
    return Database(pool)


def answer(database: Database, statement: Statement, number: int = 0) -> int:
    with database.read(Scope()) as transaction:
        return int(transaction.run(statement, number=number).value())


def prepared(database: Database) -> dict[bytes, Any]:
    """What PostgreSQL keeps for the connection, and when it was prepared."""
    with database.read(Scope()) as transaction:
        return {row["name"].encode(): row["prepare_time"] for row in transaction.run(PREPARED).all()}


def test_a_connection_keeps_so_many_and_no_more(database: Database) -> None:
    for repetition in range(3):
        for place, statement in enumerate(MANY):
            assert answer(database, statement, repetition) == repetition + place
            assert len(prepared(database)) <= MOST + LOOKING


def test_what_is_used_again_and_again_stays(database: Database) -> None:
    answer(database, MANY[0])
    since = prepared(database)[MANY[0].name]
    for other in MANY[1:]:
        answer(database, MANY[0])
        answer(database, other)
    assert prepared(database)[MANY[0].name] == since


def test_closing_takes_no_round_trip(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    trips: list[None] = []
    receive = PipelineConnection.receive
    # The connection is there: its greeting is a round trip of its own.
    answer(database, MANY[0])

    def counted(connection: PipelineConnection, *arguments: Any) -> list[Result]:
        trips.append(None)
        return receive(connection, *arguments)

    monkeypatch.setattr(PipelineConnection, "receive", counted)
    for statement in MANY:
        answer(database, statement)
    assert len(trips) == len(MANY)


def test_what_could_not_be_closed_is_still_used_and_closed_later(database: Database) -> None:
    for statement in MANY[:MOST]:
        answer(database, statement)
    # More than there is room for, and all that comes after the failure is passed over, closing included.
    with pytest.raises(psycopg.errors.DivisionByZero), database.write(Scope()) as transaction:
        transaction.queue(MANY[MOST], number=0)
        transaction.queue(DIVIDE, number=0)
        transaction.run(MANY[MOST + 1], number=0)
    for place, statement in enumerate(MANY):
        assert answer(database, statement) == place
    assert len(prepared(database)) <= MOST + LOOKING


def test_more_than_there_is_room_for_in_one_round_trip(database: Database) -> None:
    with database.write(Scope()) as transaction:
        for statement in MANY[:-1]:
            transaction.queue(statement, number=1)
        assert transaction.run(MANY[-1], number=1).value() == len(MANY)
        assert transaction.run(MANY[0], number=1).value() == 1
    answer(database, WHO)
    assert len(prepared(database)) <= MOST + LOOKING


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "write", "roll back", "fail", "break"]),
        st.lists(st.integers(0, len(MANY) - 1), min_size=1, max_size=MOST + 3),
    ),
    max_size=15,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_statement_is_answered_whatever_failed_before(database: Database, steps: list[Any]) -> None:
    before = answer(database, WHO)
    for kind, places in steps:
        if kind == "read":
            assert [answer(database, MANY[place]) for place in places] == places
        elif kind == "write":
            with database.write(Scope()) as transaction:
                assert [transaction.run(MANY[place], number=0).value() for place in places] == places
        else:
            _go_wrong(database, kind, places)
    assert [answer(database, statement) for statement in MANY] == list(range(len(MANY)))
    assert len(prepared(database)) <= MOST + LOOKING
    assert answer(database, WHO) == before, "the connection was replaced"


def _go_wrong(database: Database, kind: str, places: list[int]) -> None:
    failure = BROKEN if kind == "break" else DIVIDE
    expected = ZeroDivisionError if kind == "roll back" else psycopg.Error
    with pytest.raises(expected), database.write(Scope()) as transaction:
        for place in places[::2]:
            transaction.queue(MANY[place], number=0)
        if kind == "roll back":
            raise ZeroDivisionError
        transaction.queue(failure, **({"number": 0} if failure is DIVIDE else {}))
        for place in places[1::2]:
            transaction.queue(MANY[place], number=0)
        transaction.settle()


def test_what_is_not_kept_leaves_nothing_behind(database: Database) -> None:
    statement = Statement(
        select(bindparam("given", type_=LargeBinary()).label("given"), bindparam("n", type_=BigInteger()).label("n")),
        is_kept=False,
    )
    before = prepared(database)
    with database.read(Scope()) as transaction:
        assert transaction.run(statement, given=b"\0\xff", n=2**40).one() == {"given": b"\0\xff", "n": 2**40}
    assert prepared(database) == before


# Shapes --------------------------------------------------------------------------------------------------------------


def selecting(number: int, text_of: str = "") -> Any:
    return lambda: text(f"SELECT {number} AS n {text_of}").columns(n=Integer)


def test_shapes_are_bounded_and_the_oldest_go_first() -> None:
    remembered = Shapes(most=3)
    first = remembered.statement("first", selecting(1))
    for number in range(20):
        remembered.statement(number, selecting(number))
        assert remembered.statement("first", selecting(1)) is first
        assert len(remembered) <= 3
    assert remembered.statement(0, selecting(0)).sql == b"SELECT 0 AS n "


def test_a_shape_is_kept_by_connections_once_it_comes_again() -> None:
    remembered = Shapes()
    uses = [remembered.statement("x", selecting(1)).is_kept for _ in range(shapes.USES_UNTIL_KEPT + 1)]
    assert uses[0] is False
    statement = remembered.statement("x", selecting(1))
    assert statement.is_kept
    assert statement is remembered.statement("x", selecting(1))


def test_a_very_long_shape_is_never_kept() -> None:
    remembered = Shapes()
    for _ in range(shapes.USES_UNTIL_KEPT + 2):
        statement = remembered.statement("x", selecting(1, "-" * shapes.LONGEST_KEPT))
    assert not statement.is_kept
