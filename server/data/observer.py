"""Observers of round trips to PostgreSQL: traces and metrics.

`Connections.observe` adds one. Without an observer, a round trip only pays for that check.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from server.data.statements import Statement


class Answered(Protocol):
    """The part of a statement's result that an observer may read (see connections.Result)."""

    @property
    def count(self) -> int:
        """Number of rows returned or changed."""


class RoundTrip(NamedTuple):
    """Statements that were sent together, and their results."""

    seconds: float
    """From sending to the last answer. The wait for a connection is not included."""
    error: Exception | None = None
    """An exception of psycopg."""
    sent: Sequence[tuple[Statement | None, bool]] = ()
    """As the connection records it: a statement, None for a plain one, and whether it is only prepared."""
    plain: bytes = b""
    """The plain statement at the end, if there is one."""
    answers: Sequence[Answered] = ()
    """The results of all statements that were not only prepared. Empty after a failure."""
    bound: int | None = None
    """The index of the result of the binding, with which every transaction begins; None if it is not among them."""

    @property
    def sql(self) -> list[bytes]:
        """The statements, without the binding that begins every transaction. They contain no parameter values."""
        statements = [statement.sql for statement, prepares in self.sent if statement is not None and not prepares]
        return statements[0 if self.bound is None else 1 :] + ([self.plain] if self.plain else [])

    @property
    def rows(self) -> int:
        """Number of rows returned or changed by all statements."""
        return sum(answer.count for answer in self.answers[0 if self.bound is None else self.bound + 1 :])


class Observer(Protocol):
    """Observes round trips, on the thread that made them."""

    def round_trip(self, trip: RoundTrip) -> None:
        """A round trip has ended. Never blocks and never raises."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def round_trip(self, trip: RoundTrip) -> None:
        """Notify each observer."""
        for observer in self._observers:
            observer.round_trip(trip)
