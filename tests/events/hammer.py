"""Writers hammer the event log while readers tail it by cursor; then every committed event has to be there once.

`python -m tests.events.hammer 60` does it for a minute on a stack of its own; the suite does it for a moment.
"""

import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import psycopg
from plinth.sites.v1 import page_pb2

from server import app
from server.data.events import READ_ALL, READ_END, READ_HORIZON, READ_TENANT, Position, event_of, read_parameters
from server.domains.sites.pages import PageService
from server.kernel.chain import Route
from server.settings import Settings
from tests.clients import Tenant, another_tenant, new_tenant
from tests.kernel.calls import Aborted, Context
from tests.stack import Stack

WRITERS = 32
CREATE = "/plinth.sites.v1.PageService/CreatePage"
# How often a writer fails after its insert, which has to leave no event; and how often one dawdles before its commit.
FAILURES = 0.1
DAWDLERS = 0.05
LONGEST_DAWDLE = 0.2
# How many pages each writer makes, however little it gets of a busy machine.
AT_LEAST = 4


@dataclass
class Reader:
    """Tails the log, of all tenants or of one, from a position in batches of a size."""

    query: str
    start: Position
    size: int
    tenant_id: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    last: dict[str, Position] = field(default_factory=dict)
    disorder: list[str] = field(default_factory=list)

    def tail(self, dsn: str, end: "End") -> None:
        """Read on until the writers have ended and nothing is left."""
        position = self.start
        with psycopg.connect(dsn, autocommit=True) as connection:
            while True:
                last_look = end.is_within(connection)
                (horizon,) = connection.execute(READ_HORIZON.encode()).fetchone() or (0,)
                parameters = read_parameters(position, self.size, horizon) | {"tenant_id": self.tenant_id}
                events = [event_of(row) for row in connection.execute(self.query.encode(), parameters).fetchall()]
                for event in events:
                    position = self._note(event)
                if last_look and not events:
                    return
                if not events:
                    time.sleep(0.005)

    def _note(self, event: Any) -> Position:
        self.seen[event.id] += 1
        before = self.last.get(event.tenant_id)
        if before is not None and event.position <= before:
            self.disorder.append(event.id)
        self.last[event.tenant_id] = event.position
        return event.position  # type: ignore[no-any-return]


class End:
    """Where the log of the writers ends, once they have ended."""

    def __init__(self) -> None:
        self._transaction_id: int | None = None

    def come(self, connection: "psycopg.Connection[Any]") -> None:
        """All that was written is committed."""
        row = connection.execute("SELECT max(transaction_id::text::bigint) FROM events").fetchone()
        self._transaction_id = row[0] if row else 0

    def is_within(self, connection: "psycopg.Connection[Any]") -> bool:
        """Whether readers may see it all: any transaction that is open in this database holds them back."""
        return self._transaction_id is not None and _end_of_log(connection) >= self._transaction_id


def _end_of_log(connection: "psycopg.Connection[Any]") -> int:
    row = connection.execute(READ_END.encode()).fetchone()
    return int(row[0]) if row else 0


@dataclass
class Outcome:
    """What came of it."""

    written: int
    failed: int
    events: dict[str, str]
    """The events that the database holds of these tenants: id to tenant."""
    readers: list[Reader]


def hammer(stack: Stack, tenants: list[Tenant], seconds: float) -> Outcome:
    """Let 32 writers write into these tenants while readers tail; when all is over, what each saw."""
    settings = stack.settings.model_copy(update={"database_pool_size": WRITERS + 4})
    application = app.build(settings, "hammer", streams=False)
    application.open()
    try:
        with psycopg.connect(settings.dispatch_dsn) as connection:
            start = Position(_end_of_log(connection), 2**63 - 1)
        readers = [
            Reader(READ_ALL, start, 500),
            Reader(READ_ALL, start, 7),
            Reader(READ_TENANT, start, 50, tenants[0].id),
        ]
        end = End()
        dawdling = patch.object(PageService, "after_write", _dawdle)
        with dawdling, ThreadPoolExecutor(WRITERS + len(readers)) as pool:
            tails = [pool.submit(reader.tail, settings.dispatch_dsn, end) for reader in readers]
            until = time.monotonic() + seconds
            writers = [
                pool.submit(_write, application.routes[CREATE], tenants, until, number) for number in range(WRITERS)
            ]
            counts = [writer.result() for writer in writers]
            with psycopg.connect(settings.dispatch_dsn) as connection:
                end.come(connection)
            for tail in tails:
                tail.result()
        return Outcome(
            sum(count for count, _ in counts), sum(count for _, count in counts), _stored(settings, tenants), readers
        )
    finally:
        application.close()


def _write(route: Route, tenants: list[Tenant], until: float, number: int) -> tuple[int, int]:
    """Create pages one after the other; how many, and how many failed on purpose."""
    dice = random.Random(number)  # noqa: S311 - a dice, not a secret
    serve: Any = route.handler.unary_unary
    written = failed = 0
    while time.monotonic() < until or written < AT_LEAST:
        tenant = tenants[dice.randrange(len(tenants))]
        # A slug that is taken fails in the database, after statements that have been sent already.
        slug = "taken" if dice.random() < FAILURES else f"p-{number}-{written}-{dice.getrandbits(40)}"
        request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(title="T", slug=slug))
        try:
            serve(request.SerializeToString(), Context(authorization=f"Bearer {tenant.access_token}"))
            written += 1
        except Aborted:
            failed += 1
    return written, failed


def _stored(settings: Settings, tenants: list[Tenant]) -> dict[str, str]:
    with psycopg.connect(settings.dispatch_dsn) as connection:
        rows = connection.execute(
            "SELECT id::text, tenant_id::text FROM events WHERE tenant_id = ANY(%s::uuid[]) AND type = 'page.created'",
            ([tenant.id for tenant in tenants],),
        ).fetchall()
    return dict(rows)


def _dawdle(*_: object) -> None:
    """Let some transactions stay open for a while, so that they commit after others that began later."""
    if random.random() < DAWDLERS:  # noqa: S311 - as above
        time.sleep(random.random() * LONGEST_DAWDLE)  # noqa: S311 - as above


def faults(outcome: Outcome) -> list[str]:
    """What is wrong."""
    found = [] if outcome.written == len(outcome.events) else ["not one event per write"]
    for reader in outcome.readers:
        expected = {event for event, tenant in outcome.events.items() if reader.tenant_id in ("", tenant)}
        missing = expected - reader.seen.keys()
        twice = [event for event, count in reader.seen.items() if count > 1]
        found += [f"{len(missing)} skipped"] if missing else []
        found += [f"{len(twice)} twice"] if twice else []
        found += [f"{len(reader.disorder)} out of order"] if reader.disorder else []
    return found


def main() -> int:
    """A minute in one tenant, and a minute in many."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    stack = Stack(api_workers=1)
    worst = 0
    try:
        stack.start()
        for count in (1, 16):
            first = new_tenant(stack)
            tenants = [first, *(another_tenant(first) for _ in range(count - 1))]
            outcome = hammer(stack, tenants, seconds)
            wrong = faults(outcome)
            sys.stdout.write(
                f"{count} tenants, {seconds:.0f} s: {outcome.written} written, {outcome.failed} failed on purpose, "
                f"{len(outcome.events)} events; {wrong or 'nothing skipped, nothing twice, all in order'}\n"
            )
            worst = worst or len(wrong)
    finally:
        stack.remove()
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
