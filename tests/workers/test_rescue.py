"""A job whose worker is lost is done by another one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.workers import rescue as module
from server.workers.rescue import Rescue, stalled_after
from tests.clients import rows
from tests.stack import Stack, wait_for
from tests.workers.machinery import own_database
from tests.workers.process import TASK
from tests.workers.world import enqueue, lose_worker_of, queued

pytestmark = pytest.mark.heavy

KEYS = {"a", "b", "c"}
Launch = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def launch(stack: Stack, queue: str, tmp_path: Path) -> Iterator[Launch]:
    """Starts workers, which are gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.workers.process", stack.settings.runtime_dsn, queue, str(tmp_path)]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def rescue(stack: Stack) -> Iterator[Rescue]:
    with own_database(stack.settings.runtime_dsn) as database:
        yield Rescue(database, stalled_after(5.0), ThreadPoolExecutor(1))


def journal(folder: Path) -> list[list[str]]:
    """What began or ended, which job, in which process."""
    path = folder / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_no_job_is_lost_with_a_worker_that_is_killed(stack: Stack, queue: str, launch: Launch, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    for key in sorted(KEYS):
        enqueue(stack, queue, TASK, key=key)
    first = launch()
    # As many as it does at once.
    wait_for(lambda: len(journal(tmp_path)) == 2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    hold.unlink()
    lose_worker_of(stack, queue)
    second = launch()
    wait_for(lambda: not queued(stack, queue))
    lines = journal(tmp_path)
    assert {key for what, key, pid in lines if what == "ends" and int(pid) == second.pid} == KEYS
    assert len(lines) == 2 + 2 * len(KEYS)


def being_done(stack: Stack, queue: str, silence: str, attempts: int = 0) -> int:
    """The id of a job that is being done by a worker which has been silent for so long."""
    worker = rows(
        stack,
        "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s::interval) RETURNING id",
        silence,
    )
    job = enqueue(stack, queue, TASK, key="x")
    rows(
        stack,
        "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s, attempts = %s WHERE id = %s RETURNING id",
        worker[0]["id"],
        attempts,
        job,
    )
    return job


def test_only_what_lost_workers_were_doing_is_put_back(stack: Stack, queue: str, rescue: Rescue) -> None:
    lost, alive = being_done(stack, queue, "36 seconds"), being_done(stack, queue, "20 seconds")
    rescue.put_back()
    found = {job["id"]: (job["status"], job["attempts"]) for job in queued(stack, queue)}
    assert found == {lost: ("todo", 1), alive: ("doing", 0)}


def test_a_job_that_kills_its_workers_fails_for_good(stack: Stack, queue: str, rescue: Rescue) -> None:
    being_done(stack, queue, "1 hour", attempts=module.MOST_ATTEMPTS - 1)
    rescue.put_back()
    assert queued(stack, queue)[0]["status"] == "failed"
