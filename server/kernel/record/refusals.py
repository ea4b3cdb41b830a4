"""Refusals on their way to the audit log: collected, and written together a few times a second.

Refusing must stay cheap, and a refused caller must not cause a row per call: similar refusals within a moment become
one entry with a count. A process that is killed loses its unwritten refusals, at most a fifth of a second of them.
During an outage of the database, refusals wait.
"""

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import psycopg
from prometheus_client import Counter

from server.data.audit import APPEND
from server.data.connections import DatabaseUnavailable
from server.data.statements import Row
from server.data.transactions import Database, Scope
from server.kernel.loops import Loop
from server.kernel.record.audit import leaf_hash
from server.kernel.record.gathering import Gathering

log = logging.getLogger("plinth.audit")
INTERVAL = 0.2
# Largest number of different refusals that wait. Further ones are counted and dropped.
MOST_WAITING = 5_000
# Number of refusals per transaction.
BATCH = 500
LONGEST_PAUSE = 5.0

NOTED = Counter("plinth_audit_refusals", "Calls that were refused, by reason.", ["reason"])
DROPPED = Counter("plinth_audit_refusals_dropped", "Refusals that found no room while the database was away.")


@dataclass(slots=True)
class _Waiting:
    row: Row
    count: int = 1


class RefusalLog:
    """Writes refusals in a thread of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, _Waiting] = {}
        self._gathering = Gathering()
        self._is_ending = False
        self._pause = INTERVAL
        self._loop = Loop("refusals", self._try_to_flush, INTERVAL, at_end=True)

    def start(self) -> None:
        """Start the thread."""
        self._loop.start()

    def close(self) -> None:
        """Write the remaining refusals, and stop."""
        self._is_ending = True
        self._loop.stop(LONGEST_PAUSE)

    def note(self, row: Row, address: str) -> None:
        """Add a refusal of this caller (see addresses.py). Never blocks and never fails."""
        NOTED.labels(row["reason"]).inc()
        key = (row["tenant_id"], row["actor_id"], row["method"], row["reason"], row["resource_id"], address)
        with self._lock:
            self._add(key, row, 1)

    def gather(self, key: Hashable, make: Callable[[], Row]) -> None:
        """Add a refusal that is counted with others of the same key for a minute (see Gathering).

        Never blocks or fails.
        """
        with self._lock:
            if not self._gathering.note(key, make):
                DROPPED.inc()

    def _add(self, key: Hashable, row: Row, count: int) -> None:
        known = self._waiting.get(key)
        if known is not None:
            known.count += count
        elif len(self._waiting) < MOST_WAITING:
            self._waiting[key] = _Waiting(row, count)
        else:
            DROPPED.inc(count)

    def flush(self) -> None:
        """Write the waiting refusals. Raises psycopg's exceptions and DatabaseUnavailable, and then keeps them."""
        with self._lock:
            for key, row, count in self._gathering.take(everything=self._is_ending):
                self._add(("gathered", key), row, count)
            waiting, self._waiting = self._waiting, {}
        entries = list(waiting.items())
        for start in range(0, len(entries), BATCH):
            try:
                self._write([entry for _, entry in entries[start : start + BATCH]])
            except (psycopg.Error, DatabaseUnavailable):
                self._put_back(dict(entries[start:]))
                raise

    def _write(self, entries: list[_Waiting]) -> None:
        with self._database.write(Scope(platform=True)) as transaction:
            for entry in entries:
                row = entry.row | {"count": entry.count}
                transaction.queue(APPEND, **row | {"hash": leaf_hash(row)})

    def _put_back(self, entries: dict[Hashable, _Waiting]) -> None:
        with self._lock:
            newer, self._waiting = self._waiting, entries
            for key, entry in newer.items():
                known = self._waiting.get(key)
                if known is not None:
                    known.count += entry.count
                else:
                    self._waiting[key] = entry

    def _try_to_flush(self) -> float:
        """Write the waiting refusals. Returns the seconds until the next time."""
        try:
            self.flush()
        except (psycopg.Error, DatabaseUnavailable) as error:
            log.warning("%d refusals wait for the database: %s", len(self._waiting), type(error).__name__)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        else:
            self._pause = INTERVAL
        return self._pause
