"""Count buffers: what happens often is noted in memory, and its counts are added to a table every few seconds.

A note takes no lock and one microsecond. A process that is killed loses its last notes. While PostgreSQL does not
answer, counts are kept up to a bound and written afterwards.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Generic, TypeVar

import psycopg

from server.data.connections import DatabaseUnavailable
from server.data.transactions import Database, Scope, WriteTransaction
from server.kernel.loops import Loop

log = logging.getLogger("plinth.counts")
FLUSH_SECONDS = 3.0
# Seconds that a process waits for the last flush when it ends.
LAST_FLUSH = 5.0
# About 50 MB during a long outage. Beyond it the oldest notes are dropped, and no new counts begin.
MOST_NOTES = 200_000
MOST_COUNTS = 50_000

Note = TypeVar("Note")
Key = TypeVar("Key", bound=Hashable)
Count = TypeVar("Count")


class CountBuffer(ABC, Generic[Note, Key, Count]):
    """The counts of one kind that are not written yet. A Part of its service (kernel/ports.py)."""

    def __init__(self, name: str, database: Database) -> None:
        """`name` is what is counted, such as "flag evaluations". The log and the metrics of loops show it."""
        self._name = name
        self._database = database
        # Appending, and removing at the other end, are atomic.
        self._notes: deque[Note] = deque(maxlen=MOST_NOTES)
        self._counts: dict[Key, Count] = {}
        self._loop = Loop(name, self.flush, FLUSH_SECONDS, at_end=True)

    @abstractmethod
    def counted(self, note: Note) -> tuple[Key, Count]:
        """Under which key a note counts, and as what."""

    @abstractmethod
    def added(self, known: Count, more: Count) -> Count:
        """The sum of two counts of one key."""

    @abstractmethod
    def write(self, transaction: WriteTransaction, counts: Mapping[Key, Count]) -> None:
        """Add counts to the table. Processes that do so at the same time must lock its rows in one order."""

    def take(self, note: Note) -> None:
        """Note what happened. Never blocks and never fails."""
        self._notes.append(note)

    def start(self) -> None:
        """Start to write counts regularly."""
        self._loop.start()

    def close(self) -> None:
        """Write the remaining counts, and stop."""
        self._loop.stop(LAST_FLUSH)

    def flush(self) -> None:
        """Write the counts. After a failed write they are kept, unless another attempt would fail too."""
        self._count()
        if not self._counts:
            return
        try:
            with self._database.write(Scope(platform=True)) as transaction:
                self.write(transaction, self._counts)
        except (DatabaseUnavailable, psycopg.OperationalError) as error:
            # Health reports that PostgreSQL does not answer. Only this reports a refusal, such as a deadlock.
            if getattr(error, "sqlstate", None):
                log.warning("%s are kept for the next flush: %s", self._name, type(error).__name__)
            return
        except psycopg.Error as error:
            log.warning("some %s are lost: %s", self._name, type(error).__name__)
        self._counts.clear()

    def _count(self) -> None:
        """Turn notes into counts."""
        with suppress(IndexError):
            while True:
                key, count = self.counted(self._notes.popleft())
                if key in self._counts:
                    self._counts[key] = self.added(self._counts[key], count)
                elif len(self._counts) < MOST_COUNTS:
                    self._counts[key] = count
