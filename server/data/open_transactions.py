"""Transactions that are open for long: readers of the logs come no further than the oldest one of their database.

An open transaction anywhere in the cluster keeps VACUUM from removing anything as well. So the oldest one of this
database and the oldest one of others are told by a metric; one of this database that is older than readers may wait
makes health DEGRADED, and is named there: session, age, program and statement, without the values in it.
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

# Seconds between two looks, which take PostgreSQL half a millisecond.
INTERVAL = 5.0
# Seconds that a transaction of this database may be open.
PATIENCE = 10.0
LONGEST_STATEMENT = 120
OWN, OTHER = "own", "other"

# Sessions of other roles show neither their start nor their statement without pg_read_all_stats.
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
# Where a value ends is known to PostgreSQL's lexer only: quotes are escaped in several ways, there are dollar quotes
# and comments, and PostgreSQL itself cuts long statements in the middle of a text. So nothing behind the first is
# shown.
_BEGINS_VALUE = re.compile(r"'|\$(?!\d)|--|/\*")
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """One that is open."""

    name: str
    """Its session's process id, or `prepared` and its name."""
    seconds: float
    program: str
    statement: str
    """The last one, up to its first text, with `?` in place of numbers; empty where it is hidden."""

    def __str__(self) -> str:
        program = f" ({self.program})" if self.program else ""
        statement = f": {self.statement}" if self.statement else ""
        return f"{self.name}{program} for {self.seconds:.0f} s{statement}"


class OpenTransactions:
    """Looks for them. One thread asks at a time."""

    def __init__(self, run: Callable[[Statement], Result], patience: float = PATIENCE) -> None:
        """`patience` is how many seconds one of the own database may be open."""
        self._run = run
        self._patience = patience
        self._looked = -INTERVAL
        self._oldest: OpenTransaction | None = None
        # When those were seen first that do not show their start.
        self._seen: dict[tuple[str, str], float] = {}

    def ask(self) -> None:
        """Raise Ailing when one is open for too long, or psycopg.Error when PostgreSQL does not answer."""
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
        """Since its start, or since it was seen first."""
        told = row["seconds"]
        return float(told) if told is not None else self._looked - self._seen[_key(row)]


def without_values(statement: str) -> str:
    """A statement in a line up to its first text or comment, with `?` in place of numbers; empty for a hidden one."""
    if statement == "<insufficient privilege>":
        return ""
    shown, *rest = _BEGINS_VALUE.split(statement, maxsplit=1)
    line = " ".join(_NUMBER.sub("?", shown).split())
    is_whole = not rest and len(line) <= LONGEST_STATEMENT
    return line if is_whole else f"{line[:LONGEST_STATEMENT]}..."


def _key(row: Row) -> tuple[str, str]:
    return row["name"], row["number"]
