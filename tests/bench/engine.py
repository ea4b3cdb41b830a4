"""Measures two sides in turn, and keeps the ratio of each pair of neighbours."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from tests.bench.clocks import Clock
from tests.bench.load import Load

SERVER = "server"
# After a load, for what a process still does for the last requests.
SETTLE = 0.05
FIRST_REQUESTS = 400
WARM_UP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two that are compared."""

    name: str
    load: Load
    clocks: Mapping[str, Clock]
    """CPU time of what works for it: `server`, and told apart `envoy`, `postgres`, `redis` and `others`."""
    pid: int = 0
    """Process id of the server, for a profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one round of a side took."""

    requests: int
    seconds: float
    latency: float
    cpu: Mapping[str, float]

    @property
    def server_us(self) -> float:
        """Server CPU time per request in microseconds."""
        return self.cpu[SERVER] / self.requests * 1e6

    @property
    def whole_us(self) -> float:
        """CPU time of all processes per request in microseconds."""
        return sum(self.cpu.values()) / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests per second of the whole machine."""
        return self.requests / self.seconds


Ratio = Callable[[Sample, Sample], float]


def per_core(subject: Sample, baseline: Sample) -> float:
    """Tell how requests per CPU second of the server compare, Plinth's to the baseline's."""
    return baseline.server_us / subject.server_us


def latencies(subject: Sample, baseline: Sample) -> float:
    """Tell how the latencies compare."""
    return subject.latency / baseline.latency


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio should be."""

    bound: float
    at_least: bool = True

    def met_by(self, ratio: float) -> bool:
        """Whether a ratio is good enough."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the report."""

    name: str
    title: str
    goal: Goal
    subject: Side
    baseline: Side
    ratio: Ratio = per_core
    calls: int | None = None
    """Requests per round; None: as many as the time of a round has room for."""
    more_rounds: int = 1
    """Factor on the number of rounds, for short ones."""
    machine: Goal | None = None
    """What the ratio of requests per second should be, of the whole machine."""
    note: str = ""
    """What else the report should tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case with what was measured."""

    case: Case
    ratios: tuple[float, ...]
    subject: tuple[Sample, ...]
    baseline: tuple[Sample, ...]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return median(self.ratios)

    @property
    def passed(self) -> bool:
        """Whether the goal is met."""
        return self.case.goal.met_by(self.ratio)

    @property
    def machine_ratios(self) -> tuple[float, ...]:
        """How requests per second of the whole machine compare, by round."""
        return tuple(ours.rate / theirs.rate for ours, theirs in zip(self.subject, self.baseline, strict=True))

    @property
    def whole_us(self) -> float:
        """CPU time of all processes per request of Plinth, the median of the rounds."""
        return median(sample.whole_us for sample in self.subject)


def run(case: Case, rounds: int, seconds: float) -> Result:
    """Measure subject, baseline, subject, baseline ... and compare each with its neighbour."""
    sides = (case.subject, case.baseline)
    counts = [case.calls or calibrate(side, seconds) for side in sides]
    pairs = []
    for _ in range(rounds * case.more_rounds):
        subject, baseline = (sample(side, count) for side, count in zip(sides, counts, strict=True))
        pairs.append((subject, baseline))
    return Result(
        case=case,
        ratios=tuple(case.ratio(subject, baseline) for subject, baseline in pairs),
        subject=tuple(subject for subject, _ in pairs),
        baseline=tuple(baseline for _, baseline in pairs),
    )


def calibrate(side: Side, seconds: float) -> int:
    """Warm a side up; answer how many requests take about that long."""
    first = side.load(FIRST_REQUESTS)
    warm = max(FIRST_REQUESTS, int(FIRST_REQUESTS / first.seconds * WARM_UP))
    return max(FIRST_REQUESTS, int(warm / side.load(warm).seconds * seconds))


def sample(side: Side, count: int) -> Sample:
    """Put a side under its load once."""
    before = {name: clock() for name, clock in side.clocks.items()}
    ran = side.load(count)
    time.sleep(SETTLE)
    cpu = {name: clock() - before[name] for name, clock in side.clocks.items()}
    return Sample(requests=count, seconds=ran.seconds, latency=ran.latency, cpu=cpu)
