"""A worker is killed in the middle of long work: another one goes on with it, or it fails. It is never lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plinth.operations.v1.operation_pb2 import Operation

from tests.domains.operations.process import TOTAL
from tests.domains.operations.scene import Scene, effects
from tests.stack import wait_for
from tests.workers.world import lose_worker_of, queued

pytestmark = pytest.mark.heavy

Launch = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def launch(scene: Scene, tmp_path: Path) -> Iterator[Launch]:
    """Starts workers, which are gone after the test."""
    started: list[subprocess.Popen[bytes]] = []
    dsn = scene.stack.settings.runtime_dsn

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.domains.operations.process", dsn, scene.queue, str(tmp_path)]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def let(folder: Path, *numbers: int) -> None:
    """Let these batches be done."""
    for number in numbers:
        (folder / str(number)).touch()


def kill_in_the_middle(scene: Scene, operation: Operation, launch: Launch, folder: Path) -> None:
    """Two batches are done when the worker is killed, and nobody has told of its end."""
    let(folder, 0, 1)
    first = launch()
    wait_for(lambda: scene.shown(operation)["done"] == 2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert scene.shown(operation)["state"] == "STATE_RUNNING"
    lose_worker_of(scene.stack, scene.queue)


def test_another_worker_goes_on_after_the_last_batch(scene: Scene, launch: Launch, tmp_path: Path) -> None:
    operation = scene.start()
    kill_in_the_middle(scene, operation, launch, tmp_path)
    let(tmp_path, *range(TOTAL))
    launch()
    wait_for(lambda: scene.shown(operation)["state"] == "STATE_DONE")
    assert scene.shown(operation)["result"] == {"first": 2, "attempt": 2}
    assert effects(scene.stack, operation) == list(range(TOTAL))
    wait_for(lambda: not queued(scene.stack, scene.queue))


def test_what_cannot_be_resumed_fails(scene: Scene, launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "once").touch()
    operation = scene.start()
    kill_in_the_middle(scene, operation, launch, tmp_path)
    let(tmp_path, *range(TOTAL))
    launch()
    wait_for(lambda: scene.shown(operation)["state"] == "STATE_FAILED")
    assert scene.shown(operation)["error"]["reason"] == "WORKER_LOST"
    assert effects(scene.stack, operation) == [0, 1]
    wait_for(lambda: not queued(scene.stack, scene.queue))


def test_a_worker_that_is_told_to_end_leaves_its_work_to_another_one(
    scene: Scene, launch: Launch, tmp_path: Path
) -> None:
    operation = scene.start()
    let(tmp_path, 0)
    first = launch()
    wait_for(lambda: scene.shown(operation)["done"] == 1)
    os.kill(first.pid, signal.SIGTERM)
    launch()
    # It ends because its work has noticed that another one has begun.
    assert first.wait(60) == 0
    let(tmp_path, *range(TOTAL))
    wait_for(lambda: scene.shown(operation)["state"] == "STATE_DONE")
    assert scene.shown(operation)["result"] == {"first": 1, "attempt": 2}
    assert effects(scene.stack, operation) == list(range(TOTAL))
