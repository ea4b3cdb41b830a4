"""What limits promise, in a world without chance: any order of workers, any delay, any loss."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from random import Random

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from server.kernel.guard.limits import Grant, RateLimiter
from server.kernel.rates import Rate
from tests.limits.model import EPOCH, MICROSECONDS, Clock, ModelStore, excess, hand_turned_clock
from tests.limits.obedient import KEY, ObedientClient
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


@settings(max_examples=40, deadline=None, phases=PHASES)
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


def test_calls_are_charged_in_full_though_the_store_counts_whole_microseconds() -> None:
    store, rate = ModelStore(lambda: EPOCH), Rate(750_000, 1)
    for _ in range(200):
        grant = store.lease(KEY, rate, 1, 0, 0)
    assert grant.reset_after >= 200 * rate.interval


LEASED = (Rate(1000, 60), Rate(150, 60), Rate(600, 1), Rate(2000, 900))
Route = Callable[[list[RateLimiter]], Iterator[RateLimiter]]


def obeyed(rate: Rate, think: float, route: Route) -> ObedientClient:
    """A client that thinks after each call, after it has used up everything three times."""
    with hand_turned_clock() as clock:
        store = ModelStore(lambda: clock.microseconds)

        def wait(seconds: float) -> None:
            clock.now += seconds

        turns = route([RateLimiter(store) for _ in range(WORKERS)])
        client = ObedientClient(rate, turns, clock, wait, think=think)
        client.use_up(3)
    return client


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([*LEASED, Rate(60, 60), Rate(5, 900)]), st.floats(0, 0.8))
def test_who_obeys_gets_its_quota_and_no_refusal(rate: Rate, pace: float) -> None:
    client = obeyed(rate, pace * rate.interval, cycle)
    assert client.refused == 0
    assert client.share >= 0.95


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(LEASED), st.floats(0.1, 0.8), st.randoms(use_true_random=True))
def test_so_it_is_when_chance_decides_who_gets_its_calls(rate: Rate, pace: float, chance: Random) -> None:
    client = obeyed(rate, pace * rate.interval, lambda workers: iter(partial(chance.choice, workers), None))
    assert client.refused == 0
    assert client.share >= 0.95


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(LEASED), st.floats(0.1, 0.8), st.lists(st.integers(0, WORKERS - 1), min_size=1, max_size=200))
def test_nobody_who_obeys_is_refused_in_whatever_order(rate: Rate, pace: float, order: list[int]) -> None:
    client = obeyed(rate, pace * rate.interval, lambda workers: cycle(workers[number] for number in order))
    assert client.refused == 0


class Slow:
    """A store that is some way off; the delays are seconds there and back, in turns."""

    def __init__(self, store: ModelStore, clock: Clock, delays: Iterator[float]) -> None:
        self._store = store
        self._clock = clock
        self._delays = delays

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        self._clock.now += next(self._delays)
        grant = self._store.lease(key, rate, want, unspent, since)
        self._clock.now += next(self._delays)
        return grant


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([Rate(1000, 60), Rate(50, 2), Rate(5, 900)]),
    st.lists(st.integers(0, 30), min_size=1, max_size=7),
    st.lists(st.tuples(st.integers(0, WORKERS - 1), st.booleans()), min_size=5, max_size=40),
)
# The store is long in being asked, and long in answering one worker while another one has it from there at once.
@example(Rate(50, 2), [30, 0, 0, 0], [(0, True), (0, False)])
@example(Rate(50, 2), [0, 30, 0, 0], [(0, False), (1, True), (0, False)])
def test_who_waits_as_long_as_a_refusal_says_is_let_through(
    rate: Rate, hundredths: list[int], turns: list[tuple[int, bool]]
) -> None:
    with hand_turned_clock() as clock:
        store = ModelStore(lambda: clock.microseconds)
        while store.lease(KEY, rate, rate.calls, 0, 0).calls:
            """Others take all there is."""
        delays = cycle(share * rate.interval / 100 for share in hundredths)
        workers = [RateLimiter(Slow(store, clock, delays)) for _ in range(WORKERS)]
        waited = False
        for worker, obeys in turns:
            verdict = workers[worker].take(KEY, rate)
            assert verdict.allowed or not waited
            waited = obeys and not verdict.allowed
            # Clocks differ by less than a microsecond.
            clock.now += verdict.retry_after + 1 / MICROSECONDS if waited else rate.interval / 20
