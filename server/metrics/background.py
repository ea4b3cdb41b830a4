"""The state of all background threads and readers of this host, for health.

Each process reports the last rounds of its threads and readers (server/pulses.py) in the shared metrics of the host.
Every process can therefore report on all of them, also on a process that has fallen silent.
"""

from pathlib import Path
from time import monotonic, time

from server import pulses
from server.faults import Ailing
from server.kernel.record import LOOP_LIMIT_NAME, LOOP_SUCCESS_NAME
from server.metrics import files as metrics_files
from server.pulses import Told

# Seconds between two reads of the shared metrics, which are a few small files.
INTERVAL = 1.0
# Largest number of names in a health message.
MOST_NAMED = 5


def of_host(folder: Path | None) -> Told:
    """The reports of all processes that share metrics in a folder; without a folder, those of this process."""

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
            # 0 marks one that was asked to end.
            if when
        ]

    return told


class Background:
    """Checks the reports."""

    def __init__(self, told: Told, *, interval: float = INTERVAL) -> None:
        self._told = told
        self._interval = interval
        self._looked = -interval
        self._late: list[str] = []

    def ask(self) -> None:
        """Raise Ailing if a thread or reader is late."""
        if monotonic() - self._looked >= self._interval:
            self._late = sorted(name for name, silence, limit in self._told() if limit and silence > limit)
            self._looked = monotonic()
        if self._late:
            more = len(self._late) - MOST_NAMED
            named = ", ".join(self._late[:MOST_NAMED])
            raise Ailing(f"has stopped, or waits in vain: {named}{f' and {more} more' if more > 0 else ''}")
