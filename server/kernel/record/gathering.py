"""Gathered rows, for events that others can cause at will: a row for the first of a kind, a count for the next.

At any load, each kind costs one row a minute, and the number of kinds is bounded.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from time import monotonic

from server.data.statements import Row

# Seconds between two rows of a kind.
PAUSE = 60.0
MOST_KINDS = 2_000


@dataclass(slots=True)
class _Kind:
    due: float
    """The monotonic() time from which its next row may be written."""
    row: Row | None
    """The first of the counted ones, which is written for all of them; None if none waits."""
    count: int


class Gathering:
    """Counts events that are alike. Not thread-safe: its owner locks it."""

    def __init__(self, pause: float = PAUSE, most: int = MOST_KINDS, clock: Callable[[], float] = monotonic) -> None:
        """`pause` is seconds; `most` is the largest number of kinds at a time."""
        self._pause = pause
        self._most = most
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}

    def note(self, key: Hashable, make: Callable[[], Row]) -> bool:
        """Count one more of a kind. `make` makes its row. False if there was no room for it."""
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= self._most:
                return False
            self._kinds[key] = _Kind(self._clock(), make(), 1)
        elif kind.row is None:
            kind.row, kind.count = make(), 1
        else:
            kind.count += 1
        return True

    def take(self, *, everything: bool = False) -> list[tuple[Hashable, Row, int]]:
        """The rows that are due, or all rows that wait, each with its key and the number of events it stands for."""
        now, taken = self._clock(), []
        for key, kind in list(self._kinds.items()):
            if kind.due > now and not everything:
                continue
            if kind.row is None:
                # None came during the pause, so the next one is a first one again.
                del self._kinds[key]
                continue
            taken.append((key, kind.row, kind.count))
            kind.row, kind.due = None, now + self._pause
        return taken
