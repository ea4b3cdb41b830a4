"""Transactions against the real PostgreSQL: nothing is lost, nothing leaks, and what breaks is replaced."""

# ruff: noqa: PT012 - what is raised in a transaction is raised by a statement or at its end, as the test says

import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Integer, Text, bindparam, case, literal_column, text

from server.data import connections as module
from server.data.connections import Connections, DatabaseUnavailable, PipelineConnection, Result
from server.data.statements import Statement
from server.data.transactions import Database, Scope, ScopeEnded
from server.kernel import problems
from tests.kernel.database import connections, scratch
from tests.stack import Stack, wait_for

OURS = "01900000-0000-7000-8000-00000000000a"
THEIRS = "01900000-0000-7000-8000-00000000000b"
# Failures to connect, of which the pool makes two before it gives up.
GIVEN_UP = 2
TABLES = (
    "CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL)",
    "CREATE TABLE owners (id int PRIMARY KEY)",
    "CREATE TABLE owned (id int PRIMARY KEY, owner int REFERENCES owners DEFERRABLE INITIALLY DEFERRED)",
    # Which every write asks.
    import_module("server.data.migrations.versions.0003_event_log").REFUSE_WHO_IS_GONE,
)


def typed(statement: str, **columns: object) -> Statement:
    """A statement with parameters id (int) and body (text) where it names them."""
    clause = text(statement)
    kinds: dict[str, Any] = {"id": Integer(), "body": Text()}
    named: list[Any] = [bindparam(name, type_=kind) for name, kind in kinds.items() if f":{name}" in statement]
    clause = clause.bindparams(*named)
    return Statement(clause.columns(**columns) if columns else clause)  # type: ignore[arg-type]


ADD = typed("INSERT INTO notes VALUES (:id, :body)")
ADD_OWNED = typed("INSERT INTO owned VALUES (:id, 99)")
COUNT = typed("SELECT count(*)::int AS n FROM notes WHERE id = :id", n=Integer)
BROKEN = typed("SELECT nope AS n FROM notes", n=Integer)
DIVIDE = typed("SELECT 1 / :id AS n", n=Integer)
TENANT = typed("SELECT coalesce(current_setting('plinth.tenant_id', true), '') AS t", t=Text)
WHO = typed("SELECT pg_backend_pid() AS n", n=Integer)
READ_ONLY = typed("SELECT current_setting('transaction_read_only') AS t", t=Text)
SLEEP = typed("SELECT 1 AS n FROM pg_sleep(5)", n=Integer)
GONE = case(
    (bindparam("session", type_=Text()) == literal_column("'dead'"), literal_column("'session'", Text())),
    (bindparam("tenant", type_=Text()) == literal_column("'dead'"), literal_column("'tenant'", Text())),
    else_=literal_column("''", Text()),
)


@pytest.fixture(scope="module")
def dsn(stack: Stack) -> Iterator[str]:
    with scratch(stack, *TABLES) as made:
        yield made


@pytest.fixture(scope="module")
def pool(dsn: str) -> Iterator[Connections]:
    """One connection, so that whatever leaks is seen by the next user."""
    with connections(dsn, size=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def database(pool: Connections) -> Database:
    return Database(pool, GONE)


numbers = iter(range(1, 1_000_000))


@pytest.fixture
def note() -> int:
    """An id that no other test uses."""
    return next(numbers)


def is_stored(database: Database, note: int) -> bool:
    with database.read(Scope()) as transaction:
        return bool(transaction.run(COUNT, id=note).value())


def backend(database: Database) -> int:
    with database.read(Scope()) as transaction:
        return int(transaction.run(WHO).value())


def test_a_write_is_committed_at_the_end(database: Database, note: int) -> None:
    with database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        assert transaction.run(COUNT, id=note).value() == 1
    assert is_stored(database, note)


def test_what_is_only_queued_is_committed_as_well(database: Database, note: int) -> None:
    with database.write(Scope()) as transaction:
        transaction.queue(ADD, id=note, body="x")
    assert is_stored(database, note)


def test_a_transaction_without_a_statement_takes_no_connection(pool: Connections, database: Database) -> None:
    held = pool.acquire()
    try:
        with database.write(Scope()), database.read(Scope()):
            pass
    finally:
        pool.release(held)


def test_an_exception_rolls_back_what_ran_and_what_was_queued(database: Database, note: int) -> None:
    second = next(numbers)
    with pytest.raises(RuntimeError, match="mine"), database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        transaction.queue(ADD, id=second, body="x")
        raise RuntimeError("mine")
    assert not is_stored(database, note)
    assert not is_stored(database, second)


def test_a_failing_statement_undoes_all_and_the_connection_lives_on(database: Database, note: int) -> None:
    before = backend(database)
    with pytest.raises(psycopg.errors.UniqueViolation), database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        transaction.run(ADD, id=note, body="again")
    assert not is_stored(database, note)
    assert backend(database) == before


def test_a_failing_queued_statement_is_raised_at_the_commit_at_the_latest(database: Database, note: int) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation), database.write(Scope()) as transaction:
        transaction.queue(ADD, id=note, body=None)
    with pytest.raises(psycopg.errors.NotNullViolation), database.write(Scope()) as transaction:
        transaction.queue(ADD, id=note, body=None)
        transaction.run(COUNT, id=note)
    assert not is_stored(database, note)


def test_the_first_of_two_failures_is_raised(database: Database, note: int) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation), database.write(Scope()) as transaction:
        transaction.queue(ADD, id=note, body=None)
        transaction.queue(DIVIDE, id=0)
        transaction.run(COUNT, id=note)


def test_a_handler_that_swallows_a_failure_commits_nothing(database: Database, note: int) -> None:
    """A transaction that failed cannot be committed: COMMIT answers ROLLBACK. Nobody may take that for success."""
    with pytest.raises(psycopg.Error), database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        with pytest.raises(psycopg.errors.DivisionByZero):
            transaction.run(DIVIDE, id=0)
    assert not is_stored(database, note)


def test_a_deferred_error_at_the_commit_is_raised_and_undoes_all(database: Database, note: int) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation), database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        transaction.run(ADD_OWNED, id=note)
    assert not is_stored(database, note)


def test_statements_are_prepared_anew_after_their_preparation_failed(database: Database) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedColumn), database.read(Scope()) as transaction:
            transaction.run(BROKEN)
    fresh = typed("SELECT 2 AS n", n=Integer)
    with pytest.raises(psycopg.errors.UndefinedColumn), database.write(Scope()) as transaction:
        transaction.queue(BROKEN)
        transaction.run(fresh)
    with database.read(Scope()) as transaction:
        assert transaction.run(fresh).value() == 2


def test_a_statement_that_failed_to_run_stays_prepared(database: Database) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), database.read(Scope()) as transaction:
        transaction.run(DIVIDE, id=0)
    with database.read(Scope()) as transaction:
        assert transaction.run(DIVIDE, id=1).value() == 1


def test_reads_go_on_after_a_failure_in_the_same_transaction(database: Database) -> None:
    with database.read(Scope()) as transaction:
        with pytest.raises(psycopg.errors.DivisionByZero):
            transaction.run(DIVIDE, id=0)
        assert transaction.run(DIVIDE, id=1).value() == 1


def test_a_read_cannot_write(database: Database, note: int) -> None:
    with database.read(Scope()) as transaction, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        transaction.run(ADD, id=note, body="x")
    with database.write(Scope()) as writing:
        assert writing.run(READ_ONLY).value() == "off"


def left_behind(database: Database) -> str:
    """The tenant setting that the next user of the connection finds, without a transaction that sets its own."""
    held = database.connections.acquire()
    held.send(TENANT, {})
    found = held.receive(30)[0].value()
    database.connections.release(held)
    return str(found)


def test_the_tenant_never_leaks_to_the_next_user_of_a_connection(database: Database) -> None:
    before = backend(database)
    with database.write(Scope(tenant_id=OURS)) as transaction:
        assert transaction.run(TENANT).value() == OURS
    assert left_behind(database) == ""
    with database.read(Scope(tenant_id=OURS)) as reading:
        assert reading.run(TENANT).value() == OURS
    assert left_behind(database) == ""
    with pytest.raises(RuntimeError), database.write(Scope(tenant_id=THEIRS)) as transaction:
        transaction.run(TENANT)
        raise RuntimeError
    assert left_behind(database) == ""
    with pytest.raises(psycopg.errors.DivisionByZero), database.read(Scope(tenant_id=THEIRS)) as reading:
        reading.run(DIVIDE, id=0)
    assert left_behind(database) == ""
    for scope in (Scope(), Scope(tenant_id=THEIRS)):
        with database.write(scope) as transaction:
            assert transaction.run(TENANT).value() == (scope.tenant_id or "")
    assert backend(database) == before


def test_binding_anew_holds_for_the_rest_of_the_transaction(database: Database) -> None:
    with database.write(Scope(tenant_id=OURS)) as transaction:
        assert transaction.run(TENANT).value() == OURS
        transaction.bind(Scope(tenant_id=THEIRS))
        assert transaction.run(TENANT).value() == THEIRS
    with database.write(Scope(tenant_id=OURS)) as transaction:
        transaction.bind(Scope(tenant_id=THEIRS))
        assert transaction.run(TENANT).value() == THEIRS


def terminate(dsn: str, victim: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as killer:
        # Returns once the backend is gone.
        killer.execute("SELECT pg_terminate_backend(%s, 30000)", (victim,))


def test_a_backend_terminated_while_it_idled_is_noticed_before_it_is_used(
    database: Database, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = backend(database)
    terminate(dsn, before)
    monkeypatch.setattr(module, "FRESH", 0.0)
    assert backend(database) != before


@pytest.mark.parametrize("awaits", [True, False])
def test_a_backend_terminated_right_after_its_use_costs_no_call(
    database: Database, dsn: str, note: int, *, awaits: bool
) -> None:
    """Nobody looks at a connection that was used a moment ago; what was sent on it in vain is sent on another one."""
    terminate(dsn, backend(database))
    assert not is_stored(database, note)
    victim = backend(database)
    terminate(dsn, victim)
    with database.write(Scope(tenant_id=OURS)) as transaction:
        transaction.queue(ADD, id=note, body="x")
        # The scope of the first statement is sent again as well, and so is this one.
        transaction.bind(Scope(tenant_id=THEIRS))
        if awaits:
            assert transaction.run(TENANT).value() == THEIRS
            assert transaction.run(WHO).value() != victim
    assert is_stored(database, note)


def test_one_that_is_found_dead_has_the_others_looked_at(dsn: str) -> None:
    with connections(dsn, size=3) as pool:
        held = [pool.acquire() for _ in range(3)]
        dead = [connection.pgconn.backend_pid for connection in held]
        for connection in held:
            pool.release(connection)
        for each in dead:
            terminate(dsn, each)
        # One is used in vain; the second try would be in vain as well if it met another of them.
        assert backend(Database(pool)) not in dead


def terminate_at_work(dsn: str, victim: int) -> None:
    """End a backend as soon as it sleeps in a statement."""
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND wait_event = 'PgSleep'"
    with psycopg.connect(dsn, autocommit=True) as watcher:
        wait_for(lambda: watcher.execute(asleep, (victim,)).fetchone() == (1,), what="the statement that sleeps")
    terminate(dsn, victim)


def test_what_may_have_been_committed_is_not_sent_again(database: Database, dsn: str, note: int) -> None:
    """The backend ends while it works on what came with COMMIT: whether that took place, nobody can tell."""
    victim = backend(database)
    ending = threading.Thread(target=terminate_at_work, args=(dsn, victim))
    ending.start()
    with pytest.raises(psycopg.OperationalError) as caught, database.write(Scope()) as transaction:
        transaction.queue(ADD, id=note, body="x")
        transaction.queue(SLEEP)
    ending.join()
    assert problems.of(caught.value).reason_name == "DEPENDENCY_UNAVAILABLE"
    assert not is_stored(database, note)


def test_a_caller_who_waits_gets_the_first_connection_there_is(dsn: str) -> None:
    """PostgreSQL refuses for longer than the pool tries on its own, but not for as long as a caller waits."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as owner:
        allow = f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS '
        owner.execute((allow + "false").encode())
        with connections(dsn, size=1, wait=60) as pool:
            # The pool gives up once, and then once more for the caller who has asked it again.
            stats = pool._pool.get_stats  # noqa: SLF001 - what it has tried is not told otherwise

            def allow_again() -> None:
                wait_for(lambda: stats().get("connections_errors", 0) > GIVEN_UP, what="two rounds in vain")
                owner.execute((allow + "true").encode())

            again = threading.Thread(target=allow_again)
            again.start()
            pool.release(pool.acquire())
            again.join()


def test_a_backend_terminated_within_a_transaction_is_unavailable_and_then_replaced(
    database: Database, dsn: str, note: int
) -> None:
    with pytest.raises(psycopg.OperationalError) as caught, database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        victim = int(transaction.run(WHO).value())
        terminate(dsn, victim)
        transaction.run(COUNT, id=note)
    assert problems.of(caught.value).reason_name == "DEPENDENCY_UNAVAILABLE"
    assert not is_stored(database, note)
    assert backend(database) != victim


def test_a_backend_terminated_before_the_commit_commits_nothing(database: Database, dsn: str, note: int) -> None:
    with pytest.raises(psycopg.OperationalError), database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        victim = int(transaction.run(WHO).value())
        terminate(dsn, victim)
    assert not is_stored(database, note)


def test_a_caller_waits_for_a_connection_no_longer_than_told(dsn: str) -> None:
    with connections(dsn, size=1, wait=0.1) as pool:
        # On a busy machine the first one takes longer to connect than a caller of this pool waits.
        taken: list[PipelineConnection] = []

        def take() -> bool:
            with suppress(DatabaseUnavailable):
                taken.append(pool.acquire())
            return bool(taken)

        wait_for(take, what="a connection")
        (held,) = taken
        with pytest.raises(DatabaseUnavailable) as caught:
            pool.acquire()
        assert problems.of(caught.value).http_status == 503
        pool.release(held)
        again = pool.acquire()
        assert again is held
        pool.release(again)


def test_a_database_that_is_not_there_is_unavailable(stack: Stack) -> None:
    nowhere = f"host={stack.settings.socket_dir}/nowhere user=nobody dbname=nothing"
    with connections(nowhere, size=1, wait=0.1) as pool:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable), Database(pool).read(Scope()) as transaction:
                transaction.run(WHO)


def test_a_closed_pool_is_unavailable(dsn: str) -> None:
    with connections(dsn) as pool:
        pass
    with pytest.raises(DatabaseUnavailable):
        pool.acquire()


def test_a_statement_that_takes_too_long_is_cancelled(dsn: str) -> None:
    with connections(dsn, size=1, statement_timeout=1.0) as pool:
        database = Database(pool)
        before = backend(database)
        with pytest.raises(psycopg.errors.QueryCanceled) as caught, database.write(Scope()) as transaction:
            transaction.run(SLEEP)
        assert isinstance(problems.of(caught.value), problems.DeadlineExceeded)
        assert backend(database) == before


def test_a_silent_server_is_given_up(dsn: str) -> None:
    """PostgreSQL cancels by itself; when it does not even do that, the connection is closed and replaced."""
    with connections(dsn, size=1) as pool:
        pool.silence = 0.05
        database = Database(pool)
        with pytest.raises(psycopg.OperationalError, match="in time"), database.read(Scope()) as transaction:
            transaction.run(SLEEP)
        pool.silence = 30
        assert backend(database) > 0


@pytest.mark.parametrize(("scope", "what"), [
    (Scope(session_id="dead"), "session"),
    (Scope(tenant_id="dead", session_id="alive"), "tenant"),
])  # fmt: skip
def test_nothing_is_done_in_the_name_of_what_is_gone(database: Database, note: int, scope: Scope, what: str) -> None:
    with pytest.raises(ScopeEnded) as caught, database.write(scope) as transaction:
        transaction.run(ADD, id=note, body="x")
    assert caught.value.what == what
    with pytest.raises(ScopeEnded), database.write(scope) as transaction:
        transaction.queue(ADD, id=note, body="x")
    with pytest.raises(ScopeEnded), database.read(scope) as reading:
        reading.run(COUNT, id=note)
    assert not is_stored(database, note)


def test_what_only_writes_takes_one_round_trip(database: Database, note: int, monkeypatch: pytest.MonkeyPatch) -> None:
    receive, trips = PipelineConnection.receive, []

    def counted(connection: PipelineConnection, *arguments: Any) -> list[Result]:
        trips.append(1)
        return receive(connection, *arguments)

    monkeypatch.setattr(PipelineConnection, "receive", counted)
    with database.write(Scope(session_id="alive")) as transaction:
        transaction.queue(ADD, id=note, body="x")
        transaction.queue(ADD, id=next(numbers), body="y")
    assert len(trips) == 1
    assert is_stored(database, note)


def test_liveness_is_asked_once(database: Database, note: int) -> None:
    with database.write(Scope(session_id="alive")) as transaction:
        transaction.queue(ADD, id=note, body="x")
        assert transaction.run(COUNT, id=note).value() == 1
        assert transaction.run(COUNT, id=note).value() == 1
    assert is_stored(database, note)


def test_a_connection_given_back_is_idle(pool: Connections, database: Database) -> None:
    with pytest.raises(RuntimeError), database.write(Scope()) as transaction:
        transaction.queue(DIVIDE, id=0)
        raise RuntimeError
    held = pool.acquire()
    assert held.pgconn.transaction_status == TransactionStatus.IDLE
    pool.release(held)


def test_a_connection_that_cannot_be_rolled_back_is_closed(
    database: Database, dsn: str, note: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever came next would go on in the transaction of somebody else."""
    with pytest.raises(RuntimeError), database.write(Scope()) as transaction:
        transaction.run(ADD, id=note, body="x")
        victim = transaction.run(WHO).value()

        def cannot(*_: object) -> None:
            raise psycopg.OperationalError("it cannot be sent")

        monkeypatch.setattr(PipelineConnection, "send_plain", cannot)
        raise RuntimeError
    monkeypatch.undo()
    with psycopg.connect(dsn, autocommit=True) as other:
        wait_for(
            lambda: not other.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (victim,)).fetchall(),
            what="the end of the backend",
        )
    assert not is_stored(database, note)


def test_many_threads_share_few_connections(dsn: str) -> None:
    found: list[str] = []
    with connections(dsn, size=2) as pool:
        database = Database(pool)

        def work(number: int) -> None:
            tenant = f"tenant-{number}"
            for _ in range(10):
                with database.read(Scope(tenant_id=tenant)) as transaction:
                    found.append("same" if transaction.run(TENANT).value() == tenant else "leak")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert found == ["same"] * 60
