"""Pulses: when each thread and each reader of this process last completed a round.

A thread that died, and a reader that waits for a peer that will never answer, cannot report it themselves. They leave
the time of their last round here, and others judge it: health (metrics/background.py), the metrics (metering.of_pulses)
and the users of what they read (kernel/live/reader.py).
"""

from collections.abc import Callable, Iterable
from math import inf
from time import monotonic

Told = Callable[[], list[tuple[str, float, float]]]
"""Names of threads and readers, seconds since the last round, and seconds after which each is late."""
_known: dict[str, "Pulse"] = {}


class Pulse:
    """The last round of one thread or reader. Setting and reading a float is atomic, so no lock is needed."""

    __slots__ = ("_last", "limit", "name")

    def __init__(self, name: str, limit: float) -> None:
        """`limit` is the seconds after the last round after which it counts as late."""
        self.name = name
        self.limit = limit
        self._last = monotonic()

    def beat(self) -> None:
        """Record a successful round."""
        self._last = monotonic()

    def stop(self) -> None:
        """Record that the thread has died: there will be no further round."""
        self._last = -inf

    @property
    def silence(self) -> float:
        """Seconds since the last round; infinite after it has died."""
        return monotonic() - self._last

    @property
    def is_late(self) -> bool:
        """Whether the last round was longer ago than the limit."""
        return self.silence > self.limit


def begin(name: str, limit: float) -> Pulse:
    """A pulse to be watched from now on. An existing one of this name stays unchanged: a new attempt is no success."""
    return _known.setdefault(name, Pulse(name, limit))


def end(pulse: Pulse) -> None:
    """Stop watching a pulse, because it was asked to end."""
    if _known.get(pulse.name) is pulse:
        del _known[pulse.name]


def end_all() -> None:
    """Stop watching all pulses, because the process was asked to end."""
    _known.clear()


def known() -> Iterable[Pulse]:
    """Every pulse of this process."""
    return tuple(_known.values())
