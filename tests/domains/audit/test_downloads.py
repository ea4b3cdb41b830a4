"""Downloads: flat memory, no faster than they are read, and only as long as the caller may have them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg
import pytest
from google.api.httpbody_pb2 import HttpBody
from psycopg import sql
from sqlalchemy.dialects import postgresql

from server.data.audit import WRITTEN, audit_entries
from server.data.transactions import Database, Scope, ScopeEnded
from server.domains.audit.entries import ENTRIES
from server.domains.audit.export import OF_TENANT, UNTIL, Selection, chunks_of, csv_lines
from server.domains.audit.leaves import Run
from server.kernel.call import Access, Call, Principal
from server.kernel.clock import unix_now, utc_now
from server.kernel.problems import Conflict, Denied, Unauthenticated
from server.kernel.steps.authorize import Authorize
from server.kernel.transfers.downloads import DECISIONS, MAKERS, RECHECK, Download, Downloads
from tests.contract.scratch import scratch_database
from tests.domains.audit.planting import entry
from tests.kernel.calls import EXPORT, POLICIES, AsyncContext
from tests.kernel.database import KEEP_EPOCH, connections
from tests.stack import Stack

TENANT = "0190b3c8-0000-7000-8000-000000000001"
MANY, BATCH = 100_000, 10_000
MEGABYTE = 1024 * 1024


def a_call(*, expires_at: float = 1e12, **metadata: str) -> Call:
    """A call of somebody who may export."""
    call = Call(EXPORT, AsyncContext(**metadata))
    call.principal = Principal("", "", TENANT, (), is_platform=False, expires_at=expires_at)
    call.tenant_id = TENANT
    return call


def pieces_of(*pieces: bytes) -> Download:
    """A file of these pieces, each of which asks the database something."""

    def make(run: Run) -> Iterator[bytes]:
        for piece in pieces:
            run(None)
            yield piece

    return Download("a.csv", "text/csv", make)


class Answering:
    """A database that answers, or raises what it is told to."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0

    @contextmanager
    def read(self, scope: Scope) -> Iterator[Any]:
        assert scope.tenant_id == TENANT
        yield self

    def run(self, statement: Any) -> None:
        assert statement is None
        self.asked += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome


def downloads(database: Any, recheck: Callable[[Call], None], clock: Callable[[], float] = unix_now) -> Downloads:
    return Downloads(database, recheck, clock)


def allowed(_: Call) -> None:
    """Nothing keeps the caller from going on."""


async def whole(messages: AsyncIterator[HttpBody]) -> list[bytes]:
    return [message.data async for message in messages]


def sent(database: Answering, recheck: Callable[[Call], None], *pieces: bytes) -> list[bytes]:
    """What is sent of a file."""
    return asyncio.run(whole(downloads(database, recheck).send(a_call(), pieces_of(*pieces))))


# Whether the caller may go on ----------------------------------------------------------------------------------------


def test_access_that_changed_is_looked_up_anew() -> None:
    looked: list[Call] = []
    database = Answering(None, ScopeEnded("access"))
    assert sent(database, looked.append, b"a", b"b", b"c") == [b"a", b"b", b"c"]
    assert (len(looked), database.asked) == (1, 4)


def test_whoever_may_no_longer_gets_no_further_piece() -> None:
    def refuse(_: Call) -> None:
        raise Denied

    with pytest.raises(Denied):
        sent(Answering(None, ScopeEnded("access")), refuse, b"a", b"b")
    with pytest.raises(ScopeEnded):
        sent(Answering(None, ScopeEnded("session")), allowed, b"a", b"b")
    with pytest.raises(Conflict):
        sent(Answering(*[ScopeEnded("access")] * DECISIONS), allowed, b"a")


def test_a_token_that_expires_meanwhile_ends_it() -> None:
    now = [1000.0]

    async def read() -> None:
        messages = downloads(Answering(), allowed, lambda: now[0]).send(
            a_call(expires_at=1010.0), pieces_of(b"a", b"b")
        )
        assert (await anext(messages)).data == b"a"
        now[0] = 1011.0
        with pytest.raises(Unauthenticated):
            await anext(messages)

    asyncio.run(read())


def test_the_caller_is_looked_at_every_now_and_then() -> None:
    now, looked = [1000.0], []

    def look(call: Call) -> None:
        looked.append((call, now[0]))

    async def read() -> None:
        async for _ in downloads(Answering(), look, lambda: now[0]).send(a_call(), pieces_of(*[b"x"] * 5)):
            now[0] += RECHECK / 2

    asyncio.run(read())
    assert [moment for _, moment in looked] == [1000.0 + RECHECK, 1000.0 + 2 * RECHECK]


class Administrators:
    """Who administers the platform, as AccessMemory tells it."""

    def __init__(self) -> None:
        self.known = self.stored = Access("", frozenset(), (), None)

    def get(self, _: Principal, __: str) -> Access | None:
        return self.known

    def forget(self, _: Principal, __: str) -> None:
        self.known = self.stored


def test_who_administers_the_platform_no_longer_exports_no_more() -> None:
    memory: Any = Administrators()
    call = Call(POLICIES["/plinth.audit.v1.AuditService/ExportAllAuditEntries"], AsyncContext())
    call.principal = Principal("user", "session", None, (), is_platform=True, expires_at=1e12)
    Authorize(memory).recheck(call)
    memory.stored = None
    with pytest.raises(Denied):
        Authorize(memory).recheck(call)


# What it costs -------------------------------------------------------------------------------------------------------


def test_the_next_piece_is_made_when_the_one_before_has_left() -> None:
    database = Answering()

    async def read() -> None:
        messages = downloads(database, allowed).send(a_call(), pieces_of(*[b"x"] * 5))
        for number in range(1, 4):
            await anext(messages)
            assert database.asked == number
        await messages.aclose()  # type: ignore[attr-defined]

    asyncio.run(read())
    assert database.asked == 3


def test_few_pieces_are_made_at_once() -> None:
    running, most, lock = [0], [0], threading.Lock()
    full = threading.Barrier(MAKERS)

    def make(_: Run) -> Iterator[bytes]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        full.wait(30)
        with lock:
            running[0] -= 1
        yield b"x"

    async def read() -> None:
        service = downloads(Answering(), allowed)
        file = Download("a", "text/csv", make)
        await asyncio.gather(*(whole(service.send(a_call(), file)) for _ in range(MAKERS * 4)))

    asyncio.run(read())
    assert most[0] == MAKERS


def test_only_rest_gets_the_name_of_the_file() -> None:
    for call, header in (
        (a_call(x_envoy_original_path="/"), 'attachment; filename="a.csv"'),
        (a_call(), None),
    ):
        asyncio.run(whole(downloads(Answering(), allowed).send(call, pieces_of(b"x"))))
        context: Any = call.context
        assert context.initial.get("content-disposition") == header


@pytest.mark.heavy
def test_memory_does_not_depend_on_how_many_entries_there_are(stack: Stack) -> None:
    """100,000 entries, 34 MB of CSV; kept together they would take 200."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    columns = ", ".join(f"{column.name} {column.type.compile(dialect)}" for column in audit_entries.c)
    with scratch_database(stack) as dsn:
        # In short transactions, as they hold up VACUUM in every database of the server.
        with psycopg.connect(dsn, autocommit=True) as connection:
            # Nothing but what an export reads by: the cost of keeping the log is not the point.
            connection.execute(KEEP_EPOCH)
            connection.execute(f"CREATE UNLOGGED TABLE audit_entries ({columns})".encode())
            connection.execute("CREATE INDEX ON audit_entries (tenant_id, create_time, id)")
            for batch in range(MANY // BATCH):
                connection.execute(insert(batch))
            connection.execute("ANALYZE audit_entries")
        with connections(dsn, size=1) as pool:
            lines, growth = asyncio.run(read_through(Database(pool)))
    assert lines == MANY + 1
    assert growth < 24 * MEGABYTE, growth


def insert(batch: int) -> sql.Composed:
    """Puts some of them into the table; hashes do not matter here."""
    row = entry(TENANT, changes='{"title":{"after":"Home"}}')
    varying = {"id": "gen_random_uuid()", "create_time": f"now() - make_interval(secs => number + {batch * BATCH})"}
    values = [sql.SQL(varying[name]) if name in varying else sql.Literal(row[name]) for name in WRITTEN]
    return sql.SQL("INSERT INTO audit_entries ({}) SELECT {} FROM generate_series(1, {}) number").format(
        sql.SQL(", ").join(map(sql.Identifier, WRITTEN)), sql.SQL(", ").join(values), BATCH
    )


async def read_through(database: Database) -> tuple[int, int]:
    """Read an export of all to its end: how many lines there are, and by how many bytes the process grew."""
    process, lines = psutil.Process(), 0
    before = largest = process.memory_info().rss
    rows = Selection(ENTRIES, OF_TENANT, UNTIL).rows("", tenant=TENANT, until=utc_now())
    file = Download("a.csv", "text/csv", lambda run: chunks_of(csv_lines(rows(run))))
    async for message in Downloads(database, allowed).send(a_call(), file):
        lines += message.data.count(b"\r\n")
        largest = max(largest, process.memory_info().rss)
    return lines, largest - before
