"""Pulses: when each thread and each reader of this process last did what it is for.

A thread that died, and a reader that waits for a peer that will never answer, cannot tell so themselves. They leave
the time of their last round here, and others judge it: health (domains/operations/background.py), the metrics
(metering.of_pulses) and whoever serves what they read (kernel/live.py).
"""

from collections.abc import Iterable
from math import inf
from time import monotonic

_known: dict[str, "Pulse"] = {}


class Pulse:
    """The last round of one thread or reader. Setting and reading a float is atomic: nobody locks."""

    __slots__ = ("_last", "limit", "name")

    def __init__(self, name: str, limit: float) -> None:
        """`limit` is the seconds after the last round from which it counts as late."""
        self.name = name
        self.limit = limit
        self._last = monotonic()

    def beat(self) -> None:
        """A round went well just now."""
        self._last = monotonic()

    def stop(self) -> None:
        """There will be no further round: it has died."""
        self._last = -inf

    @property
    def silence(self) -> float:
        """Seconds since the last round; infinite once it has died."""
        return monotonic() - self._last

    @property
    def is_late(self) -> bool:
        """Whether the last round was longer ago than the limit."""
        return self.silence > self.limit


def begin(name: str, limit: float) -> Pulse:
    """A pulse that is judged from now on; the one of that name that is there, as it is: a new try is no success."""
    return _known.setdefault(name, Pulse(name, limit))


def end(pulse: Pulse) -> None:
    """Judge it no more: it was asked to end."""
    if _known.get(pulse.name) is pulse:
        del _known[pulse.name]


def end_all() -> None:
    """Judge nothing any more: the process was asked to end."""
    _known.clear()


def known() -> Iterable[Pulse]:
    """Every pulse of this process."""
    return tuple(_known.values())
