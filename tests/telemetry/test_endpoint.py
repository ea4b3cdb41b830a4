"""The scrape endpoint of a host: one process answers for all, and when it dies another one does."""

import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Thread
from typing import Any

import pytest
from prometheus_client import start_http_server

from server.adapters import gateway_statistics
from server.adapters.gateway_statistics import GatewayStatistics
from server.kernel.record.metrics import SHED
from server.metrics import files as metrics_files
from server.metrics.endpoint import Endpoint
from server.settings import Settings
from tests.stack import PATIENCE, free_port, make_folder, wait_for
from tests.telemetry.scrapes import answers, parsed, scrape

pytestmark = pytest.mark.heavy

Member = subprocess.Popen[str]
STARTS, ALIVE = "plinth_test_starts_total", "plinth_test_alive"


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Those of a host with a port of its own."""
    folder = make_folder()
    yield Settings(data_dir=folder, metrics_port=free_port())
    shutil.rmtree(folder)


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[str], Member]]:
    """Starts processes of that host, which are gone after the test."""
    members: list[Member] = []

    def begin(name: str) -> Member:
        command = [
            sys.executable,
            "-m",
            "tests.telemetry.member",
            str(settings.data_dir),
            str(settings.metrics_port),
            name,
        ]
        members.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return members[-1]

    yield begin
    for member in members:
        member.communicate("")


def called(member: Member) -> str:
    """What a process is called, once it has joined."""
    assert member.stdout is not None
    return member.stdout.readline().strip()


def url(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.metrics_port}/metrics"


def test_another_process_answers_when_the_one_that_did_is_killed(
    settings: Settings, start: Callable[[str], Member]
) -> None:
    first = start("api-0")
    assert called(first) == "api-0"
    wait_for(lambda: answers(url(settings)))
    # The same name is taken, so it gets a number.
    second = start("api-0")
    assert called(second) == "api-0-1"
    seen = scrape(url(settings))
    assert seen.total(STARTS, name="api-0") == 2
    assert {labels["process"] for labels, _ in seen.samples[ALIVE]} == {"api-0", "api-0-1"}

    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_for(lambda: answers(url(settings)))
    seen = scrape(url(settings))
    # What it saw last is gone with it; what it counted is not.
    assert {labels["process"] for labels, _ in seen.samples[ALIVE]} == {"api-0-1"}
    assert seen.total(STARTS, name="api-0") == 2

    # Restarted, it counts on, in the files it had.
    again = start("api-0")
    assert called(again) == "api-0"
    seen = scrape(url(settings))
    assert seen.total(STARTS, name="api-0") == 3
    files = {path.name for path in settings.metrics_dir.glob("*.db")}
    assert files == {
        f"{kind}_{name}.db" for kind in ("counter", "gauge_livemostrecent") for name in ("api-0", "api-0-1")
    }


def test_a_process_that_was_stopped_with_the_lock_holds_up_nobody(
    settings: Settings, start: Callable[[str], Member]
) -> None:
    assert called(start("first")) == "first"
    wait_for(lambda: scrape(url(settings)).total(ALIVE, process="first"), what="the endpoint")
    descriptor = os.open(settings.metrics_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert scrape(url(settings)).total(ALIVE, process="first") == 1
        assert called(start("second")) == "second"

        def told() -> set[str]:
            return {labels["process"] for _, labels, _ in metrics_files.live_gauges(settings.metrics_dir, {ALIVE})}

        wait_for(lambda: told() == {"first", "second"}, what="both processes")
    finally:
        os.close(descriptor)


def test_a_host_begins_anew_when_nobody_is_left(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from server.metrics import files; files.share(Path(sys.argv[1]))"
    for name in ("counter_api-0.db", "api-0.lock"):
        (tmp_path / name).touch()
    lock = metrics_files.try_lock(tmp_path / "worker.lock")
    assert lock is not None
    share = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(share, check=True, timeout=2 * PATIENCE)
    assert (tmp_path / "counter_api-0.db").exists()
    socket.close(lock)
    subprocess.run(share, check=True, timeout=2 * PATIENCE)
    # Both have died before they joined; only the second is left, until somebody looks.
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["starting"]
    metrics_files.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_one_line_and_is_had_when_it_is_free(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def listen(port: int, *options: Any) -> Any:
        tries.append(port)
        return start_http_server(port, *options)

    monkeypatch.setattr("server.metrics.endpoint.start_http_server", listen)
    monkeypatch.setattr("server.metrics.endpoint.TURN", 0.02)
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", settings.metrics_port)):
        endpoint = Endpoint(settings, "other stack", first=True)
        endpoint.start()
        wait_for(lambda: len(tries) > 3)
    wait_for(lambda: answers(url(settings)))
    endpoint.close()
    wait_for(lambda: not answers(url(settings)))
    assert [record.getMessage().partition(":")[0] for record in caplog.records if record.name == "plinth.metrics"] == [
        "no metrics at 127.0.0.1",
        "metrics at http",
    ]
    assert "set PLINTH_METRICS_PORT" in caplog.text


def test_who_shares_nothing_tells_of_itself(settings: Settings) -> None:
    assert metrics_files.shared() is None
    assert metrics_files.join("api-7") == "api-7"
    endpoint = Endpoint(settings, "api-7", first=True)
    endpoint.start()
    wait_for(lambda: answers(url(settings)))
    SHED.inc()
    assert scrape(url(settings)).total("plinth_shed_total") >= 1
    endpoint.close()


def test_without_a_port_nobody_answers(settings: Settings) -> None:
    endpoint = Endpoint(settings.model_copy(update={"metrics_port": 0}), "api-0", first=True)
    endpoint.start()
    endpoint.close()
    assert not settings.metrics_dir.exists()


class Envoy(ThreadingMixIn, UnixStreamServer):
    """An admin interface that answers what it is told to."""

    daemon_threads = True
    status, text = 200, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        envoy: Any = self.server
        body = envoy.text.encode()
        self.send_response(envoy.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        # Who asked may have had enough of it.
        with suppress(OSError):
            self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        del format, args


@pytest.fixture
def envoy(settings: Settings) -> Iterator[Envoy]:
    settings.socket_dir.mkdir(parents=True)
    with Envoy(str(settings.socket("envoy-admin")), _Answer) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_envoy_is_read_with_suffixes_for_its_counters(settings: Settings, envoy: Envoy) -> None:
    envoy.text += '# TYPE envoy_http_downstream_rq_xx counter\nenvoy_http_downstream_rq_xx{class="5"} 3\n'
    seen = parsed(GatewayStatistics(settings.socket("envoy-admin")).collect())
    assert seen.total("plinth_gateway_up") == 1
    assert seen.total("envoy_server_live") == 1
    assert seen.total("envoy_http_downstream_rq_xx_total", **{"class": "5"}) == 3


@pytest.mark.parametrize(("status", "text"), [(503, "no"), (200, "envoy{ 1"), (200, "x 1\n" * 400_000)])
def test_an_envoy_that_answers_nonsense_is_away(settings: Settings, envoy: Envoy, status: int, text: str) -> None:
    envoy.status, envoy.text = status, text
    seen = parsed(GatewayStatistics(settings.socket("envoy-admin")).collect())
    assert seen.samples == {"plinth_gateway_up": [({}, 0.0)]}


def test_an_envoy_that_hangs_is_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_statistics, "TIMEOUT", 0.05)
    settings.socket_dir.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(settings.socket("envoy-admin")))
        listener.listen()
        seen = parsed(GatewayStatistics(settings.socket("envoy-admin")).collect())
    assert seen.samples == {"plinth_gateway_up": [({}, 0.0)]}


def test_where_no_gateway_was_nothing_is_said_of_one(settings: Settings) -> None:
    assert list(GatewayStatistics(settings.socket("envoy-admin")).collect()) == []


def test_nothing_is_said_of_a_gateway_that_somebody_else_runs(
    settings: Settings, envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    assert envoy.status == 200
    # Tests may run as root, whom no mode of a socket keeps out.
    monkeypatch.setattr(gateway_statistics, "_ask", forbidden)
    assert list(GatewayStatistics(settings.socket("envoy-admin")).collect()) == []
