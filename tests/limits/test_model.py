"""What limits promise, in a world without chance: any order of workers, any delay, any loss."""

from collections.abc import Iterator
from itertools import cycle
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.kernel.limits import Rate, RateLimiter
from tests.limits.model import Clock, ModelStore, excess, hand_turned_clock
from tests.limits.obedient import KEY, ObedientClient
from tests.limits.world import WORKERS, Fate, Step, World

# Few calls and many, leased and not, short periods and long ones; some whose interval is no whole microsecond.
RATES = tuple(map(Rate.parse, ("600/1", "400/60", "300/0.7", "50/2", "5/900")))
LEASED = tuple(map(Rate.parse, ("1000/60", "150/60", "20000/60", "5000/900")))
# Counting in floats is off by less than this.
ROUNDING = 0.001


some_workers = st.lists(st.integers(0, WORKERS - 1), min_size=1, max_size=WORKERS)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Rate, list[Step]]:
    """A rate, and what workers do with it, again and again: call often, rest, call a little, and take all that is left.

    The rest fills the bucket. What is leased by little calls, and then lies about while the store gains new ones or is
    emptied by others, is what could let a key exceed its limit.
    """
    rate = draw(st.sampled_from(RATES))
    unit = rate.lease_time or rate.interval
    moments = st.sampled_from((0.0, 0.1 * unit, 0.9 * unit, 1.1 * unit, 4 * unit))

    def turn(worker: int, calls: int, *, pause: float = 0.0) -> Step:
        think = draw(st.sampled_from((0.0, 0.0, unit / 100)))
        fate = draw(st.sampled_from((Fate.ANSWERED, *Fate)))
        return Step(worker, pause, calls, think, draw(moments), draw(moments), fate)

    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 2))):
        steps += [turn(worker, rate.calls // 4) for worker in draw(some_workers)]
        steps += [turn(worker, draw(st.integers(1, 3))) for worker in draw(some_workers)]
        steps[-1] = replace(steps[-1], pause=1.1 * rate.period)
        steps += [turn(worker, 1, pause=draw(moments)) for worker in draw(some_workers)]
        steps += [turn(worker, 2 * rate.calls) for worker in draw(st.permutations(range(WORKERS)))]
        steps[-WORKERS] = replace(steps[-WORKERS], pause=draw(moments))
    return rate, steps


def scene(*steps: tuple[float, int, int, float, Fate, float]) -> tuple[Rate, list[Step]]:
    """The same at 600 calls per second, whose leases last 10 ms: pause, worker, calls, way, fate and way back."""
    return Rate(600, 1.0), [Step(worker, pause, calls, 0.0, way, back, fate) for pause, worker, calls, way, fate, back in steps]


# 61 calls make the next lease one of 30.
GROWN = (0.0, 0, 61, 0.0, Fate.ANSWERED, 0.0)


@settings(max_examples=100, deadline=None, phases=UNSHRUNK)
@given(scenes())
@example(scene(GROWN, (2, 0, 1, 0, DONE, 0), (0.009, 1, 9999, 0, DONE, 0), (0, 0, 9999, 0, DONE, 0)))
@example(scene(GROWN, (2, 0, 1, 0, DONE, 0.04), (0.009, 1, 9999, 0, DONE, 0), (0, 0, 9999, 0, DONE, 0)))
@example(scene(GROWN, (2, 0, 1, 0, DONE, 0), (0.011, 0, 1, 0.04, Fate.OVERTAKEN, 0), (0, 1, 9999, 0, DONE, 0)))
def test_no_window_holds_more_than_burst_and_rate(scene: tuple[Rate, list[Step]]) -> None:
    rate, steps = scene
    with hand_turned_clock() as clock:
        world = World(clock, rate, steps)
        world.play()
    assert excess(rate, world.passed) < ROUNDING
