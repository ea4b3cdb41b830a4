"""`plinth up` as a whole: what starts, what comes back, what it refuses, and that nothing outlives it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from server.embedded import postgres
from tests.stack import PATIENCE, UNLIMITED, Stack, make_folder, runs, wait_for

# One worker runs this file, so that the stacks of a module are shared.
pytestmark = pytest.mark.heavy
# How many may sign in is left to the environment.
SMALL = {
    "api_workers": 1,
    "drain_timeout": 2,
    "rate_limits": {name: rate for name, rate in UNLIMITED.items() if name != "auth"},
}
SHELLS = [shell for shell in ("bash", "zsh", "dash") if shutil.which(shell)]
ORDINARY = 0o777


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


def banner_of(stack: Stack) -> list[str]:
    """The lines of the banner that are to be pasted."""
    return [line for line in stack.output.splitlines() if line.startswith(("TOKEN=", "curl "))][-3:]


def paste(shell: str, *lines: str) -> "subprocess.CompletedProcess[str]":
    """Run lines in a shell that has a token of somebody else's."""
    environment = os.environ | {"TOKEN": "stale"}
    script = "\necho\n".join(lines)
    return subprocess.run(
        [shell, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment
    )


def test_it_serves_and_names_its_processes(shared: Stack) -> None:
    assert answers(shared)
    expected = {"supervisor", "postgres", "redis", "api-0", "realtime-0", "worker-0", "agents", "envoy"}
    assert set(shared.processes()) == expected
    assert len(str(shared.settings.socket_dir)) < len(str(shared.data_dir))


def await_next_second() -> None:
    now = int(time.time())
    wait_for(lambda: int(time.time()) > now)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_commands_of_the_banner_work_whenever_they_are_pasted(shared: Stack, shell: str) -> None:
    lines, seen = banner_of(shared), set[str]()
    for _ in range(2):
        done = paste(shell, *lines)
        assert (done.returncode, done.stderr) == (0, "")
        listed, created = (json.loads(line) for line in done.stdout.splitlines() if line)
        assert "pages" in listed
        assert created["title"].startswith("Hello")
        seen.add(created["id"])
        # Nobody pastes twice within a second, and the title has the time.
        await_next_second()
    assert len(seen) == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_the_commands_of_the_banner_fail_aloud(shared: Stack, shell: str) -> None:
    log_in, show, create = banner_of(shared)
    forgot = paste(shell, log_in.replace(shared.password, "forgotten"), show, create)
    assert "curl: (22)" in forgot.stderr
    assert '"CREDENTIALS_INVALID"' in forgot.stderr
    assert "TOKEN: log in first" in forgot.stderr
    assert forgot.returncode != 0
    assert not forgot.stdout.strip()
    for line in (show, create):
        refused = paste(shell, f"TOKEN=stale; {line}")
        assert refused.returncode == 22
        assert '"CREDENTIALS_INVALID"' in refused.stdout


def test_development_lets_people_sign_in_more_often_than_five_times(shared: Stack) -> None:
    body = {"email": shared.email, "password": shared.password}
    answers = [httpx.post(f"{shared.url}/api/v1/auth/login", json=body, timeout=10) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"auth";q=100;w=900'}


@pytest.mark.parametrize("name", ["api-0", "realtime-0", "worker-0", "agents", "envoy", "redis", "postgres"])
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


def has_said(log: Path, words: str) -> bool:
    return words in log.read_text()


def test_every_process_tells_where_its_threads_are_and_goes_on(shared: Stack) -> None:
    before = shared.processes()
    told = shared.whereabouts()
    assert re.search(r"^api-0:\n(.*\n)*.* in _serve_calls$", told, re.MULTILINE)
    assert re.search(r"^realtime-0:\n(.*\n)*.* in _serve_streams$", told, re.MULTILINE)
    for name in ("worker-0", "agents"):
        shared.kill(name, signal.SIGUSR1)
        log = shared.data_dir / "logs" / f"{name}.log"
        shared.wait_for(partial(has_said, log, " in _perform"))
    assert shared.processes() == before
    assert answers(shared)


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
    (own_folder / "postgres" / "PG_VERSION").write_text("9.6\n")
    stack = Stack(own_folder)
    assert stack.launch().wait(PATIENCE) == 1
    assert f"holds the data of PostgreSQL 9, and this is PostgreSQL {postgres.major(stack.settings)}" in stack.output
    assert "Name the programs of PostgreSQL 9 in PLINTH_POSTGRES_BIN" in stack.output


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


# Who may log in -------------------------------------------------------------------------------------------------------


def logs_in(stack: Stack) -> bool:
    login = {"email": stack.email, "password": stack.password}
    return httpx.post(f"{stack.url}/api/v1/auth/login", json=login, timeout=20).status_code == 200


def printed_login(stack: Stack, before: int) -> bool:
    """Whether it printed a login since its output had this many characters."""
    return "\n  Login " in stack.output[before:] or "P1-" in stack.output[before:]


@pytest.mark.timeout(240)
def test_a_login_is_printed_only_if_it_works_after_the_secret_has_changed(own_folder: Path) -> None:
    """Four secrets: that of the folder, one that is set later, another one, and back with the one before."""
    first, second = "the first secret, which is long enough", "the second secret, which is long enough"
    passwords = []
    for settings in ({}, {"secret_key": first}, {"secret_key": second, "secret_key_previous": first}):
        stack = Stack(own_folder, **SMALL, **settings)
        stack.start()
        assert logs_in(stack)
        passwords.append(stack.password)
        assert stack.stop() == 0
    assert len(set(passwords)) == 1
    (own_folder / "secret").unlink()
    stack = Stack(own_folder, **SMALL, secret_key=second)
    before = len(stack.output)
    stack.start()
    assert not printed_login(stack, before)
    assert "has another password than the one that follows from PLINTH_SECRET_KEY" in stack.output[before:]
    assert "PLINTH_SECRET_KEY_PREVIOUS" in stack.output[before:]
    assert not {"email", "password", "tenant_id"} & json.loads((own_folder / "run" / "serving.json").read_text()).keys()
    assert stack.stop() == 0


def test_production_gets_neither_sample_data_nor_a_login(own_stack: Callable[..., Stack]) -> None:
    production = {"environment": "production", "secret_key": "a secret of production's own, long enough"}
    stack = own_stack(**SMALL, **production, password_memory=19 * 1024)
    assert not printed_login(stack, 0)
    assert stack.url in stack.output
    with psycopg.connect(stack.settings.owner_dsn) as connection:
        assert connection.execute("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM tenants)").fetchone() == (
            0,
            0,
        )


# What others may read -------------------------------------------------------------------------------------------------


def umask(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:")), 8)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_have_ordinary_modes_and_what_is_secret_does_not(shared: Stack) -> None:
    assert mode(shared.data_dir) == ORDINARY & ~umask(shared.pid("supervisor"))
    closed = {name: mode(shared.data_dir / name) for name in ("run", "logs", "postgres", "redis")}
    assert closed == dict.fromkeys(closed, 0o700)
    files = {name: mode(shared.data_dir / name) for name in ("secret", "lock", "run/serving.json")}
    assert files == dict.fromkeys(files, 0o600)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_generated_folders_have_the_modes_that_the_umask_leaves(mask: int, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from clients import generate; generate.build(Path(sys.argv[1]))"
    output = tmp_path / "src"
    subprocess.run([sys.executable, "-c", code, str(output)], check=True, umask=mask, timeout=50)
    found = {mode(path) for path in (output, *output.rglob("*")) if path.is_dir()}
    assert found == {ORDINARY & ~mask}
    assert {mode(path) for path in output.rglob("*.py")} == {0o666 & ~mask}


# Few open files -------------------------------------------------------------------------------------------------------


class Limited(Stack):
    """A stack that may open few files, and whose soft limit is lower still."""

    FILES = 700
    LIMITS = f'ulimit -Sn 256 && ulimit -Hn {FILES} && exec "$@"'
    COMMAND = ("/bin/sh", "-c", LIMITS, "sh", *Stack.COMMAND)


@pytest.fixture
def limited() -> Iterator[Limited]:
    stack = Limited(None, **SMALL)
    stack.start()
    yield stack
    stack.remove()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection on which nothing was asked."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


def test_few_open_files_are_told_and_let_no_connection_hang(limited: Limited) -> None:
    most = limited.FILES // 2
    assert f"the limit of open files is {limited.FILES}, below 10512" in limited.output
    assert f"closes connections beyond {most} instead of beyond 10000" in limited.output
    assert psutil.Process(limited.pid("envoy")).rlimit(psutil.RLIMIT_NOFILE) == (limited.FILES, limited.FILES)
    opened = [socket.create_connection(("127.0.0.1", limited.port), timeout=10) for _ in range(limited.FILES)]
    try:
        for connection in opened:
            connection.settimeout(0)
        # Each that is beyond the bound is closed, and hangs in no queue; those below it stay.
        wait_for(lambda: sum(map(is_closed, opened)) >= limited.FILES - most, 30, "closing what is too much")
        kept = [connection for connection in opened if not is_closed(connection)]
        assert 0 < len(kept) <= most
        kept[0].settimeout(20)
        kept[0].sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: plinth\r\nConnection: close\r\n\r\n")
        assert kept[0].recv(100).startswith(b"HTTP/1.1 200 ")
    finally:
        for connection in opened:
            connection.close()
    limited.wait_for(lambda: answers(limited))
