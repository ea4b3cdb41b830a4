"""Long open transactions: the oldest one of a database holds back the readers of its logs.

An open transaction anywhere in the cluster also prevents VACUUM from removing rows. A metric therefore shows the age of
the oldest transaction of this database and of others. If one of this database is older than readers may wait, health is
DEGRADED and names it: session, age, program and statement, without the values in it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from prometheus_client import Gauge
from sqlalchemy import Boolean, Integer, Text, text

from server.data.connections import Result
from server.data.statements import Row, Statement
from server.faults import Ailing

# Seconds between two queries, each of which takes PostgreSQL half a millisecond.
INTERVAL = 5.0
# Seconds that a transaction of this database may be open.
PATIENCE = 10.0
LONGEST_STATEMENT = 120
OWN, OTHER = "own", "other"

# Without pg_read_all_stats, sessions of other roles show neither their start nor their statement.
OLDEST = Statement(
    text(
        """
        SELECT DISTINCT ON (is_own) name, program, statement, number, seconds, is_own FROM (
            SELECT pid::text AS name, application_name AS program, query AS statement, backend_xid::text AS number,
                   extract(epoch FROM clock_timestamp() - xact_start)::integer AS seconds,
                   datname = current_database() AS is_own, age(backend_xid) AS distance
              FROM pg_stat_activity
             WHERE backend_xid IS NOT NULL AND datname IS NOT NULL
             UNION ALL
            SELECT 'prepared ' || gid, '', '', transaction::text,
                   extract(epoch FROM clock_timestamp() - prepared)::integer, database = current_database(),
                   age(transaction)
              FROM pg_prepared_xacts
        ) AS open_transactions ORDER BY is_own, distance DESC
        """
    ).columns(name=Text(), program=Text(), statement=Text(), number=Text(), seconds=Integer(), is_own=Boolean())
)

SECONDS = Gauge(
    "plinth_oldest_transaction_seconds",
    "How long the oldest transaction that has written is open, in the own database and in others of the cluster.",
    ["database"],
    multiprocess_mode="livemostrecent",
)
# Only PostgreSQL's lexer knows where a value ends: quotes are escaped in several ways, there are dollar quotes and
# comments, and PostgreSQL itself cuts long statements within a text. The statement is therefore shown only up to its
# first value.
_BEGINS_VALUE = re.compile(r"'|\$(?!\d)|--|/\*")
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """An open transaction."""

    name: str
    """The process id of its session, or `prepared` and its name."""
    seconds: float
    program: str
    statement: str
    """The last statement up to its first text, with `?` for numbers; empty if it is hidden."""

    def __str__(self) -> str:
        program = f" ({self.program})" if self.program else ""
        statement = f": {self.statement}" if self.statement else ""
        return f"{self.name}{program} for {self.seconds:.0f} s{statement}"


class OpenTransactions:
    """Finds long open transactions. For one thread at a time."""

    def __init__(self, run: Callable[[Statement], Result], patience: float = PATIENCE) -> None:
        """`patience` is the seconds that a transaction of this database may be open."""
        self._run = run
        self._patience = patience
        self._looked = -INTERVAL
        self._oldest: OpenTransaction | None = None
        # When transactions were first seen, for those that do not show their start.
        self._seen: dict[tuple[str, str], float] = {}

    def ask(self) -> None:
        """Raise Ailing if a transaction is open for too long, or psycopg.Error if PostgreSQL does not answer."""
        if monotonic() - self._looked >= INTERVAL:
            self._look()
        if self._oldest is not None and self._oldest.seconds > self._patience:
            raise Ailing(f"streams, webhooks and seals wait for a transaction that is open: {self._oldest}")

    def _look(self) -> None:
        rows = {row["is_own"]: row for row in self._run(OLDEST).all()}
        self._looked = monotonic()
        self._seen = {key: self._seen.get(key, self._looked) for key in map(_key, rows.values())}
        for is_own, label in ((True, OWN), (False, OTHER)):
            SECONDS.labels(label).set(self._age(rows[is_own]) if is_own in rows else 0.0)
        own = rows.get(True)
        self._oldest = None if own is None else self._named(own)

    def _named(self, row: Row) -> OpenTransaction:
        return OpenTransaction(row["name"], self._age(row), row["program"], without_values(row["statement"]))

    def _age(self, row: Row) -> float:
        """Seconds since its start, or since it was first seen."""
        told = row["seconds"]
        return float(told) if told is not None else self._looked - self._seen[_key(row)]


def without_values(statement: str) -> str:
    """A statement in one line up to its first text or comment, with `?` for numbers; empty for a hidden one."""
    if statement == "<insufficient privilege>":
        return ""
    shown, *rest = _BEGINS_VALUE.split(statement, maxsplit=1)
    line = " ".join(_NUMBER.sub("?", shown).split())
    is_whole = not rest and len(line) <= LONGEST_STATEMENT
    return line if is_whole else f"{line[:LONGEST_STATEMENT]}..."


def _key(row: Row) -> tuple[str, str]:
    return row["name"], row["number"]
