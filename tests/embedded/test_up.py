"""`plinth up` as a whole: what starts, what comes back, what it refuses, and that nothing outlives it."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from server.embedded import postgres
from tests.stack import PATIENCE, Stack, make_folder, runs, wait_for

# One worker runs this file, so that the stacks of a module are shared.
pytestmark = pytest.mark.heavy
SMALL = {"api_workers": 1, "drain_timeout": 2}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = make_folder()
    yield made / ("long" * 20) / "data"
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Stack]:
    stack = Stack(folder, **SMALL)
    stack.start()
    yield stack
    stack.remove()


def answers(stack: Stack) -> bool:
    try:
        return httpx.get(f"{stack.url}/api/v1/health", timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


def paste(stack: Stack, shell: str) -> list[str]:
    """Run the lines of the banner in a shell; what the second and third printed."""
    lines = [line for line in stack.output.splitlines() if line.startswith(("TOKEN=", "curl "))][-3:]
    script = "\necho\n".join(lines)
    result = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    return [line for line in result.stdout.splitlines() if line]


def test_it_serves_and_names_its_processes(shared: Stack) -> None:
    assert answers(shared)
    expected = {"supervisor", "postgres", "redis", "api-0", "realtime-0", "worker-0", "envoy"}
    assert set(shared.processes()) == expected
    assert len(str(shared.settings.socket_dir)) < len(str(shared.data_dir))


def test_the_commands_of_the_banner_work_when_pasted(shared: Stack) -> None:
    for shell in filter(shutil.which, ("bash", "zsh")):
        listed, created = map(json.loads, paste(shared, shell))
        assert "pages" in listed
        assert created["title"] == "Hello"


@pytest.mark.parametrize("name", ["api-0", "realtime-0", "worker-0", "envoy", "redis", "postgres"])
def test_a_process_that_is_killed_comes_back(shared: Stack, name: str) -> None:
    before = shared.output.count(f"{name:<10} | is back")
    old = shared.kill(name)
    shared.wait_for(lambda: shared.output.count(f"{name:<10} | is back") > before)
    assert shared.pid(name) not in {0, old}
    shared.wait_for(lambda: answers(shared))


def proportional_size(pid: int) -> int:
    """Bytes of a process, shared pages counted in proportion: forked processes share most of theirs."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def test_an_idle_stack_with_two_api_workers_stays_under_450_mb(own_stack: Callable[..., Stack]) -> None:
    # Its own: what the shared one holds depends on the tests that ran before.
    stack = own_stack(api_workers=2)
    assert {"api-0", "api-1", "realtime-0", "worker-0", "envoy", "postgres", "redis"} <= stack.processes().keys()
    assert sum(map(proportional_size, stack.family())) < 450 * 1024 * 1024


def test_a_second_one_on_the_same_data_is_refused(shared: Stack) -> None:
    second = Stack(shared.data_dir, **SMALL)
    printed = len(shared.output)
    serving = (shared.data_dir / "run" / "serving.json").read_bytes()
    process = second.launch()
    (shared.data_dir / "run" / "serving.json").write_bytes(serving)
    assert process.wait(PATIENCE) == 1
    assert f"{shared.data_dir} is in use by process {shared.pid('supervisor')}." in shared.output[printed:]
    # Each worker looks after PostgreSQL by itself, and the scene before has killed it.
    shared.wait_for(lambda: answers(shared))


def test_a_port_that_is_taken_is_named_before_anything_starts(shared: Stack) -> None:
    second = Stack(port=shared.port)
    try:
        assert second.launch().wait(PATIENCE) == 1
        assert f"port {shared.port} of 127.0.0.1 is taken. Set PLINTH_PORT" in second.output
        assert not (second.data_dir / "postgres").exists()
    finally:
        second.remove()


def test_ctrl_c_leaves_no_process_and_the_next_one_finds_its_data(shared: Stack) -> None:
    tenant, password, family = shared.tenant_id, shared.password, shared.family()
    assert len(family) > len(shared.processes())
    assert shared.stop() == 0
    assert not any(map(runs, family))
    shared.start()
    assert (shared.tenant_id, shared.password) == (tenant, password)


def test_killing_the_supervisor_leaves_no_process_and_the_next_one_starts(shared: Stack) -> None:
    family = shared.family()
    shared.kill("supervisor")
    shared.wait()
    # At once: the PostgreSQL of the one before may still be shutting down.
    shared.start()
    wait_for(lambda: not any(map(runs, family)))
    assert answers(shared)


def test_data_of_another_postgresql_is_refused_in_words(own_folder: Path) -> None:
    (own_folder / "postgres").mkdir(parents=True)
    (own_folder / "postgres" / "PG_VERSION").write_text("15\n")
    stack = Stack(own_folder)
    assert stack.launch().wait(PATIENCE) == 1
    assert f"holds the data of PostgreSQL 15, and this is PostgreSQL {postgres.MAJOR}" in stack.output


@pytest.fixture
def own_folder() -> Iterator[Path]:
    made = make_folder()
    yield made / "data"
    shutil.rmtree(made, ignore_errors=True)


def test_sigterm_while_it_starts_leaves_no_process(own_folder: Path) -> None:
    stack = Stack(own_folder, **SMALL)
    process = stack.launch()
    registry = own_folder / "run" / "processes.json"
    wait_for(lambda: registry.exists() and "postgres" in registry.read_text())
    family = stack.family()
    os.kill(stack.pid("supervisor"), signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert not any(map(runs, family))
    assert not list(own_folder.glob("run/serving.json"))


def test_two_stacks_never_share_a_port(shared: Stack) -> None:
    with socket.socket() as taker, pytest.raises(OSError, match="in use"):
        taker.bind(("127.0.0.1", shared.port))
