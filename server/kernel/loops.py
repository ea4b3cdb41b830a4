"""Loops: threads that do something again and again for as long as their process lives.

A loop survives whatever its work raises: it says so once, counts it, and goes on. That it goes round is told by its
pulse; should the thread end all the same, the pulse ends with it, and health and metrics tell.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from prometheus_client import Counter

from server import pulses

log = logging.getLogger("plinth.loops")
# A round may be late by so many seconds beyond the interval.
GRACE = 10.0
# The same failure is told again after this long.
NEXT_WORD = 60.0

FAILURES = Counter("plinth_loop_failures", "Rounds of background threads that failed.", ["loop"])

Work = Callable[[], float | None]
"""One round; the seconds until the next one, or None for the interval of the loop."""


class Loop:
    """One such thread."""

    def __init__(self, name: str, work: Work, interval: float, *, at_once: bool = False, at_end: bool = False) -> None:
        """`interval` is seconds. The first round comes `at_once` or after it; `at_end`, stopping makes a last one."""
        self.name = name
        self._work = work
        self._interval = interval
        self._at_once = at_once
        self._at_end = at_end
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._told = ""
        self._told_at = 0.0
        # Made when it starts: a thread that a process made before it forked counts as ended in the fork.
        self._thread: threading.Thread | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to end."""
        return self._stopped.is_set()

    def start(self) -> None:
        """Begin."""
        # Here, so that a thread that never got to run is late as well.
        self._pulse = pulses.begin(self.name, self._interval + GRACE)
        # So that the first failure is an increase.
        FAILURES.labels(self.name)
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Make the next round come now. Never waits."""
        self._woken.set()

    def beat(self) -> None:
        """A part of a long round is done."""
        self._pulse.beat()

    def pause(self, seconds: float) -> None:
        """Wait within a round, unless told to end."""
        self._stopped.wait(seconds)

    def stop(self, patience: float) -> None:
        """Tell it to end, and wait for that for up to `patience` seconds. Harmless before it began."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None and self._thread.is_alive():
            pulses.end(self._pulse)
            self._thread.join(patience)

    def _run(self) -> None:
        try:
            pause = 0.0 if self._at_once else self._interval
            while not self._rested(pause):
                pause = self._round()
            if self._at_end:
                self._round()
        finally:
            self._pulse.stop()

    def _rested(self, pause: float) -> bool:
        """Wait for the next round; whether there is none."""
        if pause:
            self._woken.wait(pause)
        self._woken.clear()
        return self._stopped.is_set()

    def _round(self) -> float:
        """Do the work once; seconds until the next time."""
        try:
            pause = self._work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round comes
            self._note(error)
            pause = None
        # A round that failed is a round: what failed is told by the log, the counter, and the health of what it needs.
        self._pulse.beat()
        return self._interval if pause is None else pause

    def _note(self, error: Exception) -> None:
        FAILURES.labels(self.name).inc()
        kind = type(error).__name__
        if kind != self._told or monotonic() - self._told_at > NEXT_WORD:
            self._told, self._told_at = kind, monotonic()
            log.error("%s failed and goes on", self.name, exc_info=error)
