"""Who is told of every round trip to PostgreSQL: traces and metrics.

`Connections.observe` adds one. Without any, a round trip pays for one look whether there is.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from server.data.statements import Statement


class Answered(Protocol):
    """What one statement answered, as far as an observer may look (see connections.Result)."""

    @property
    def count(self) -> int:
        """How many rows were returned or changed."""


class RoundTrip(NamedTuple):
    """Statements that were sent together, and how PostgreSQL answered them."""

    seconds: float
    """From when all was sent until the last answer was there; waiting for a connection is not part of it."""
    error: Exception | None = None
    """psycopg's."""
    sent: Sequence[tuple[Statement | None, bool]] = ()
    """As the connection notes it: a statement, None for a plain one, and whether this only prepares it."""
    plain: bytes = b""
    """The plain statement at the end, where there is one."""
    answers: Sequence[Answered] = ()
    """To all but what was only prepared. Empty when it failed."""
    bound: int | None = None
    """The place of the binding's answer, with which every transaction begins; None where it is not among them."""

    @property
    def sql(self) -> list[bytes]:
        """What was asked, without what every transaction begins with. Parameters are numbered: no values."""
        statements = [statement.sql for statement, prepares in self.sent if statement is not None and not prepares]
        return statements[0 if self.bound is None else 1 :] + ([self.plain] if self.plain else [])

    @property
    def rows(self) -> int:
        """How many rows were returned or changed in all."""
        return sum(answer.count for answer in self.answers[0 if self.bound is None else self.bound + 1 :])


class Observer(Protocol):
    """Is told of round trips, on the thread that made them."""

    def round_trip(self, trip: RoundTrip) -> None:
        """One has ended. Never waits and never raises."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def round_trip(self, trip: RoundTrip) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.round_trip(trip)
