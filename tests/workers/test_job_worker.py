"""Workers do jobs at least once, try again what fails, and keep schedules once however many there are."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
import pytest
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from prometheus_client import REGISTRY

from server.adapters import redis
from server.kernel.jobs import NEVER_AGAIN, Job, Retry, Schedule
from server.workers import adapter
from server.workers import job_worker as module
from tests.clients import rows, unique
from tests.stack import PATIENCE, Stack, wait_for
from tests.workers.machinery import job_worker, no_hints
from tests.workers.world import enqueue, queued, running

# Those of a worker whose connection waits for notifications.
LISTENING = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND query LIKE 'LISTEN%%' AND state = 'idle'"
QUICK_RETRY = Retry(attempts=3, first_pause=0.001, longest_pause=0.001)


@contextmanager
def announcing(stack: Stack) -> Iterator[Callable[..., None]]:
    """Tells of commits, as the chain does."""
    announcer = redis.CommitAnnouncer(redis.connect(stack.settings.redis_dsn, stack.settings.redis_timeout))
    announcer.start()
    try:
        yield announcer.announce
    finally:
        announcer.close()


def failures(task: str) -> float:
    return REGISTRY.get_sample_value("plinth_job_failures_total", {"task": task}) or 0.0


def test_plain_and_async_jobs_are_done_and_their_rows_are_gone(
    stack: Stack, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker looks once, when it begins: of what comes later only a hint or a notification can tell it.
    monkeypatch.setattr(module, "POLL", 3600.0)
    settings = stack.settings
    done: dict[str, str] = {}

    def plain(key: str) -> None:
        done[key] = threading.current_thread().name

    async def asynchronous(key: str) -> None:
        await asyncio.sleep(0)
        done[key] = threading.current_thread().name

    jobs = [Job("test.plain", plain, queue), Job("test.async", asynchronous, queue)]
    before, name = enqueue(stack, queue, "test.plain", key="before"), unique("test")
    hints = partial(redis.hints, settings.redis_dsn, settings.redis_timeout, redis.JOBS)
    with running(job_worker(settings.runtime_dsn, jobs, name=name, hints=hints)), announcing(stack) as announce:
        wait_for(lambda: "before" in done)
        enqueue(stack, queue, "test.async", key="hinted")
        # Until the worker listens, nobody is told.
        wait_for(lambda: announce(has_jobs=True) or "hinted" in done)
        wait_for(lambda: rows(stack, LISTENING, f"plinth {name} jobs"), what="somebody who listens")
        # Procrastinate forgets a notification that comes while it asks for jobs, and looks again at the next poll.
        for _ in range(5):
            enqueue(stack, queue, "test.async", lock=unique("schedule"), key="scheduled")
            with suppress(AssertionError):
                wait_for(lambda: "scheduled" in done, timeout=10)
                break
        assert "scheduled" in done
        wait_for(lambda: not queued(stack, queue))
    assert done["before"].startswith("ThreadPoolExecutor")
    assert not done["hinted"].startswith("ThreadPoolExecutor")
    assert not rows(stack, "SELECT id FROM procrastinate_jobs WHERE id = %s", before)


@pytest.mark.usefixtures("quick")
def test_a_job_is_tried_again_until_it_succeeds(stack: Stack, queue: str) -> None:
    attempts: list[int] = []

    def fail_twice() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError

    enqueue(stack, queue, "test.fail_twice")
    with running(job_worker(stack.settings.runtime_dsn, [Job("test.fail_twice", fail_twice, queue, QUICK_RETRY)])):
        wait_for(lambda: not queued(stack, queue))
    assert len(attempts) == 3


@pytest.mark.usefixtures("quick")
def test_a_job_fails_for_good_after_its_last_attempt(
    stack: Stack, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []
    name = unique("test")

    async def fail() -> None:
        attempts.append(1)
        raise ValueError("no such thing")

    enqueue(stack, queue, name)
    with running(job_worker(stack.settings.runtime_dsn, [Job(name, fail, queue, QUICK_RETRY)])):
        wait_for(lambda: queued(stack, queue)[0]["status"] == "failed")
    assert len(attempts) == queued(stack, queue)[0]["attempts"] == 3
    assert failures(name) == 1
    whole = [record for record in caplog.records if record.levelno == logging.ERROR and name in record.getMessage()]
    assert len(whole) == 1
    assert whole[0].exc_info
    assert "no such thing" in str(whole[0].exc_info[1])


@pytest.mark.usefixtures("quick")
def test_what_takes_too_long_or_cancels_itself_has_failed(stack: Stack, queue: str) -> None:
    async def dawdle() -> None:
        await asyncio.sleep(60)

    async def despair() -> None:
        raise asyncio.CancelledError

    jobs = [
        Job("test.dawdle", dawdle, queue, NEVER_AGAIN, timeout=0.05),
        Job("test.despair", despair, queue, NEVER_AGAIN),
    ]
    for job in jobs:
        enqueue(stack, queue, job.name)
    with running(job_worker(stack.settings.runtime_dsn, jobs)):
        wait_for(lambda: [job["status"] for job in queued(stack, queue)] == ["failed", "failed"])


def test_a_job_that_this_worker_does_not_know_is_put_back(stack: Stack, queue: str) -> None:
    enqueue(stack, queue, "test.of_a_later_release")
    with running(job_worker(stack.settings.runtime_dsn, [Job("test.known", lambda: None, queue)])):
        wait_for(lambda: queued(stack, queue)[0]["attempts"] == 1)
        job = queued(stack, queue)[0]
    assert (job["status"], job["task_name"]) == ("todo", "test.of_a_later_release")


def test_a_worker_takes_nothing_from_queues_that_it_does_not_attend_to(stack: Stack, queue: str) -> None:
    done = threading.Event()
    own = unique("queue")
    enqueue(stack, queue, "test.finish")
    with running(job_worker(stack.settings.runtime_dsn, [Job("test.finish", done.set, own)])):
        enqueue(stack, own, "test.finish")
        assert done.wait(PATIENCE)
    assert queued(stack, queue)[0]["status"] == "todo"


def test_jobs_that_run_when_the_worker_ends_may_finish_or_are_put_back(stack: Stack, queue: str) -> None:
    started = threading.Semaphore(0)
    finished: list[str] = []

    async def sleep(key: str, seconds: float) -> None:
        started.release()
        await asyncio.sleep(seconds)
        finished.append(key)

    enqueue(stack, queue, "test.sleep", key="short", seconds=0.2)
    enqueue(stack, queue, "test.sleep", key="long", seconds=60)
    with running(job_worker(stack.settings.runtime_dsn, [Job("test.sleep", sleep, queue, NEVER_AGAIN)], patience=3.0)):
        for _ in range(2):
            assert started.acquire(timeout=PATIENCE)
    assert finished == ["short"]
    assert [(job["args"]["key"], job["status"]) for job in queued(stack, queue)] == [("long", "todo")]


def test_how_a_job_ended_is_told_though_connections_are_lost(stack: Stack, queue: str) -> None:
    name, started, finish = unique("test"), threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        finish.wait(PATIENCE)

    enqueue(stack, queue, "test.wait")
    with running(job_worker(stack.settings.runtime_dsn, [Job("test.wait", wait, queue)], name=name)):
        assert started.wait(PATIENCE)
        killed = rows(
            stack,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            f"plinth {name} jobs",
        )
        finish.set()
        wait_for(lambda: not queued(stack, queue))
        # It is told of new jobs again as well.
        finish.clear()
        started.clear()
        enqueue(stack, queue, "test.wait")
        assert started.wait(PATIENCE)
        finish.set()
    assert killed


def test_the_database_is_told_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    failures: list[psycopg.Error] = [psycopg.OperationalError(), psycopg.errors.AdminShutdown()]

    async def execute(_: PsycopgConnector, query: str, **arguments: Any) -> None:
        told.append(f"{query} {arguments}")
        if failures:
            raise ConnectorException from failures.pop(0)

    monkeypatch.setattr(PsycopgConnector, "execute_query_async", execute)
    monkeypatch.setattr(adapter, "INSISTENCE", (0.001,) * 3)
    connector = adapter.InsistentConnector("", no_hints, name="test", statement_timeout=1.0)
    asyncio.run(connector.execute_query_async("finish", job_id=1))
    assert told == ["finish {'job_id': 1}"] * 3
    # What is no fault of the connection is told once; what goes on failing is raised in the end.
    failures[:] = [psycopg.errors.RaiseException()]
    with pytest.raises(ConnectorException):
        asyncio.run(connector.execute_query_async("finish", job_id=1))
    failures[:] = [psycopg.OperationalError() for _ in range(5)]
    with pytest.raises(ConnectorException):
        asyncio.run(connector.execute_query_async("finish", job_id=1))
    assert len(told) == 3 + 1 + 4


class Deferrals(logging.Handler):
    """Hears which moments of a schedule a job was enqueued for, by whom."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.enqueued: Counter[int] = Counter()
        self.left_to_others = 0

    def emit(self, record: logging.LogRecord) -> None:
        action = getattr(record, "action", "")
        if action == "periodic_task_deferred":
            self.enqueued[record.__dict__["defer_timestamp"]] += 1
        self.left_to_others += action == "periodic_task_already_deferred"


@pytest.fixture
def deferrals() -> Iterator[Deferrals]:
    """Listens."""
    logger, heard = logging.getLogger("procrastinate.periodic"), Deferrals()
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    yield heard
    logger.removeHandler(heard)
    logger.setLevel(level)


def test_a_schedule_runs_once_however_many_workers_there_are(stack: Stack, queue: str, deferrals: Deferrals) -> None:
    runs: list[str] = []
    plan = Schedule(
        "* * * * * *", Job(unique("test"), lambda word: runs.append(f"{word}!"), queue), "", {"word": "hello"}
    )
    workers = [job_worker(stack.settings.runtime_dsn, [plan.job], [plan]) for _ in range(2)]
    with running(*workers):
        wait_for(lambda: len(deferrals.enqueued) >= 3 and deferrals.left_to_others >= 2)
        wait_for(lambda: len(runs) >= 3)
    assert set(deferrals.enqueued.values()) == {1}
    assert set(runs) == {"hello!"}
    assert len(runs) <= len(deferrals.enqueued)


def test_runs_of_a_schedule_do_not_pile_up_behind_a_slow_one(stack: Stack, queue: str) -> None:
    name, runs = unique("test"), []
    plan = Schedule("0 0 1 1 *", Job(name, lambda: runs.append(1), queue))
    for moment in range(5):
        rows(
            stack,
            "SELECT procrastinate_defer_periodic_job_v2(%s, %s, NULL, %s, 0, '', %s, %s::jsonb)",
            queue,
            f"schedule {name} ",
            name,
            moment,
            f'{{"timestamp": {moment}}}',
        )
    with running(job_worker(stack.settings.runtime_dsn, [plan.job], [plan])):
        wait_for(lambda: not queued(stack, queue))
    assert len(runs) == 1


def test_contradictions_are_refused() -> None:
    job, twin = Job("test.a", lambda: None), Job("test.a", lambda: None, "other")
    plans = [Schedule("* * * * *", job), Schedule("61 * * * *", job), Schedule("* * * * *", Job("test.b", print))]
    with pytest.raises(ValueError, match="2 jobs are called") as caught:
        job_worker("", [job, twin], plans)
    for fault in ("2 schedules of test.a are called ''", "test.b has a schedule but is no job", "'61 * * * *' is no"):
        assert fault in str(caught.value)
