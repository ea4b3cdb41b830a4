"""Loops: threads that repeat something for as long as their process lives.

A loop survives every exception of its work: it logs it once, counts it, and continues. Its pulse shows that it runs. If
the thread ends nevertheless, the pulse stops too, and health and metrics report it.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from prometheus_client import Counter

from server import pulses

log = logging.getLogger("plinth.loops")
# Seconds that a round may be late beyond the interval.
GRACE = 10.0
# Seconds after which the same failure is logged again.
NEXT_WORD = 60.0

FAILURES = Counter("plinth_loop_failures", "Rounds of background threads that failed.", ["loop"])

Work = Callable[[], float | None]
"""One round. It returns the seconds until the next one, or None for the interval of the loop."""


class Loop:
    """One repeating thread."""

    def __init__(self, name: str, work: Work, interval: float, *, at_once: bool = False, at_end: bool = False) -> None:
        """`interval` is seconds. `at_once`: the first round does not wait for it. `at_end`: stop() runs a last one."""
        self.name = name
        self._work = work
        self._interval = interval
        self._at_once = at_once
        self._at_end = at_end
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._told = ""
        self._told_at = 0.0
        # Created by start(): in a forked process, a thread from before the fork counts as ended.
        self._thread: threading.Thread | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the loop was told to stop."""
        return self._stopped.is_set()

    def start(self) -> None:
        """Start the thread."""
        # Begun here, so that a thread that never got to run counts as late too.
        self._pulse = pulses.begin(self.name, self._interval + GRACE)
        # Created at 0, so that the first failure is an increase.
        FAILURES.labels(self.name)
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Start the next round now. Never blocks."""
        self._woken.set()

    def beat(self) -> None:
        """Report progress within a long round."""
        self._pulse.beat()

    def pause(self, seconds: float) -> None:
        """Sleep within a round, unless told to stop."""
        self._stopped.wait(seconds)

    def stop(self, patience: float) -> None:
        """Tell the loop to stop, and wait up to `patience` seconds for it. Does nothing before start()."""
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
        """Wait for the next round. True if the loop was told to stop."""
        if pause:
            self._woken.wait(pause)
        self._woken.clear()
        return self._stopped.is_set()

    def _round(self) -> float:
        """Do the work once. Returns the seconds until the next round."""
        try:
            pause = self._work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round comes
            self._note(error)
            pause = None
        # A failed round counts too: the log, the counter and the health of the dependency report its failure.
        self._pulse.beat()
        return self._interval if pause is None else pause

    def _note(self, error: Exception) -> None:
        FAILURES.labels(self.name).inc()
        kind = type(error).__name__
        if kind != self._told or monotonic() - self._told_at > NEXT_WORD:
            self._told, self._told_at = kind, monotonic()
            log.error("%s failed and goes on", self.name, exc_info=error)
