"""The supervisor by itself, with roles that behave and roles that do not."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from server.embedded.supervisor import READ_SIZE
from tests.embedded.scenes import LINES
from tests.stack import PATIENCE, runs, wait_for

pytestmark = pytest.mark.heavy


class Scene(NamedTuple):
    process: subprocess.Popen[str]
    folder: Path

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def pids(self) -> dict[str, int]:
        path = self.folder / "processes.json"
        found: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def wait_until_serving(self) -> None:
        wait_for(lambda: "serving" in self.output or self.process.poll() is not None)
        assert self.process.poll() is None, self.output

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[[str], Scene]]:
    scenes: list[Scene] = []

    def start(scene: str) -> Scene:
        with (tmp_path / "output").open("w") as output:
            command = [sys.executable, "-m", "tests.embedded.scenes", scene, str(tmp_path)]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        scenes.append(Scene(process, tmp_path))
        return scenes[-1]

    yield start
    for scene in scenes:
        scene.process.kill()
        scene.process.wait()


Play = Callable[[str], Scene]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_all_children_and_is_a_good_end(play: Play, number: signal.Signals) -> None:
    scene = play("steady")
    scene.wait_until_serving()
    pids = scene.pids()
    assert set(pids) == {"supervisor", "steady"}
    assert scene.end(number) == 0
    assert not any(map(runs, pids.values()))


def said(scene: Scene, times: int) -> bool:
    return scene.output.count("logs are opened anew") == times


def test_a_hangup_ends_nothing(play: Play) -> None:
    scene = play("steady")
    scene.wait_until_serving()
    pids = scene.pids()
    for times in (1, 2):
        scene.process.send_signal(signal.SIGHUP)
        wait_for(partial(said, scene, times))
    assert scene.pids() == pids
    assert scene.end() == 0


def test_a_moved_log_is_written_no_more_after_a_hangup(play: Play) -> None:
    scene = play("chatty")
    scene.wait_until_serving()
    wait_for(lambda: "it broke" in scene.output)
    log = scene.folder / "logs" / "chatty.log"
    moved = log.rename(log.with_suffix(".moved"))
    scene.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "logs are opened anew" in scene.output)
    before = moved.read_bytes()
    os.kill(scene.pids()["chatty"], signal.SIGKILL)
    wait_for(lambda: log.exists() and "it broke" in log.read_text())
    assert moved.read_bytes() == before
    assert scene.end() == 0


def test_a_crash_in_c_is_told_of_with_where_it_was(play: Play) -> None:
    scene = play("crashing")
    place = scene.folder / "logs" / "crashing.crash.log"
    wait_for(lambda: f"crashed (SIGSEGV); what it was at: {place}" in scene.output)
    assert "Fatal Python error: Segmentation fault" in place.read_text()
    assert "in crashing" in place.read_text()
    scene.end()


def test_a_child_that_dies_comes_back(play: Play) -> None:
    scene = play("steady")
    scene.wait_until_serving()
    first = scene.pids()["steady"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: scene.pids().get("steady", first) != first)
    wait_for(lambda: "steady     | is back" in scene.output)
    assert "steady     | died (SIGKILL), restarts in 0." in scene.output
    assert scene.end() == 0


def test_a_child_that_keeps_dying_is_given_up_loudly_and_everything_ends(play: Play) -> None:
    scene = play("brittle")
    assert scene.process.wait(PATIENCE) == 1
    assert "brittle died 5 times within 60 s (last: exit code 3); given up." in scene.output
    assert scene.output.rstrip().endswith("  the last words")
    assert str(scene.folder / "logs" / "brittle.log") in scene.output
    assert not any(map(runs, scene.pids().values()))


def test_a_child_that_cannot_start_is_not_tried_again(play: Play) -> None:
    scene = play("unready")
    assert scene.process.wait(PATIENCE) == 1
    assert "unready did not start (exit code 1)." in scene.output
    assert scene.output.rstrip().endswith("ValueError: no table")


def test_a_child_that_never_gets_ready_is_killed(play: Play) -> None:
    scene = play("stuck")
    assert scene.process.wait(PATIENCE) == 1
    assert "stuck      | was not ready within 0.5 s, is killed" in scene.output


def test_a_child_that_hears_no_signal_is_killed_after_its_patience(play: Play) -> None:
    scene = play("stubborn")
    scene.wait_until_serving()
    pid = scene.pids()["stubborn"]
    assert scene.end() == 0
    assert not runs(pid)


@pytest.mark.parametrize("name", ["answering", "turning"])
def test_a_child_that_stops_answering_is_ended_says_where_it_was_and_is_started_again(play: Play, name: str) -> None:
    scene = play(name)
    scene.wait_until_serving()
    wait_for(lambda: f"{name:<10} | died (exit code 1)" in scene.output, what=lambda: scene.output)
    assert "in wait_for_nobody" in (scene.folder / "logs" / f"{name}.log").read_text()
    wait_for(lambda: runs(scene.pids().get(name, 0)), what="another one")


def test_a_child_that_is_watched_no_more_goes_on(play: Play) -> None:
    scene = play("ended")
    scene.wait_until_serving()
    assert "died" not in scene.output
    assert scene.end() == 0


def test_what_a_child_started_goes_with_it(play: Play) -> None:
    scene = play("parent")
    scene.wait_until_serving()
    (grandchild,) = psutil.Process(scene.pids()["parent"]).children()
    assert scene.end() == 0
    assert not runs(grandchild.pid)


def test_killing_the_supervisor_leaves_no_child(play: Play) -> None:
    scene = play("stubborn")
    scene.wait_until_serving()
    pids = scene.pids()
    scene.end(signal.SIGKILL)
    wait_for(lambda: not any(map(runs, pids.values())))


def test_lines_go_to_rotated_files_and_only_urgent_ones_to_the_terminal(play: Play) -> None:
    scene = play("chatty")
    scene.wait_until_serving()
    assert scene.end() == 0
    files = sorted((scene.folder / "logs").glob("chatty.log*"))
    assert [path.name for path in files] == ["chatty.log", "chatty.log.1", "chatty.log.2"]
    # A file is rotated after what was read at once.
    assert all(path.stat().st_size <= 4096 + READ_SIZE for path in files)
    assert "line 1" not in scene.output
    assert "chatty     | ERROR it broke request_id=r1" in scene.output


def test_a_task_returns_what_its_function_returned(play: Play) -> None:
    scene = play("task")
    scene.wait_until_serving()
    assert "result {'answer': 42}" in scene.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("failing", ["task failed (exit code 1).", "ZeroDivisionError"]),
        ("missing", ["missing failed (exit code 1).", "program cannot be executed: "]),
    ],
)
def test_a_task_that_fails_ends_it_all_with_its_last_lines(play: Play, name: str, words: list[str]) -> None:
    scene = play(name)
    assert scene.process.wait(PATIENCE) == 1
    assert all(word in scene.output for word in words), scene.output


def test_without_log_files_children_write_where_the_supervisor_does(play: Play) -> None:
    scene = play("bare")
    wait_for(lambda: scene.output.count('"it broke"') == 2)
    assert scene.end() == 0
    last = f'{{"level": "INFO", "message": "line {LINES - 1}"}}'
    assert scene.output.count(last) == 2
