"""What the platform depends on, asked every second by each process, so that health answers without asking."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter

from server.kernel.clock import Clock, utc_now

INTERVAL = 1.0


class Ailing(Exception):
    """It answers, but does not do what it should. The text is for everybody who may see the health."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something the platform depends on. `ask` raises when it is away, or Ailing."""

    name: str
    ask: Callable[[], None]
    vital: bool
    """Whether nothing works without it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of asking."""

    name: str
    vital: bool
    is_there: bool
    latency: timedelta
    check_time: datetime
    message: str


class Dependencies:
    """Asks in a thread of its own and remembers the findings."""

    def __init__(self, dependencies: list[Dependency], clock: Clock = utc_now) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._findings: tuple[Finding, ...] = ()
        self._listeners: list[Callable[[bool], None]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dependencies", daemon=True)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The newest findings."""
        return self._findings

    def listen(self, listener: Callable[[bool], None]) -> None:
        """Be told, after every round, whether everything vital is there."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Ask once now, then every second."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; what is being asked is waited for."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(2 * INTERVAL)

    def look(self) -> None:
        """Ask everything once."""
        self._findings = tuple(self._ask(dependency) for dependency in self._dependencies)
        works = all(finding.is_there or not finding.vital for finding in self._findings)
        for listener in self._listeners:
            listener(works)

    def _ask(self, dependency: Dependency) -> Finding:
        start, message = perf_counter(), ""
        try:
            dependency.ask()
        except Ailing as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is away
            message = f"does not answer ({type(error).__name__})"
        latency = timedelta(seconds=perf_counter() - start)
        return Finding(dependency.name, dependency.vital, not message, latency, self._clock(), message)

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self.look()
