"""What the bench concludes from what it measures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from server.settings import Settings
from tests.bench.cases import prove_cache
from tests.bench.engine import Case, Goal, Result, Sample, Side, latencies, per_core, run
from tests.bench.load import Ran, WrongAnswerError, one_by_one, read_h2load
from tests.bench.profiling import top
from tests.bench.report import table
from tests.bench.subject import CACHED, UNCACHED, UNLIMITED, Variant

H2LOAD = """
finished in 512.50ms, 195.12 req/s, 20.00KB/s
requests: 100 total, 100 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 30.00KB (30720) total, 4.00KB (4096) headers (space savings 90.00%), 4.88KB ({data}) data
"""


@contextmanager
def replaced(pages: list[str]) -> Iterator[None]:
    """Other contents of a table for a while."""
    kept, pages[:] = pages[:], ["another"]
    yield
    pages[:] = kept


def a_side(name: str, us: float, seconds: float = 1e-3) -> Side:
    """A side whose requests take so many microseconds of CPU time."""
    spent = 0.0

    def load(requests: int) -> Ran:
        nonlocal spent
        spent += requests * us / 1e6
        return Ran(requests * seconds, seconds)

    return Side(name=name, load=load, clocks={"server": lambda: spent})


def a_result(ours: float, theirs: float, goal: Goal) -> Result:
    case = Case(name="x", title="X", goal=goal, subject=a_side("a", ours), baseline=a_side("b", theirs), calls=10)
    return run(case, 3, 1.0)


def test_throughput_per_core_is_the_inverse_of_cpu_time() -> None:
    result = a_result(100, 250, Goal(2.0))
    assert result.ratios == pytest.approx((2.5, 2.5, 2.5))
    assert result.passed
    assert not a_result(250, 100, Goal(0.5)).passed


def test_latencies_are_compared_the_other_way_round() -> None:
    ours, theirs = (Sample(requests=1, seconds=1, latency=value, cpu={"server": 1}) for value in (0.003, 0.002))
    assert latencies(ours, theirs) == pytest.approx(1.5)
    assert per_core(ours, theirs) == 1
    assert not Goal(1.3, at_least=False).met_by(1.5)


def test_sides_take_turns() -> None:
    turns: list[str] = []

    def side(name: str) -> Side:
        def load(_: int) -> Ran:
            turns.append(name)
            return Ran(1, 1)

        return Side(name=name, load=load, clocks={"server": clock()})

    def clock() -> Callable[[], float]:
        ticks: Iterator[int] = count(1)
        return lambda: float(next(ticks))

    run(Case(name="x", title="X", goal=Goal(1), subject=side("a"), baseline=side("b"), calls=1), 2, 1.0)
    assert turns == ["a", "b", "a", "b"]


def test_h2load_is_believed_when_every_answer_has_its_bytes() -> None:
    assert read_h2load(H2LOAD.format(good=100, bad=0, data=5000), 100, 50).seconds == pytest.approx(0.5125)


@pytest.mark.parametrize(("good", "bad", "data"), [(99, 1, 5000), (100, 0, 4950)])
def test_a_wrong_answer_under_load_ends_the_bench(good: int, bad: int, data: int) -> None:
    with pytest.raises(WrongAnswerError):
        read_h2load(H2LOAD.format(good=good, bad=bad, data=data), 100, 50)


def test_a_wrong_answer_of_a_single_call_ends_it_too() -> None:
    with pytest.raises(WrongAnswerError):
        one_by_one(lambda: "wrong", "right".__eq__)(1)


@pytest.mark.parametrize("cached", [True, False])
def test_a_cache_is_believed_when_it_does_not_see_what_changed_behind_it(cached: bool) -> None:  # noqa: FBT001 - a fact of the table
    pages = ["a page"]
    held = pages[0]

    def read() -> str:
        return held if cached else pages[0]

    prove_cache(read, replaced(pages), cached=cached)
    with pytest.raises(WrongAnswerError):
        prove_cache(read, replaced(pages), cached=not cached)
    assert pages == ["a page"]


@pytest.mark.parametrize("variant", [CACHED, UNCACHED, UNLIMITED])
def test_each_variant_is_made_of_settings_that_there_are(variant: Variant) -> None:
    assert variant.settings.keys() <= Settings.model_fields.keys()
    settings = Settings(**variant.settings)
    assert (settings.cache_enabled, settings.rate_limits_enabled) == (variant.cached, variant.limited)


def test_the_table_marks_what_falls_short() -> None:
    text = table([a_result(100, 250, Goal(2.0)), a_result(100, 50, Goal(2.0))])
    assert ">= 2.00  2.50   2.50..2.50  pass" in text
    assert "FALLS SHORT" in text
    assert "100 / 250" in text


def test_the_whole_machine_has_figures_and_goals_of_its_own() -> None:
    case = Case(
        name="create",
        title="X",
        goal=Goal(1.0),
        machine=Goal(2.0),
        subject=a_side("a", 300, seconds=1e-3),
        baseline=a_side("b", 300, seconds=3e-3),
        calls=10,
    )
    read = Case(name="get-rest", title="R", goal=Goal(1), subject=a_side("a", 100), baseline=a_side("b", 1), calls=10)
    result = run(case, 3, 1.0)
    assert result.machine_ratios == pytest.approx((3.0, 3.0, 3.0))
    assert result.whole_us == pytest.approx(300)
    text = table([result, run(read, 3, 1.0)])
    assert "whole machine: X" in text
    assert ">= 2.00  3.00   3.00..3.00  pass" in text
    assert "<= 1.70  3.00   3.00..3.00  FALLS SHORT" in text


def test_a_profile_lists_functions_by_their_own_time_and_with_what_they_call() -> None:
    listing = top("main;work;inner 3\nmain;work 1\n", 2.0, "title")
    itself, whole = listing.split("with what it calls")
    assert "75.0%    6.0  inner" in itself
    assert "100.0%    8.0  work" in whole
