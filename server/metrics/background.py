"""Whether every background thread and reader of this host goes round, asked for health.

Each process tells when its threads and readers (server/pulses.py) last did what they are for, in the metrics that the
processes of a host share. So any process tells of all, and a process that tells nothing any more is told of as well.
"""

from collections.abc import Callable
from pathlib import Path
from time import monotonic, time

from server import pulses
from server.faults import Ailing
from server.kernel.record import LOOP_LIMIT_NAME, LOOP_SUCCESS_NAME
from server.metrics import files as metrics_files

# Seconds between two looks at what the processes have told: a look reads some small files.
INTERVAL = 1.0
# Health names no more than so many.
MOST_NAMED = 5

Told = Callable[[], list[tuple[str, float, float]]]
"""Names of what goes round, seconds since the last round, and seconds after which it is late."""


def of_host(folder: Path | None) -> Told:
    """What all processes tell that share their metrics in a folder; without one, what this process knows."""

    def told() -> list[tuple[str, float, float]]:
        if folder is None:
            return [(pulse.name, pulse.silence, pulse.limit) for pulse in pulses.known()]
        found = metrics_files.live_gauges(folder, {LOOP_SUCCESS_NAME, LOOP_LIMIT_NAME})
        successes, limits = (
            {(labels["process"], labels["loop"]): value for name, labels, value in found if name == gauge}
            for gauge in (LOOP_SUCCESS_NAME, LOOP_LIMIT_NAME)
        )
        now = time()
        return [
            (f"{loop} of {process}", now - when, limits.get((process, loop), 0.0))
            for (process, loop), when in successes.items()
            # Those that were asked to end tell 0.
            if when
        ]

    return told


class Background:
    """Looks at what is told."""

    def __init__(self, told: Told, *, interval: float = INTERVAL) -> None:
        self._told = told
        self._interval = interval
        self._looked = -interval
        self._late: list[str] = []

    def ask(self) -> None:
        """Raise Ailing when something is late."""
        if monotonic() - self._looked >= self._interval:
            self._late = sorted(name for name, silence, limit in self._told() if limit and silence > limit)
            self._looked = monotonic()
        if self._late:
            more = len(self._late) - MOST_NAMED
            named = ", ".join(self._late[:MOST_NAMED])
            raise Ailing(f"has stopped, or waits in vain: {named}{f' and {more} more' if more > 0 else ''}")
