"""Rows that others cause and nobody asked for: the first of a kind is written at once, and what follows is counted.

However much comes, a kind costs a row a minute, and all kinds together no more rows a minute than there is room for.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from time import monotonic

from server.data.statements import Row

# Seconds from one row of a kind to the next.
PAUSE = 60.0
MOST_KINDS = 2_000


@dataclass(slots=True)
class _Kind:
    due: float
    """monotonic() from which on the next row of it may be written."""
    row: Row | None
    """What waits, if anything does: the first of those that are counted."""
    count: int


class Gathering:
    """Counts what is alike. Belongs to somebody who locks it."""

    def __init__(self, pause: float = PAUSE, most: int = MOST_KINDS, clock: Callable[[], float] = monotonic) -> None:
        """`pause` is seconds; `most` is how many kinds are known at once."""
        self._pause = pause
        self._most = most
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}

    def note(self, key: Hashable, make: Callable[[], Row]) -> bool:
        """One more of a kind, whose row `make` gives. Whether there was room for it."""
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
        """The rows that are due, each with its key and how many it stands for; or all that wait."""
        now, taken = self._clock(), []
        for key, kind in list(self._kinds.items()):
            if kind.due > now and not everything:
                continue
            if kind.row is None:
                # Nothing has come for a while: the next one is a first one again.
                del self._kinds[key]
                continue
            taken.append((key, kind.row, kind.count))
            kind.row, kind.due = None, now + self._pause
        return taken
