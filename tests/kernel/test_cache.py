"""The cache of answers: computed once, kept within its bounds, and never served after a write."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.answers import RedisAnswers
from server.adapters.breaker import Breaker
from server.kernel.caching import cache as cache_module
from server.kernel.caching.cache import OVERHEAD, AnswerCache, AnswerStore, Computed, Counts, Entry, Read, StoreAway
from server.kernel.caching.generations import Generations, Stamp, slot_of
from tests.clients import unique
from tests.stack import Stack, wait_for

TAG, OTHER_TAG = "tenant:1:pages", "tenant:1:roles"
PATIENCE = 60.0
MUCH = 10_000_000

Work = Callable[[], Computed]


class Store:
    """Redis as the cache sees it."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.claims: dict[str, str] = {}
        self.is_away = False
        self.turned_away = 0

    def take(self, key: str, stamp: bytes, claim: str, seconds: float) -> bytes | bool:
        assert seconds > 0
        self._answer()
        value = self.values.get(key)
        if value is not None and value.startswith(stamp):
            return value
        if key in self.claims:
            self.turned_away += 1
            return False
        self.claims[key] = claim
        return True

    def put(self, key: str, value: bytes, claim: str, seconds: float) -> None:
        assert seconds > 0
        self.release(key, claim)
        self.values[key] = value

    def release(self, key: str, claim: str) -> None:
        self._answer()
        if self.claims.get(key) == claim:
            del self.claims[key]

    def _answer(self) -> None:
        if self.is_away:
            raise StoreAway


class Clock:
    """Seconds that stand still until they are moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Slow:
    """Work that begins, and ends when it is told to."""

    def __init__(self, body: bytes = b"slow") -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.times = 0
        self._body = body

    def __call__(self) -> Computed:
        self.times += 1
        self.began.set()
        assert self.may_end.wait(PATIENCE)
        return self._body, "etag"


class Failing(Slow):
    """Work that ends with an exception when it is told to."""

    def __call__(self) -> Computed:
        super().__call__()
        raise LookupError("it went wrong")


class Observed(Generations):
    """Generations that count who has asked for a stamp, which is what a read does first."""

    asked = 0

    def stamp(self, slots: tuple[int, ...]) -> Stamp | None:
        self.asked += 1
        return super().stamp(slots)


def gives(body: bytes, etag: str = "etag") -> Work:
    return lambda: (body, etag)


def never() -> Computed:
    raise AssertionError("this is not to be computed")


class Worker:
    """A process with a cache."""

    def __init__(self, path: Path, store: AnswerStore | None = None, most: int = MUCH, name: str = "one") -> None:
        self.generations = Observed(path)
        self.generations.open()
        self.cache = AnswerCache(self.generations, store, most, lambda: name)
        self.counts = Counts()

    def ask(self, work: Work, key: bytes = b"key", tag: str = TAG, seconds: float = 60.0) -> bytes:
        """What a read answers, from memory or through `work`."""
        entry = self.find(key)
        if entry is not None:
            return entry.body
        answer = self.cache.compute(Read(key, self.generations.slots([tag]), seconds, self.counts, work))
        return answer.body if isinstance(answer, Entry) else answer[0]

    def find(self, key: bytes = b"key") -> Entry | None:
        return self.cache.find(key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "generations"


@pytest.fixture
def worker(path: Path) -> Worker:
    """A process that shares nothing."""
    return Worker(path)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def pair(path: Path, store: Store) -> tuple[Worker, Worker]:
    """Two processes of one host."""
    return Worker(path, store, name="one"), Worker(path, store, name="other")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    """Those who wait for each other there wait for as long as a busy machine makes them."""
    monkeypatch.setattr(cache_module, "COMPUTING", 2 * PATIENCE)
    with ThreadPoolExecutor(20) as pool:
        yield pool


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the cache, told by both of its clocks."""
    clock = Clock(1000.0)
    monkeypatch.setattr(cache_module, "monotonic", clock)
    monkeypatch.setattr(cache_module, "unix_now", clock)
    return clock


# Memory --------------------------------------------------------------------------------------------------------------


def test_what_was_computed_is_served_from_memory(worker: Worker) -> None:
    assert worker.find() is None
    assert worker.ask(gives(b"page", 'W/"1"')) == b"page"
    entry = worker.find()
    assert entry is not None
    assert (entry.body, entry.etag) == (b"page", 'W/"1"')
    assert worker.ask(never) == b"page"
    assert worker.counts == Counts(misses=1)


def test_an_answer_is_served_for_its_time(worker: Worker, clock: Clock) -> None:
    worker.ask(gives(b"old"), seconds=5)
    clock.now += 5
    assert worker.ask(never) == b"old"
    clock.now += 0.001
    assert worker.ask(gives(b"new"), seconds=5) == b"new"
    assert worker.cache.entries == 1


def test_a_write_ends_what_stands_under_its_tag_alone(worker: Worker) -> None:
    worker.ask(gives(b"old"), b"a", TAG)
    worker.ask(gives(b"kept"), b"b", OTHER_TAG)
    worker.generations.invalidate([TAG])
    assert worker.find(b"a") is None
    assert worker.ask(gives(b"new"), b"a", TAG) == b"new"
    assert worker.ask(never, b"a", TAG) == b"new"
    assert worker.ask(never, b"b", OTHER_TAG) == b"kept"
    worker.generations.invalidate(["*"])
    assert worker.find(b"a") is worker.find(b"b") is None


def test_nothing_is_kept_while_a_write_commits(worker: Worker) -> None:
    worker.ask(gives(b"old"))
    worker.generations.changing([slot_of(TAG)])
    for body in (b"old", b"new"):
        assert worker.ask(gives(body)) == body
    worker.generations.changed([slot_of(TAG)])
    assert worker.find() is None
    assert worker.counts == Counts(misses=3)


def test_a_write_that_lands_while_an_answer_is_computed_ends_it(worker: Worker) -> None:
    def outrun() -> Computed:
        worker.generations.invalidate([TAG])
        return b"old", ""

    worker.ask(outrun)
    assert worker.find() is None
    assert worker.ask(gives(b"new")) == b"new"


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 700)), min_size=20, max_size=80))
def test_the_answers_that_were_asked_for_last_are_kept_within_the_bound(
    generations: Generations, asked: list[tuple[int, int]]
) -> None:
    # Room for some ten of twenty; the largest ones are not kept at all.
    most = 8 * (OVERHEAD + 600)
    cache = AnswerCache(generations, None, most, lambda: "one")
    model: OrderedDict[bytes, int] = OrderedDict()
    evictions = 0
    for number, length in asked:
        key = b"%d" % number
        if cache.find(key) is None:
            cache.compute(Read(key, generations.slots([TAG]), 60, Counts(), gives(bytes(length))))
        size = model.pop(key, len(key) + length + OVERHEAD)
        if size > most // 8:
            continue
        model[key] = size
        while sum(model.values()) > most:
            model.popitem(last=False)
            evictions += 1
        assert cache.bytes == sum(model.values())
    assert {key for key in map(b"%d".__mod__, range(20)) if cache.find(key)} == set(model)
    assert (cache.entries, cache.evictions) == (len(model), evictions)
    assert cache.bytes <= most


@pytest.fixture(scope="module")
def generations(tmp_path_factory: pytest.TempPathFactory) -> Generations:
    """Generations that nobody changes, for many examples."""
    made = Generations(tmp_path_factory.mktemp("quiet") / "generations")
    made.open()
    return made


def test_an_answer_that_another_thread_drops_while_it_is_found_is_served(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(path, most=8 * (OVERHEAD + 600))
    worker.ask(gives(b"page"))

    def is_current(slots: tuple[int, ...], stamp: Stamp) -> bool:
        monkeypatch.undo()
        # As others do that make room meanwhile.
        for number in range(20):
            worker.ask(gives(bytes(500)), b"%d" % number)
        return worker.generations.is_current(slots, stamp)

    monkeypatch.setattr(worker.generations, "is_current", is_current)
    assert worker.ask(never) == b"page"
    assert worker.cache.evictions > 0
    assert worker.find() is None


def test_an_answer_that_was_kept_since_a_read_looked_is_taken(worker: Worker) -> None:
    worker.ask(gives(b"page"))
    found = worker.cache.compute(Read(b"key", worker.generations.slots([TAG]), 60, worker.counts, never))
    assert isinstance(found, Entry)
    assert found.body == b"page"
    assert worker.counts == Counts(misses=1, coalesced=1)


def test_an_answer_that_replaces_an_older_one_takes_its_place_only(worker: Worker) -> None:
    worker.ask(gives(bytes(1000)))
    worker.generations.invalidate([TAG])
    worker.ask(gives(bytes(10)))
    assert (worker.cache.entries, worker.cache.bytes) == (1, len(b"key") + 10 + OVERHEAD)


# Threads -------------------------------------------------------------------------------------------------------------


def while_it_computes(
    threads: ThreadPoolExecutor,
    worker: Worker,
    slow: Slow,
    others: Work,
    *,
    meanwhile: Callable[[], None] | None = None,
) -> tuple["Future[bytes]", list["Future[bytes]"]]:
    """A read that computes, and ten more that came while it did."""
    first = threads.submit(worker.ask, slow)
    assert slow.began.wait(PATIENCE)
    if meanwhile:
        meanwhile()
    asked = worker.generations.asked
    rest = [threads.submit(worker.ask, others) for _ in range(10)]
    wait_for(lambda: worker.generations.asked == asked + 10, what="the arrival of the others")
    slow.may_end.set()
    return first, rest


def test_of_many_that_ask_at_once_one_computes(worker: Worker, threads: ThreadPoolExecutor) -> None:
    slow = Slow()
    first, rest = while_it_computes(threads, worker, slow, never)
    assert {answer.result(PATIENCE) for answer in (first, *rest)} == {b"slow"}
    assert slow.times == 1
    assert worker.counts == Counts(misses=1, coalesced=10)


def test_who_asks_for_something_else_does_not_wait(worker: Worker, threads: ThreadPoolExecutor) -> None:
    slow = Slow()
    first = threads.submit(worker.ask, slow)
    assert slow.began.wait(PATIENCE)
    assert worker.ask(gives(b"quick"), b"other key") == b"quick"
    slow.may_end.set()
    assert first.result(PATIENCE) == b"slow"


def test_what_goes_wrong_is_one_callers_business(worker: Worker, threads: ThreadPoolExecutor) -> None:
    first, rest = while_it_computes(threads, worker, Failing(), gives(b"good"))
    with pytest.raises(LookupError):
        first.result(PATIENCE)
    assert [answer.result(PATIENCE) for answer in rest] == [b"good"] * 10
    assert worker.ask(gives(b"good")) == b"good"
    assert worker.find() is not None


def test_who_asks_after_a_write_gets_nothing_that_was_begun_before_it(
    worker: Worker, threads: ThreadPoolExecutor
) -> None:
    first, rest = while_it_computes(
        threads, worker, Slow(b"old"), gives(b"new"), meanwhile=lambda: worker.generations.invalidate([TAG])
    )
    assert first.result(PATIENCE) == b"old"
    assert [answer.result(PATIENCE) for answer in rest] == [b"new"] * 10
    assert worker.ask(gives(b"new")) == b"new"


# Processes -----------------------------------------------------------------------------------------------------------


def test_what_one_process_computed_another_finds(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    one.ask(gives(b"page", 'W/"7"'))
    assert other.ask(never) == b"page"
    found = other.find()
    assert found is not None
    assert found.etag == 'W/"7"'
    assert (one.counts, other.counts) == (Counts(misses=1), Counts(store_hits=1))


def test_what_was_stored_before_a_write_is_not_found_after_it(pair: tuple[Worker, Worker], store: Store) -> None:
    one, other = pair
    one.ask(gives(b"old"))
    one.generations.invalidate([TAG])
    assert other.ask(gives(b"new")) == b"new"
    assert one.ask(never) == b"new"
    assert len(store.values) == 1


def test_an_answer_grows_no_younger_in_another_process(pair: tuple[Worker, Worker], clock: Clock) -> None:
    one, other = pair
    one.ask(gives(b"page"), seconds=5)
    clock.now += 3
    assert other.ask(never) == b"page"
    clock.now += 2.001
    assert other.find() is None


def test_an_answer_that_a_write_outran_is_shared_with_nobody(pair: tuple[Worker, Worker]) -> None:
    one, other = pair

    def outrun() -> Computed:
        other.generations.invalidate([TAG])
        return b"old", ""

    assert one.ask(outrun) == b"old"
    assert other.ask(gives(b"new")) == b"new"
    assert one.ask(never) == b"new"


def test_while_one_process_computes_another_waits_for_it(
    pair: tuple[Worker, Worker], store: Store, threads: ThreadPoolExecutor
) -> None:
    one, other = pair
    slow = Slow()
    first = threads.submit(one.ask, slow)
    assert slow.began.wait(PATIENCE)
    second = threads.submit(other.ask, never)
    wait_for(lambda: store.turned_away, what="the other process")
    slow.may_end.set()
    assert first.result(PATIENCE) == second.result(PATIENCE) == b"slow"
    assert other.counts == Counts(store_hits=1)
    assert not store.claims


def test_a_process_that_fails_makes_room_for_another(
    pair: tuple[Worker, Worker], store: Store, threads: ThreadPoolExecutor
) -> None:
    one, other = pair
    failing = Failing()
    first = threads.submit(one.ask, failing)
    assert failing.began.wait(PATIENCE)
    second = threads.submit(other.ask, gives(b"good"))
    wait_for(lambda: store.turned_away, what="the other process")
    failing.may_end.set()
    with pytest.raises(LookupError):
        first.result(PATIENCE)
    assert second.result(PATIENCE) == b"good"
    assert not store.claims


def test_nobody_waits_for_ever_for_a_process_that_died(
    pair: tuple[Worker, Worker], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    # What a process leaves that dies while it computes.
    monkeypatch.setattr(store, "put", lambda *_: None)
    monkeypatch.setattr(store, "release", lambda *_: None)
    one.ask(gives(b"lost"))
    monkeypatch.undo()
    monkeypatch.setattr(cache_module, "COMPUTING", 0.05)
    assert other.ask(gives(b"computed")) == b"computed"
    # The claim is the dead one's still: whoever takes over keeps what it computed to itself.
    assert set(store.claims.values()) == {"one"}
    assert not store.values
    assert other.ask(never) == b"computed"


def test_without_the_store_each_process_computes(pair: tuple[Worker, Worker], store: Store) -> None:
    store.is_away = True
    for process in pair:
        assert process.ask(gives(b"page")) == b"page"
        assert process.ask(never) == b"page"
        assert process.counts == Counts(misses=1)
    store.is_away = False
    pair[0].generations.invalidate([TAG])
    assert pair[0].ask(gives(b"new")) == b"new"
    assert pair[1].ask(never) == b"new"


def test_a_store_that_goes_away_meanwhile_costs_nothing_but_sharing(pair: tuple[Worker, Worker], store: Store) -> None:
    def cut(body: bytes) -> Work:
        def work() -> Computed:
            store.is_away = True
            return body, ""

        return work

    assert pair[0].ask(cut(b"page")) == b"page"
    assert pair[0].ask(never) == b"page"
    assert pair[1].ask(gives(b"own")) == b"own"


def test_what_goes_wrong_while_the_store_goes_away_is_told_as_it_is(pair: tuple[Worker, Worker], store: Store) -> None:
    def fail() -> Computed:
        store.is_away = True
        raise LookupError("it went wrong")

    with pytest.raises(LookupError):
        pair[0].ask(fail)
    assert pair[0].ask(gives(b"page")) == b"page"


@pytest.mark.parametrize("body", [b"", b"\0\xff" * 1000])
def test_redis_keeps_answers_and_claims(stack: Stack, path: Path, body: bytes) -> None:
    client = redis.Redis.from_url(stack.settings.redis_dsn)
    one, other = (Worker(path, RedisAnswers(client, Breaker()), name=name) for name in ("one", "other"))
    key = unique("key").encode()
    assert one.ask(gives(body), key) == body
    assert other.ask(never, key) == body
    one.generations.invalidate([TAG])
    with pytest.raises(AssertionError, match="not to be computed"):
        other.ask(never, key)
    # The claim was given back with the failure, so nobody waits for it.
    assert one.ask(gives(b"new"), key) == b"new"
    assert other.ask(never, key) == b"new"
    assert other.counts == Counts(store_hits=2, misses=1)
    client.close()
