"""The part of limits that is in each worker."""

import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest
import redis

from server.adapters.breaker import REST, Breaker
from server.adapters.limits import RedisLimits
from server.kernel.guard import limits
from server.kernel.guard.limits import DEFAULT_RATES, MARGIN, Grant, LimitsAway, RateLimiter
from server.kernel.rates import Rate
from tests.limits.model import Clock, hand_turned_clock

LEASED = Rate(1000, 60)
SINGLE = Rate(5, 900)
THREADS = 8


class Store:
    """Answers what it is told to, and remembers what it was asked for."""

    def __init__(self, *grants: Grant | type[LimitsAway]) -> None:
        self.grants = list(grants)
        self.asked: list[tuple[str, int, int, int]] = []

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        del rate
        self.asked.append((key, want, unspent, since))
        grant = self.grants.pop(0)
        if not isinstance(grant, Grant):
            raise grant
        return grant


def granted(calls: int, remaining: int = 100, *, at: int = 0) -> Grant:
    """Calls that were leased."""
    return Grant(calls, remaining, 0.0, 30.0, at)


def refused(retry_after: float = 2.0) -> Grant:
    """None."""
    return Grant(0, 0, retry_after, 60.0, 0)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with hand_turned_clock() as clock:
        yield clock


# Rates ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "calls", "period"), [("1000/60", 1000, 60), ("1/86400", 1, 86400), ("5/0.5", 5, 0.5)])
def test_a_rate_is_read(text: str, calls: int, period: float) -> None:
    assert Rate.parse(text) == Rate(calls, period)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "/",
        "5/",
        "/60",
        "0/60",
        "-1/60",
        "5/0",
        "5/-1",
        "5/86401",
        "5/nan",
        "5/inf",
        "1.5/60",
        "x/60",
        "5/60/1",
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Rate.parse(text)


def test_every_default_is_a_rate() -> None:
    assert {rate_class: Rate.parse(text).calls for rate_class, text in DEFAULT_RATES.items()} == {
        "general": 100,
        "default": 1000,
        "auth": 5,
        "ai": 10,
        "multimodal": 20,
        "payment": 20,
        "webhook": 30,
        "mail": 300,
        "analytics": 50,
        "inbound": 6000,
        "tenant": 20000,
        "telemetry": 10000,
        "probe": 600,
        "download": 3000,
        "auth_failure": 20,
    }


@pytest.mark.parametrize(
    ("rate", "lease_time", "capacity"),
    [
        (Rate(1000, 60), 0.5, 1000 - 0.5 * 1000 / 60),
        (Rate(800, 1), 0.01, 792),
        (Rate(799, 1), 0, 799),
        (Rate(100, 10), 0, 100),
        (Rate(99, 10), 0, 99),
        (Rate(119, 60), 0, 119),
        (Rate(5, 900), 0, 5),
    ],
)
def test_leases_cost_no_more_than_one_percent_and_few_calls_are_not_leased(
    rate: Rate, lease_time: float, capacity: float
) -> None:
    assert rate.lease_time == pytest.approx(lease_time)
    assert rate.capacity == pytest.approx(capacity)
    assert rate.capacity >= 0.99 * rate.calls


# Leases --------------------------------------------------------------------------------------------------------------


def test_a_lease_is_spent_without_asking_the_store(clock: Clock) -> None:
    store = Store(granted(4), granted(1, 70))
    limiter = RateLimiter(store)
    verdicts = [limiter.take("k", LEASED) for _ in range(4)]
    assert [verdict.remaining for verdict in verdicts] == [103, 102, 101, 100]
    assert all(verdict.allowed for verdict in verdicts)
    assert len(store.asked) == 1
    clock.now += 10
    assert verdicts[3].reset_after == pytest.approx(20)
    assert limiter.take("k", LEASED).remaining == 70
    assert len(store.asked) == 2


def test_few_calls_are_asked_for_one_by_one(clock: Clock) -> None:
    del clock
    store = Store(granted(1, 4), granted(1, 3), granted(1, 2))
    limiter = RateLimiter(store)
    assert [limiter.take("k", SINGLE).remaining for _ in range(3)] == [4, 3, 2]
    assert store.asked == [("k", 1, 0, 0)] * 3


def test_a_call_that_is_given_back_is_spent_by_the_next_caller(clock: Clock) -> None:
    store = Store(granted(4, at=7), granted(1, 70))
    limiter = RateLimiter(store)
    for _ in range(10):
        verdict = limiter.take("k", LEASED)
        assert (verdict.allowed, verdict.remaining) == (True, 103)
        limiter.give_back("k", verdict)
    assert len(store.asked) == 1
    last = limiter.take("k", LEASED)
    clock.now += 10
    # Its lease is over: what was leased is lost to everybody.
    limiter.give_back("k", last)
    assert len(store.asked) == 1
    limiter.take("k", LEASED)
    assert store.asked[1] == ("k", 2, 3, 7)


def test_a_single_call_is_given_back_to_the_store(clock: Clock) -> None:
    del clock
    store = Store(granted(1, 4, at=7), granted(0, 5), granted(1, 4, at=8), LimitsAway)
    limiter = RateLimiter(store)
    limiter.give_back("k", limiter.take("k", SINGLE))
    assert store.asked == [("k", 1, 0, 0), ("k", 0, 1, 7)]
    limiter.give_back("k", limiter.take("k", SINGLE))
    assert store.grants == []


def test_who_only_asks_spends_nothing(clock: Clock) -> None:
    store = Store(granted(0, 9), granted(3), refused(), granted(0, 0))
    limiter = RateLimiter(store)
    assert (limiter.ask("k", LEASED).remaining, store.asked[-1]) == (9, ("k", 0, 0, 0))
    limiter.take("k", LEASED)
    assert [limiter.ask("k", LEASED).remaining for _ in range(3)] == [102] * 3
    clock.now += 10
    limiter.take("k", LEASED)
    told = limiter.ask("k", LEASED)
    assert not told.allowed
    assert told.retry_after == pytest.approx(2, abs=0.01)
    assert len(store.asked) == 3
    assert not limiter.ask("other", SINGLE).allowed


def test_leases_grow_while_they_are_spent_quickly_up_to_a_twentieth(clock: Clock) -> None:
    del clock
    sizes = [1, 2, 4, 8, 16, 32, 50, 50]
    store = Store(*(granted(size, 900) for size in sizes))
    limiter = RateLimiter(store)
    for _ in range(sum(sizes)):
        limiter.take("k", LEASED)
    assert [want for _, want, _, _ in store.asked] == sizes


def test_leases_stay_while_they_are_spent_in_time_and_shrink_when_they_are_not(clock: Clock) -> None:
    store = Store(granted(1), granted(2), granted(2), granted(2, at=7), granted(1))
    limiter = RateLimiter(store)
    for pause in (0.01, 0.2, 0.2, 0.2, 0.2, 0.6):
        limiter.take("k", LEASED)
        clock.now += pause
    limiter.take("k", LEASED)
    assert store.asked == [("k", 1, 0, 0), ("k", 2, 0, 0), ("k", 2, 0, 0), ("k", 2, 0, 0), ("k", 1, 1, 7)]


def test_what_was_not_spent_in_time_is_given_back_and_not_spent(clock: Clock) -> None:
    store = Store(granted(10, at=123), granted(1, 50))
    limiter = RateLimiter(store)
    for _ in range(3):
        limiter.take("k", LEASED)
    clock.now += LEASED.lease_time
    assert limiter.take("k", LEASED).remaining == 50
    assert store.asked[1] == ("k", 5, 7, 123)


def test_every_key_has_leases_of_its_own(clock: Clock) -> None:
    del clock
    store = Store(granted(2, 10), granted(2, 20))
    limiter = RateLimiter(store)
    assert [limiter.take(key, LEASED).remaining for key in "abab"] == [11, 21, 10, 20]


def test_another_rate_has_a_lease_of_its_own(clock: Clock) -> None:
    del clock
    store = Store(refused(), granted(2, 10), granted(1, 4))
    limiter = RateLimiter(store)
    assert not limiter.take("k", SINGLE).allowed
    assert limiter.take("k", LEASED).remaining == 11
    assert limiter.take("k", Rate(6, 900)).remaining == 4
    assert [unspent for _, _, unspent, _ in store.asked] == [0, 0, 0]


# Refusals ------------------------------------------------------------------------------------------------------------


def test_the_store_is_not_asked_again_while_it_would_refuse(clock: Clock) -> None:
    store = Store(refused(2.0), granted(1, 4))
    limiter = RateLimiter(store)
    for waited in (0.0, 0.5, 1.5):
        verdict = limiter.take("k", SINGLE)
        assert (verdict.allowed, verdict.remaining) == (False, 0)
        assert verdict.retry_after == pytest.approx(2.0 - waited + MARGIN)
        clock.now = 1000.0 + {0.0: 0.5, 0.5: 1.5, 1.5: 2.0}[waited]
    assert len(store.asked) == 1
    assert limiter.take("k", SINGLE).allowed


# Outages -------------------------------------------------------------------------------------------------------------


def test_a_lease_is_spent_while_the_store_is_away_and_nothing_is_given_back_twice(clock: Clock) -> None:
    store = Store(granted(3), LimitsAway, granted(1))
    limiter = RateLimiter(store)
    assert [limiter.take("k", LEASED).allowed for _ in range(2)] == [True, True]
    clock.now += LEASED.lease_time
    with pytest.raises(LimitsAway):
        limiter.take("k", LEASED)
    assert limiter.take("k", LEASED).allowed
    assert [unspent for _, _, unspent, _ in store.asked] == [0, 1, 0]


class Broken:
    """A client whose server is gone."""

    def __init__(self) -> None:
        self.asked = 0

    def register_script(self, script: str) -> "Broken":
        assert script
        return self

    def __call__(self, **arguments: object) -> NoReturn:
        assert arguments
        self.asked += 1
        raise redis.ConnectionError


def test_nobody_waits_for_a_store_that_did_not_answer_a_moment_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, client = Clock(), Broken()
    monkeypatch.setattr("server.adapters.breaker.monotonic", clock)
    limiter = RateLimiter(RedisLimits(client, Breaker()))
    for moment in (0.0, 0.0, REST * 0.99, REST, REST * 1.5):
        clock.now = 1000.0 + moment
        with pytest.raises(LimitsAway):
            limiter.take("k", SINGLE)
    assert client.asked == 2


# Threads and memory --------------------------------------------------------------------------------------------------


class Bounded:
    """A store with so many calls and no more, which hands them out in large pieces and takes its time."""

    def __init__(self, calls: int, pause: float = 0.0) -> None:
        self.left = calls
        self.most_at_once = 0
        self._pause = pause
        self._asking = 0

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        del key, rate, since
        self._asking += 1
        self.most_at_once = max(self.most_at_once, self._asking)
        time.sleep(self._pause)
        self.left += unspent
        calls = min(self.left, 50 * want)
        self.left -= calls
        self._asking -= 1
        return Grant(calls, self.left, 0.0 if calls else 9.0, 9.0, 0)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("clock", "hasty")
def test_threads_that_share_a_lease_never_get_more_than_was_granted() -> None:
    store = Bounded(1501, 0.001)
    limiter, together = RateLimiter(store), threading.Barrier(THREADS)

    def work() -> int:
        together.wait()
        return sum(limiter.take("k", LEASED).allowed for _ in range(1000))

    with ThreadPoolExecutor(THREADS) as pool:
        passed = [pool.submit(work) for _ in range(THREADS)]
    assert sum(future.result() for future in passed) == 1501
    assert store.most_at_once == 1


def test_the_memory_of_many_keys_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many keys as a worker remembers it takes so much, and with many more no more than that."""
    del clock
    monkeypatch.setattr(limits, "REMEMBERED", 1000)
    limiter = RateLimiter(Bounded(10**9))
    tracemalloc.start()
    try:
        for number in range(5000):
            limiter.take(f"default:user:{number}", SINGLE)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1000 * 600
