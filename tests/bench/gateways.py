"""The gateway alone, before a server that answers at once, and the same Envoy with less in it."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from server.embedded import envoy
from server.gateway.render import validate, write
from server.settings import Settings
from tests.bench import servers
from tests.bench.clocks import SERVER_CORE, pin

READY_WITHIN = 20.0
POLL = 0.02
LUA = "envoy.filters.http.lua"
BARE = ("envoy.filters.http.grpc_json_transcoder", "envoy.filters.http.router")
# What the connection manager does beside its filters.
BESIDE = ("early_header_mutation_extensions", "local_reply_config", "access_log")

Manager = dict[str, Any]
"""The connection manager of a configuration."""
Change = Callable[[Manager], None]


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """A running Envoy."""

    pid: int
    port: int


def whole(_: Manager) -> None:
    """Leave the configuration as it is."""


def without_lua(manager: Manager) -> None:
    """Take the Lua filter out of a connection manager."""
    manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != LUA]


def bare(manager: Manager) -> None:
    """Leave nothing but transcoder and router."""
    manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] in BARE]
    for name in BESIDE:
        manager.pop(name)


@contextmanager
def running(folder: Path, answers: dict[str, Any], change: Change) -> Iterator[GatewayServer]:
    """Run Envoy, with this change of its configuration, before a server with these answers, on the server's core.

    `answers` has by method a `message` in hexadecimal and `headers`, as pairs.
    """
    settings = Settings(data_dir=folder, port=0, realtime_workers=1, api_workers=1, _env_file=None)
    settings.socket_dir.mkdir(parents=True)
    configuration = _changed(settings, write(settings), change)
    file = folder / "answers.json"
    file.write_text(json.dumps(answers))
    command = [str(envoy.binary(settings)), "-c", str(configuration), "--concurrency", "1"]
    command += ["--disable-hot-restart", "--log-level", "error"]
    backend = ["tests.bench.baselines.constant_grpc", str(settings.socket("api-0")), str(file)]
    with ExitStack() as stack:
        stack.enter_context(servers.running_module(backend))
        process = stack.enter_context(servers.running(command))
        port = _port(settings.socket("envoy-admin"))
        pin(process.pid, SERVER_CORE)
        yield GatewayServer(process.pid, port)


def _changed(settings: Settings, path: Path, change: Change) -> Path:
    configuration = copy.deepcopy(yaml.safe_load(path.read_text()))
    (chain,) = configuration["static_resources"]["listeners"][0]["filter_chains"]
    change(chain["filters"][0]["typed_config"])
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    validate(settings, path)
    return path


def _port(admin: Path) -> int:
    """The port that Envoy listens on, once the server behind it is healthy."""
    deadline = time.monotonic() + READY_WITHIN
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(admin)), base_url="http://admin", timeout=5) as client:
        while time.monotonic() < deadline:
            time.sleep(POLL)
            try:
                statistics = client.get("/stats?filter=cluster.api.membership_healthy").text
                listener = client.get("/listeners?format=json").json()["listener_statuses"][0]
            except (httpx.TransportError, LookupError):
                continue
            port = int(listener["local_address"]["socket_address"]["port_value"])
            if statistics.strip().endswith(": 1") and port:
                return port
    raise RuntimeError("Envoy is not ready")
