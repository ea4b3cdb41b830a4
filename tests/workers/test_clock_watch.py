"""Who measures PostgreSQL's clock, and tells of a host's that is off."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from server.data.clock import SharedClock
from server.faults import Ailing
from server.kernel.record.metrics import CLOCK_SKEW
from server.workers.clock_watch import INTERVAL, MOST_SKEW, NEXT_WORD, ClockWatch

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Answer:
    """What a statement that tells the time answers."""

    def value(self) -> datetime:
        return EPOCH


class World:
    """A host whose clock is off by so much."""

    def __init__(self, skew: float) -> None:
        self.now, self.asked, self.skew = 0.0, 0, skew
        clock = SharedClock(own=lambda: 0.0, host=lambda: EPOCH.timestamp() + self.skew)
        self.watch = ClockWatch(self._run, "test", clock=clock, seconds=lambda: self.now)
        self.fails = False

    def _run(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        if self.fails:
            raise psycopg.OperationalError("away")
        return Answer()


def skew_shown() -> float:
    return float(CLOCK_SKEW.labels("test")._value.get())  # noqa: SLF001 - nothing else tells


@pytest.mark.parametrize("skew", [MOST_SKEW - 0.1, 0.0, -MOST_SKEW + 0.1])
def test_a_clock_that_is_about_right_is_no_news(skew: float, caplog: pytest.LogCaptureFixture) -> None:
    world = World(skew)
    world.watch.ask()
    assert not caplog.records
    assert skew_shown() == pytest.approx(skew)


@pytest.mark.parametrize(("skew", "words"), [(60.0, "60.0 s ahead of"), (-3600.0, "3600.0 s behind")])
def test_a_clock_that_is_off_is_told_of_but_not_again_and_again(
    skew: float, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(skew)
    caplog.set_level(logging.WARNING)
    for _ in range(10):
        with pytest.raises(Ailing, match=words):
            world.watch.ask()
        world.now += INTERVAL
    assert len(caplog.records) == 1
    assert words in caplog.records[0].getMessage()
    assert skew_shown() == pytest.approx(skew)
    world.now += NEXT_WORD
    with pytest.raises(Ailing):
        world.watch.ask()
    assert len(caplog.records) == 2


def test_it_measures_now_and_then_and_leaves_an_outage_to_others() -> None:
    world = World(0.0)
    for _ in range(3):
        world.watch.ask()
    assert world.asked == 1
    world.now += INTERVAL
    world.fails = True
    world.watch.ask()
    assert world.asked == 2


def test_a_clock_that_is_set_right_is_well_at_once() -> None:
    world = World(60.0)
    with pytest.raises(Ailing):
        world.watch.ask()
    world.skew = 0.0
    world.watch.ask()


def test_a_measurement_is_a_moment_of_the_database() -> None:
    world = World(float(timedelta(hours=1).total_seconds()))
    world.watch.look()
    assert skew_shown() == pytest.approx(3600)
