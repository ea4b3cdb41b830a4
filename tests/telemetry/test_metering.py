"""What processes count reaches their metrics: once, whole, and whatever else fails."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import psycopg
import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import Page, PageEvent
from prometheus_client import REGISTRY, Histogram
from sqlalchemy import Integer, cast, literal, select

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.call import Call, Principal
from server.kernel.guard.limits import Grant, LimitsAway, RateLimiter
from server.kernel.guard.pools import CallThreads
from server.kernel.problems import Denied, RateLimited, Unavailable
from server.kernel.rates import Rate
from server.kernel.record.metrics import CALLS, CallTally, Tally
from server.kernel.steps.limit import Limit
from server.kernel.steps.telemetry import Telemetry
from server.metrics import metering
from server.metrics.metering import Meter
from tests.kernel.calls import GET, SIGN_UP, WATCH, Context, call
from tests.kernel.database import connections
from tests.stack import PATIENCE, Stack, wait_for

METHOD = GET.path.removeprefix("/")


class Nobody:
    """Whom nobody tells of API keys."""

    def note(self, principal: Principal, method: str, *, succeeded: bool) -> None:
        raise AssertionError(f"{principal} is no API key of {method}: {succeeded}")


def value(name: str, **labels: str) -> float:
    """A sample of this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def increases(reading: metering.Reading, *samples: tuple[str, dict[str, str]]) -> list[float]:
    """By how much a reading raises these samples."""
    before = [value(name, **labels) for name, labels in samples]
    reading()
    return [value(name, **labels) - was for (name, labels), was in zip(samples, before, strict=True)]


def answer(_: Call, request: Any) -> Message:
    if request:
        raise request
    return Page()


def test_calls_are_counted_by_code_and_timed_once() -> None:
    telemetry = Telemetry(Nobody())
    serve = telemetry.unary(GET, answer)
    for _ in range(3):
        serve(call(GET), None)
    for error in (Denied(), Denied(), RuntimeError()):
        with pytest.raises(type(error)):
            serve(call(GET), error)
    reading = metering.of_calls(telemetry.tallies)
    samples = [
        *(
            ("plinth_requests_total", {"method": METHOD, "code": code})
            for code in ("OK", "PERMISSION_DENIED", "INTERNAL")
        ),
        ("plinth_request_seconds_count", {"method": METHOD}),
    ]
    assert increases(reading, *samples) == [3, 2, 1, 6]
    assert increases(reading, *samples) == [0, 0, 0, 0]
    serve(call(GET), None)
    assert increases(reading, *samples) == [1, 0, 0, 1]


def test_streams_are_counted_when_they_end() -> None:
    async def handle(_: Call, request: Any) -> AsyncIterator[Message]:
        yield PageEvent()
        if request:
            raise request

    async def read(request: Any) -> None:
        async for _ in Telemetry(Nobody()).stream(WATCH, handle)(call(WATCH), request):
            pass

    def run() -> None:
        asyncio.run(read(None))
        with pytest.raises(Denied):
            asyncio.run(read(Denied()))

    labels = {"method": WATCH.path.removeprefix("/")}
    ended = [("plinth_streams_total", {**labels, "code": code}) for code in ("OK", "PERMISSION_DENIED")]
    assert increases(run, *ended) == [1, 1]


def test_an_rpc_that_is_first_called_after_a_reading_is_counted() -> None:
    telemetry = Telemetry(Nobody())
    reading = metering.of_calls(telemetry.tallies)
    reading()
    telemetry.unary(GET, answer)(call(GET), None)
    assert increases(reading, ("plinth_requests_total", {"method": METHOD, "code": "OK"})) == [1]


def test_what_was_never_called_has_no_series() -> None:
    # Of a name that no other test in this process may have called.
    method = replace(SIGN_UP, path="/plinth.test.v1.NobodyService/NeverCalled")
    tally = CallTally(method)
    read = metering.of_calls({method.path: tally})
    labels = {"method": method.path.removeprefix("/")}
    read()
    assert REGISTRY.get_sample_value("plinth_request_seconds_count", labels) is None
    tally.succeeded.note(0.1)
    read()
    assert REGISTRY.get_sample_value("plinth_request_seconds_count", labels) == 1


def seen(histogram: Histogram) -> dict[tuple[str, str], float]:
    """The values of a histogram by what they are and their bucket; not when it was made."""
    (metric,) = histogram.collect()
    values = {(one.name.removeprefix(metric.name), one.labels.get("le", "")): one.value for one in metric.samples}
    return {key: value for key, value in values.items() if key[0] != "_created"}


def test_a_histogram_that_follows_is_one_that_observed() -> None:
    durations = [0.0, 0.001, 0.0011, 0.15, 0.1501, 15.0, 99.0, *(bound / 2 for bound in CALLS)]
    tally = Tally(CALLS)
    ours, theirs = (Histogram(f"plinth_{name}", "x", ["label"], registry=None, buckets=CALLS) for name in ("a", "b"))
    follower = metering.TallyFollower(ours, "x")
    for seconds in durations:
        tally.note(seconds)
        follower.follow(tally)
        theirs.labels("x").observe(seconds)
    assert seen(ours) == pytest.approx(seen(theirs))
    assert seen(ours)["_count", ""] == len(durations)


def test_queries_are_timed_and_their_failures_counted(stack: Stack) -> None:
    labels = {"pool": "test"}
    counted = [(f"plinth_query_{what}", labels) for what in ("seconds_count", "failures_total", "seconds_sum")]
    begun = monotonic()
    with connections(stack.settings.runtime_dsn) as pool:
        reading = metering.of_queries("test", pool)
        with Database(pool).read(Scope()) as transaction:
            transaction.run(Statement(select(literal(1).label("one"))))
            with pytest.raises(psycopg.DataError):
                transaction.run(Statement(select(cast(literal("none"), Integer).label("one"))))
        trips, failures, seconds = increases(reading, *counted)
    assert (trips, failures) == (2, 1)
    assert 0 < seconds < monotonic() - begun


class Store:
    """A store of limits that answers as it is told."""

    calls: int | None = 1

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        del key, rate, want, unspent, since
        if self.calls is None:
            raise LimitsAway
        return Grant(self.calls, 0, 0.0 if self.calls else 60.0, 60.0, 0)


def test_limits_are_counted_by_what_came_of_them() -> None:
    store = Store()
    rates = {"auth": Rate(5, 900), "general": Rate(5, 900)}
    nobody: Any = None
    limit = Limit(RateLimiter(store), rates, nobody, ("auth",))

    def take(rate_class: str, address: str) -> None:
        one = call(SIGN_UP, Context(x_envoy_external_address=address))
        limit._anonymous_guard(rate_class)(one, None)  # noqa: SLF001 - the rate class is the point

    take("general", "192.0.2.1")
    store.calls = 0
    with pytest.raises(RateLimited):
        take("general", "192.0.2.2")
    store.calls = None
    take("general", "192.0.2.3")
    with pytest.raises(Unavailable):
        take("auth", "192.0.2.4")
    outcomes = [("general", "allowed"), ("general", "refused"), ("general", "unchecked"), ("auth", "unavailable")]
    samples = [
        ("plinth_limits_total", {"rate_class": rate_class, "outcome": outcome}) for rate_class, outcome in outcomes
    ]
    assert increases(metering.of_limits(limit), *samples) == [1, 1, 1, 1]


@pytest.fixture
def threads() -> Iterator[CallThreads]:
    pool = CallThreads(2)
    yield pool
    pool.shutdown()


def test_threads_are_busy_while_they_serve(threads: CallThreads) -> None:
    go_on = threading.Event()
    served = [threads.submit(go_on.wait, PATIENCE) for _ in range(5)]
    wait_for(lambda: threads.waiting == 3)
    reading = metering.of_threads("t", "p", threads)
    samples = [(f"plinth_threads{what}", {"process": "t", "pool": "p"}) for what in ("", "_busy", "_queued")]
    wait_for(lambda: threads.busy == 2)
    assert increases(reading, *samples) == [2, 2, 3]
    go_on.set()
    for one in served:
        one.result(PATIENCE)
    wait_for(lambda: threads.busy == 0)
    assert increases(reading, *samples) == [0, -2, -3]


def test_connections_are_counted_where_they_are(stack: Stack) -> None:
    with connections(stack.settings.runtime_dsn, size=3) as pool:
        taken = [pool.acquire(), pool.acquire()]
        wait_for(lambda: pool.usage.used == 2)
        pool.release(taken.pop())
        usage = pool.usage
        assert (usage.limit, usage.used, usage.waiting) == (3, 1, 0)
        assert 2 <= usage.there <= 3
        reading = metering.of_connections("c", "p", pool)
        labels = {"process": "c", "pool": "p"}
        assert increases(reading, ("plinth_connections_used", labels), ("plinth_connections_limit", labels)) == [1, 3]
        pool.release(taken.pop())
        assert pool.usage.used == 0


def test_one_reading_that_fails_keeps_no_other_from_being_taken(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[int] = []

    def broken() -> None:
        raise ZeroDivisionError

    meter = Meter(lambda: (broken, lambda: taken.append(1)))
    meter.start()
    wait_for(lambda: taken)
    meter.close()
    assert len(taken) > 1
    assert [record.getMessage() for record in caplog.records if record.name == metering.log.name] == ["a reading fails"]


def test_a_meter_reads_when_it_begins_and_once_more_when_it_ends() -> None:
    taken: list[int] = []
    meter = Meter(lambda: [lambda: taken.append(1)])
    meter.start()
    wait_for(lambda: taken)
    so_far = len(taken)
    meter.close()
    assert len(taken) > so_far
