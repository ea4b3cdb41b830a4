"""What limits promise, on the real Redis: several processes, and Redis killed in the middle."""

import secrets
import time
from collections.abc import Iterator
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.kernel.guard.limits import RateLimiter
from server.kernel.rates import Rate
from tests.limits.engine import Engine, limits
from tests.limits.hammer import Worker
from tests.limits.model import ModelStore, excess
from tests.limits.obedient import ObedientClient
from tests.stack import wait_for

pytestmark = pytest.mark.heavy

WORKERS = 4
# Some are used up at once, and stay so; the others gain calls while the test runs.
RATES = [Rate(1000, 60), Rate(600, 1), Rate(50, 2), Rate(20, 3600), Rate(5, 900)]
# NTP may make the wall clock, by which Redis counts, faster by this part than the one that tests read.
SLEW = 0.0005

rates = st.builds(Rate, st.integers(1, 10_000_000), st.floats(0.001, 86400))


@pytest.fixture
def workers(engine: Engine) -> Iterator[list[Worker]]:
    workers = [Worker(engine.dsn, RATES) for _ in range(WORKERS)]
    yield workers
    for worker in workers:
        worker.kill()


def test_no_key_gets_more_though_redis_is_killed_in_the_middle(engine: Engine, workers: list[Worker]) -> None:
    def more(calls: int) -> None:
        wanted = sum(worker.passed for worker in workers) + calls
        wait_for(lambda: sum(worker.passed for worker in workers) >= wanted, what=f"{calls} more calls")

    def counts() -> str:
        return f"a call of each worker (passed, away: {[(worker.passed, worker.away) for worker in workers]})"

    wait_for(lambda: all(worker.passed for worker in workers), what=counts)
    more(1500)
    engine.kill()
    wait_for(lambda: all(worker.away for worker in workers), what="that each worker notices")
    engine.start()
    more(1000)
    passed = [worker.finish() for worker in workers]
    for rate in RATES:
        calls = [call for one in passed for call in one[rate]]
        lasted = max(after for _, after in calls) - min(before for before, _ in calls)
        assert excess(rate, calls) <= SLEW * lasted / rate.interval
        assert len(calls) > rate.calls / 2


def test_who_obeys_gets_its_quota_and_no_refusal(engine: Engine) -> None:
    rate = Rate(60, 1)
    turns = cycle([RateLimiter(limits(engine.dsn)) for _ in range(WORKERS)])
    client = ObedientClient(rate, turns, time.monotonic, time.sleep)
    client.use_up(3)
    assert client.refused == 0
    assert client.share_of_offered >= 0.95


@settings(max_examples=40, deadline=None)
@given(rates, st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 100)), min_size=1, max_size=20))
def test_redis_does_what_the_model_does(engine: Engine, rate: Rate, steps: list[tuple[int, int]]) -> None:
    """Steps are how many calls to take, and what percentage of them to give back with the next."""
    store, moments, key = limits(engine.dsn), [0], secrets.token_hex(8)
    model = ModelStore(lambda: moments[-1])
    unspent, since = 0, 0
    for want, back in steps:
        grant = store.lease(key, rate, want, unspent, since)
        moments.append(grant.at)
        assert grant == model.lease(key, rate, want, unspent, since)
        unspent, since = grant.calls * back // 100, grant.at


def test_a_key_that_gets_another_rate_begins_anew(engine: Engine) -> None:
    store, key = limits(engine.dsn), secrets.token_hex(8)
    old, new = Rate(5, 900), Rate(6, 900)
    first, second = RateLimiter(store), RateLimiter(store)
    assert [first.take(key, old).allowed for _ in range(6)] == [True] * 5 + [False]
    assert [worker.take(key, new).remaining for worker in (first, second, first)] == [5, 4, 3]
    assert not second.take(key, old).allowed
