"""The gateway alone, before a server that answers at once, and the same Envoy with less in it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from server.gateway.clusters import API
from server.gateway.render import validate, write
from server.settings import Settings
from tests.bench import servers
from tests.bench.clocks import SERVER_CORE, pin
from tests.edge.gateway import admin_client, eventually, healthy, listener_port, start_envoy

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
    backend = ["tests.bench.baselines.constant_grpc", str(settings.socket("api-0")), str(file)]
    with ExitStack() as stack:
        stack.enter_context(servers.running(backend))
        process = start_envoy(stack, settings, configuration, folder / "envoy.log")
        admin = admin_client(stack, settings.socket("envoy-admin"), process)
        eventually(lambda: healthy(admin, API) == 1, "the server behind Envoy is healthy")
        pin(process.pid, SERVER_CORE)
        yield GatewayServer(process.pid, listener_port(admin))


def _changed(settings: Settings, path: Path, change: Change) -> Path:
    configuration = yaml.safe_load(path.read_text())
    (chain,) = configuration["static_resources"]["listeners"][0]["filter_chains"]
    change(chain["filters"][0]["typed_config"])
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    validate(settings, path)
    return path
