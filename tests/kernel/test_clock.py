"""PostgreSQL's clock as a process measures it."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.data.clock import SharedClock, shared
from server.data.connections import PipelineConnection
from server.kernel.clock import utc_now
from tests.clients import rows
from tests.stack import Stack

EPOCH = 1_800_000_000.0
TRIPS = st.floats(0.0005, 30)


class World:
    """A host and PostgreSQL, both of whose clocks are turned by hand."""

    def __init__(self, skew: float = 0.0) -> None:
        self.now = 0.0
        self.skew = skew
        self.set_by = 0.0
        self.clock = SharedClock(own=lambda: 77.0 + self.now, host=lambda: EPOCH + self.now + self.skew)

    @property
    def truth(self) -> float:
        """What PostgreSQL's clock says."""
        return EPOCH + self.now + self.set_by

    def measure(self, there: float, back: float) -> None:
        """One question: so many seconds to PostgreSQL, and so many for the answer."""
        sent = self.clock.begin()
        self.now += there
        moment = datetime.fromtimestamp(self.truth, UTC)
        self.now += back
        self.clock.learn(sent, moment)

    @property
    def error(self) -> float:
        return abs(self.clock.seconds() - self.truth)


def test_before_it_is_measured_it_is_the_hosts() -> None:
    world = World(skew=60)
    assert world.clock.seconds() == pytest.approx(EPOCH + 60)


@given(skew=st.floats(-3600, 3600), trips=st.lists(st.tuples(TRIPS, TRIPS), min_size=1, max_size=10))
def test_it_is_off_by_half_the_shortest_round_trip_at_most(skew: float, trips: list[tuple[float, float]]) -> None:
    world = World(skew)
    for there, back in trips:
        world.measure(there, back)
        world.now += 5
    # What each answer allowed narrows it down: never further than the first allowed, nor than the best.
    assert world.error <= min(max(trip) for trip in trips) + 1e-4
    assert world.clock.skew == pytest.approx(skew, abs=max(max(trip) for trip in trips) + 1e-4)


def test_a_host_whose_clock_is_set_meanwhile_goes_on_as_before() -> None:
    world = World()
    world.measure(0.001, 0.001)
    for skew in (3600, -3600):
        world.skew = skew
        assert world.error < 0.01
        assert world.clock.skew == pytest.approx(skew, abs=0.01)


def test_another_server_that_takes_over_is_followed() -> None:
    world = World()
    world.measure(0.001, 0.001)
    world.set_by = -40
    world.measure(0.001, 0.001)
    assert world.error < 0.01


def test_a_process_that_was_just_forked_knows_only_the_hosts() -> None:
    world = World(skew=60)
    world.measure(0.001, 0.001)
    world.clock.forget()
    assert world.clock.seconds() == pytest.approx(EPOCH + world.now + 60)


def test_a_connection_measures(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_host", lambda: EPOCH)
    shared.forget()
    try:
        with closing(PipelineConnection.connect(stack.settings.runtime_dsn, autocommit=True)) as connection:
            connection.start()
        (row,) = rows(stack, "SELECT clock_timestamp() AS now")
        assert abs(utc_now() - row["now"]) < timedelta(seconds=30)
    finally:
        monkeypatch.undo()
        shared.forget()
