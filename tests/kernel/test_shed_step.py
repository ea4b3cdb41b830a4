"""shed: who is refused while calls wait for threads. What callers see of it is in tests/guard/test_shedding.py."""

from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import replace
from threading import Event

import pytest
from plinth.sites.v1.page_pb2 import GetPageRequest, Page

from server.kernel.call import Call
from server.kernel.chain import Unary
from server.kernel.guard.pools import CallThreads
from server.kernel.policy import Criticality
from server.kernel.problems import Cancelled, DeadlineExceeded, Overloaded, Problem
from server.kernel.steps.shed import RETRY_AFTER, Shed
from tests.kernel.calls import GET, Context
from tests.stack import PATIENCE

BOUNDS = {Criticality.SHEDDABLE: 1, Criticality.NORMAL: 2, Criticality.CRITICAL: 3}


class Caller(Context):
    """A caller who may have gone, or wait no longer."""

    def __init__(self, *, active: bool = True, left: float | None = None) -> None:
        super().__init__()
        self._active = active
        self._left = left

    def is_active(self) -> bool:
        return self._active

    def time_remaining(self) -> float | None:
        return self._left


class Crowd:
    """One thread that works, and calls that wait for it."""

    def __init__(self) -> None:
        self.threads = CallThreads(1)
        self.step = Shed(self.threads, self.threads, BOUNDS)
        self._begun, self._end = Event(), Event()
        self._calls = [self.threads.submit(self._work)]
        assert self._begun.wait(PATIENCE)

    def _work(self) -> None:
        self._begun.set()
        self._end.wait()

    def grow(self, waiting: int) -> None:
        """Let so many wait."""
        while self.threads.waiting < waiting:
            self._calls.append(self.threads.submit(self._end.wait))

    def get(self, criticality: Criticality = Criticality.NORMAL) -> Unary:
        """An RPC of this criticality."""
        return self.step.unary(replace(GET, criticality=criticality), lambda *_: Page())

    def disperse(self) -> None:
        """Let all of them go."""
        self._end.set()
        wait(self._calls)
        self.threads.shutdown()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.disperse()


def outcome(get: Unary, caller: Context) -> type[Problem] | None:
    """What a call is refused with, or nothing."""
    try:
        get(Call(GET, caller), GetPageRequest())
    except Problem as problem:
        return type(problem)
    return None


def test_the_least_critical_are_refused_first(crowd: Crowd) -> None:
    for waiting in range(5):
        crowd.grow(waiting)
        refused = {kind for kind in Criticality if outcome(crowd.get(kind), Caller()) is Overloaded}
        assert refused == {kind for kind, bound in BOUNDS.items() if waiting > bound}
    assert crowd.step.refused == 6
    with pytest.raises(Overloaded) as caught:
        crowd.get()(Call(GET, Caller()), GetPageRequest())
    assert caught.value.retry_after == RETRY_AFTER


@pytest.mark.parametrize(
    ("caller", "refusal"),
    [
        (Caller(active=False), Cancelled),
        (Caller(left=0.0), DeadlineExceeded),
        (Caller(left=-1.0), DeadlineExceeded),
        (Caller(left=5.0), None),
        (Caller(), None),
    ],
    ids=["gone", "late", "very late", "in time", "without a deadline"],
)
def test_a_call_that_nobody_waits_for_is_not_begun_while_others_wait(
    crowd: Crowd, caller: Caller, refusal: type[Problem] | None
) -> None:
    assert outcome(crowd.get(), caller) is None
    crowd.grow(1)
    assert outcome(crowd.get(), caller) is refusal
    assert crowd.step.refused == 0
