"""Workers of one deployment, whose requests to the store take their time, get lost, or are overtaken."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from server.kernel.guard.limits import Grant, LimitsAway, RateLimiter
from server.kernel.rates import Rate
from tests.limits.model import Clock, ModelStore, Passed

WORKERS = 4
KEY = "default:user:ada"


class Fate(Enum):
    """What becomes of a request to the store."""

    ANSWERED = auto()
    OVERTAKEN = auto()
    """Others call while it is on its way."""
    LOST = auto()
    """It never arrives."""
    UNANSWERED = auto()
    """It is done, and the answer is lost."""
    LATE = auto()
    """It is given up, and done all the same after the next turn."""


@dataclass(frozen=True)
class Step:
    """One worker's turn. Times are seconds."""

    worker: int
    calls: int
    """At most: a worker that is refused leaves it at that."""
    pause: float = 0.0
    """Before the turn."""
    think: float = 0.0
    """After each call."""
    way: float = 0.0
    """How long a request takes to the store ..."""
    back: float = 0.0
    """... and its answer from there."""
    fate: Fate = Fate.ANSWERED


class Way:
    """How one worker reaches the store."""

    def __init__(self, world: "World", worker: int) -> None:
        self._world = world
        self._worker = worker

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        world, step = self._world, self._world.current[self._worker]
        ask = partial(world.store.lease, key, rate, want, unspent, since)
        world.clock.now += step.way
        if step.fate is Fate.OVERTAKEN:
            world.turn()
        elif step.fate is Fate.LATE:
            world.late.append(ask)
        elif step.fate is Fate.UNANSWERED:
            ask()
        if step.fate in {Fate.LOST, Fate.UNANSWERED, Fate.LATE}:
            raise LimitsAway
        grant = ask()
        world.clock.now += step.back
        return grant


class World:
    """Plays the steps, and writes down which calls were let through."""

    def __init__(self, clock: Clock, rate: Rate, steps: Iterable[Step] = ()) -> None:
        self.clock = clock
        self.store = ModelStore(lambda: clock.microseconds)
        self.current: dict[int, Step] = {}
        self.late: list[Callable[[], Grant]] = []
        self.passed: list[Passed] = []
        self._rate = rate
        self._steps = deque(steps)
        self._limiters = [RateLimiter(Way(self, number)) for number in range(WORKERS)]

    def play(self) -> None:
        while self._steps:
            self.turn()

    def turn(self) -> None:
        """The next step, unless its worker is in the middle of another one."""
        if not self._steps:
            return
        step = self._steps.popleft()
        if step.worker in self.current:
            return
        self.clock.now += step.pause
        late, self.late = self.late, []
        self.current[step.worker] = step
        calls = 0
        while calls < step.calls and self._call(step):
            self.clock.now += step.think
            calls += 1
        del self.current[step.worker]
        for ask in late:
            ask()

    def _call(self, step: Step) -> bool:
        before = self.clock.now
        with suppress(LimitsAway):
            if self._limiters[step.worker].take(KEY, self._rate).allowed:
                self.passed.append((before, self.clock.now))
                return True
        return False
