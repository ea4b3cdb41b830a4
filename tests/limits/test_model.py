"""What limits promise, in a world without chance: any order of workers, any delay, any loss."""

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from server.kernel.limits import Rate, RateLimiter
from tests.limits.model import ModelStore, excess, hand_turned_clock
from tests.limits.obedient import ObedientClient
from tests.limits.world import WORKERS, Fate, Step, World

# Counting in floats is off by less than this.
ROUNDING = 0.001
# Shrinking a scene takes longer than a test may.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)

some_workers = st.lists(st.integers(0, WORKERS - 1), min_size=1, max_size=WORKERS)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Rate, list[Step]]:
    """A rate, and what workers do with it, again and again: call often, rest, call a little, and take all that is left.

    The rest fills the bucket. What is leased by little calls, and then lies about while the store gains new ones or is
    emptied by others, is what could let a key exceed its limit.
    """
    rate = draw(st.sampled_from([Rate(600, 1), Rate(400, 60), Rate(300, 0.7), Rate(50, 2), Rate(5, 900)]))
    unit = rate.lease_time or rate.interval
    moments = st.sampled_from((0.0, 0.1 * unit, 0.9 * unit, 1.1 * unit, 4 * unit))

    def turn(worker: int, calls: int, pause: float = 0.0) -> Step:
        think = draw(st.sampled_from((0.0, 0.0, unit / 100)))
        fate = draw(st.sampled_from((Fate.ANSWERED, *Fate)))
        return Step(worker, calls, pause, think, draw(moments), draw(moments), fate)

    steps = []
    for _ in range(draw(st.integers(1, 2))):
        first, *others = draw(st.permutations(range(WORKERS)))
        steps += [turn(worker, rate.calls // 4) for worker in draw(some_workers)]
        steps += [turn(first, 1, 1.1 * rate.period)]
        steps += [turn(worker, draw(st.integers(1, 3)), draw(moments)) for worker in draw(some_workers)]
        steps += [turn(worker, 2 * rate.calls) for worker in (*others, first)]
    return rate, steps


def scene(*steps: Step) -> tuple[Rate, list[Step]]:
    """One at 600 calls per second, whose leases last 10 ms; before it worker 0 calls until it gets leases of 30."""
    return Rate(600, 1), [Step(0, 61), *steps]


# A lease is spent at its end, when others have taken what was gained since; after a long way back; when what is given
# back is overtaken by others who take all; and when it arrives long after it was given up.
AT_THE_END = scene(Step(0, 1, pause=2.0), Step(1, 999, pause=0.0099), Step(0, 999))
AFTER_A_LONG_WAY = scene(Step(0, 1, pause=2.0, back=0.04), Step(1, 999), Step(0, 999))
OVERTAKEN = scene(Step(0, 1, pause=2.0), Step(0, 1, pause=0.0101, way=0.04, fate=Fate.OVERTAKEN), Step(1, 999))
GIVEN_UP = scene(
    Step(0, 1, pause=2.0), Step(0, 1, pause=0.0101, fate=Fate.LATE), Step(1, 999, pause=0.04), Step(2, 999)
)


@settings(max_examples=100, deadline=None, phases=PHASES)
@given(scenes())
@example(AT_THE_END)
@example(AFTER_A_LONG_WAY)
@example(OVERTAKEN)
@example(GIVEN_UP)
def test_no_window_holds_more_than_burst_and_rate(played: tuple[Rate, list[Step]]) -> None:
    rate, steps = played
    with hand_turned_clock() as clock:
        world = World(clock, rate, steps)
        world.play()
    assert excess(rate, world.passed) < ROUNDING


@pytest.mark.parametrize("too_many", [0, 1])
def test_the_check_tells_one_call_too_many(too_many: int) -> None:
    rate = Rate(10, 5)
    burst = [(0.0, 0.0)] * 10
    gained = [(2.0 * number, 2.0 * number) for number in range(1, 5)] * 4
    assert excess(rate, burst + gained + [(9.0, 9.0)] * (2 + too_many)) == pytest.approx(too_many)
    assert excess(rate, [(1.0, 8.0)] * (24 + too_many)) == pytest.approx(too_many)


Route = Callable[[list[RateLimiter]], Iterator[RateLimiter]]


def obeyed(rate: Rate, think: float, route: Route) -> ObedientClient:
    """A client that thinks after each call, after it has used up everything four times."""
    with hand_turned_clock() as clock:
        store = ModelStore(lambda: clock.microseconds)

        def wait(seconds: float) -> None:
            clock.now += seconds

        def turns() -> Iterator[RateLimiter]:
            for worker in route([RateLimiter(store) for _ in range(WORKERS)]):
                yield worker
                wait(think)

        client = ObedientClient(rate, turns(), clock, wait)
        client.use_up(3)
    return client


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Rate(1000, 60), Rate(150, 60), Rate(600, 1), Rate(2000, 900), Rate(60, 60), Rate(5, 900)]),
    st.floats(0, 0.8),
)
def test_who_obeys_gets_its_quota_and_no_refusal(rate: Rate, pace: float) -> None:
    client = obeyed(rate, pace * rate.interval, cycle)
    assert client.refused == 0
    assert client.share >= 0.95


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Rate(1000, 60), Rate(150, 60), Rate(600, 1), Rate(2000, 900)]),
    st.floats(0.1, 0.8),
    st.lists(st.integers(0, WORKERS - 1), min_size=1, max_size=200),
)
def test_so_it_is_whoever_gets_its_calls(rate: Rate, pace: float, order: list[int]) -> None:
    client = obeyed(rate, pace * rate.interval, lambda workers: cycle(workers[number] for number in order))
    assert client.refused == 0
    assert client.share >= 0.95
