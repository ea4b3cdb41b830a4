"""The dependencies of the platform. Each process checks them every second, so that health answers from memory."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, perf_counter

from server.faults import Ailing
from server.kernel.clock import Clock, utc_now
from server.kernel.loops import Loop

INTERVAL = 1.0
# Seconds after which findings are outdated.
LATEST = 12.0
BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that the platform depends on. `ask` raises if it does not answer, or Ailing if it answers badly."""

    name: str
    ask: Callable[[], None]
    vital: bool
    """Whether the platform cannot work without it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    vital: bool
    is_there: bool
    latency: timedelta
    check_time: datetime
    message: str


class Dependencies:
    """Checks the dependencies in a thread of its own and keeps the findings."""

    def __init__(self, dependencies: list[Dependency], clock: Clock = utc_now) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._findings: tuple[Finding, ...] = ()
        self._looked_at = 0.0
        self._listeners: list[Callable[[bool], None]] = []
        self._loop = Loop("dependencies", self.look, INTERVAL)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The newest findings. Outdated ones mean that the checking thread has stopped, which is added as a finding."""
        age = monotonic() - self._looked_at
        if age <= LATEST or not self._findings:
            return self._findings
        message = f"nothing has been asked for {age:.0f} s: the thread that asks has stopped, or waits in vain"
        late = Finding(
            BACKGROUND, vital=False, is_there=False, latency=timedelta(), check_time=self._clock(), message=message
        )
        return (*(finding for finding in self._findings if finding.name != BACKGROUND), late)

    def listen(self, listener: Callable[[bool], None]) -> None:
        """Call `listener` after every round with whether all vital dependencies answer."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Check once now, then every second."""
        self.look()
        self._loop.start()

    def close(self) -> None:
        """Stop checking, and wait for a check that is under way."""
        self._loop.stop(2 * INTERVAL)

    def look(self) -> None:
        """Check all dependencies once."""
        found = {finding.name: finding for finding in self._findings}
        is_first = not found
        for dependency in self._dependencies:
            found[dependency.name] = self._ask(dependency)
            if not is_first:
                # Stored at once, because the next dependency may take long to fail.
                self._findings = tuple(found.values())
        self._findings = tuple(found.values())
        self._looked_at = monotonic()
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
