"""limit: which of several limits answers, and what is charged, also while the store is away."""

from collections.abc import Mapping
from math import inf
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import GetPageRequest, Page

from server import app
from server.kernel.call import Principal
from server.kernel.guard.applied_limits import DEFAULT, TENANT, LimitStandings
from server.kernel.guard.limits import Grant, LimitsAway, RateLimiter
from server.kernel.problems import RateLimited, Unavailable
from server.kernel.rates import Rate
from server.kernel.steps.limit import Counts, Limit
from server.settings import Settings
from tests.kernel.calls import GET, call

# So few that each call is asked for by itself.
RATES = {DEFAULT: Rate(1, 60.0), TENANT: Rate(2, 3600.0)}
USER = Principal("user-1", "session-1", "tenant-1", (), is_platform=False, expires_at=inf)


class Store:
    """Calls that are left, by the class that a key begins with. It is away for the classes of `away`."""

    def __init__(self, **left: int) -> None:
        self.left = left
        self.away: set[str] = set()

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        del since
        rate_class = key.partition(":")[0]
        if rate_class in self.away:
            raise LimitsAway
        given = min(want, self.left[rate_class])
        self.left[rate_class] += unspent - given
        wait = 0.0 if self.left[rate_class] or given else rate.interval
        return Grant(given, self.left[rate_class], wait, rate.period, 1)


class OwnRates:
    """No tenant has rates of its own."""

    def of(self, tenant_id: str) -> Mapping[str, Rate]:
        del tenant_id
        return {}


class World:
    """The step in front of a store."""

    def __init__(self, store: Store, *strict: str) -> None:
        self.step = Limit(RateLimiter(store), RATES, OwnRates(), strict)
        self._get = self.step.unary(GET, self._handle)

    def call(self) -> None:
        """One call of the user."""
        one = call(GET)
        one.principal = USER
        self._get(one, GetPageRequest())

    def refused(self) -> RateLimited:
        """One that is refused."""
        with pytest.raises(RateLimited) as caught:
            self.call()
        return caught.value

    @staticmethod
    def _handle(*_: Any) -> Message:
        return Page()


def test_of_limits_that_are_used_up_the_one_that_lasts_longest_answers() -> None:
    """Who waits as long as told is let through."""
    world = World(Store(default=0, tenant=0))
    why = world.refused()
    assert (why.metadata["rate_class"], why.metadata["scope"]) == (TENANT, TENANT)
    assert why.retry_after is not None
    assert why.retry_after >= RATES[TENANT].interval
    assert world.step.counts == {DEFAULT: Counts(), TENANT: Counts(refused=1)}


def test_a_limit_that_would_let_through_does_not_answer() -> None:
    store = Store(default=0, tenant=2)
    world = World(store)
    why = world.refused()
    assert (why.metadata["rate_class"], why.metadata["scope"]) == (DEFAULT, "user")
    assert store.left == {DEFAULT: 0, TENANT: 2}


def test_a_call_that_one_limit_refuses_is_charged_to_none() -> None:
    store = Store(default=1, tenant=0)
    assert World(store).refused().metadata["rate_class"] == TENANT
    assert store.left == {DEFAULT: 1, TENANT: 0}


def test_a_refusal_stands_when_the_store_goes_away_after_it() -> None:
    store = Store(default=0, tenant=0)
    store.away = {TENANT}
    world = World(store)
    assert world.refused().metadata["rate_class"] == DEFAULT
    assert world.step.counts == {DEFAULT: Counts(refused=1), TENANT: Counts(unchecked=1)}


def test_a_strict_class_refuses_while_the_store_is_away() -> None:
    store = Store(default=0, tenant=0)
    store.away = {TENANT}
    world = World(store, TENANT)
    with pytest.raises(Unavailable):
        world.call()
    assert world.step.counts[TENANT] == Counts(unavailable=1)


def test_standings_tell_what_is_left_and_which_limits_nobody_can_tell_of() -> None:
    store = Store(default=1, tenant=2)
    standings = LimitStandings(RateLimiter(store), RATES, OwnRates(), strict=[TENANT])

    def read() -> list[tuple[str, int | None, bool]]:
        found = standings.of_known(GET, USER)
        return [(one.scope, one.verdict.remaining if one.verdict else None, one.is_strict) for one in found]

    assert read() == [("user", 1, False), ("tenant", 2, True)]
    store.away = {DEFAULT}
    assert read() == [("user", None, False), ("tenant", 2, True)]
    assert (store.left["default"], store.left["tenant"]) == (1, 2)


def test_a_deployment_without_limits_has_no_standings() -> None:
    assert app.build(Settings(rate_limits_enabled=False), "test", streams=False).guard.limit_standings is None
    assert app.build(Settings(), "test", streams=False).guard.limit_standings is not None
