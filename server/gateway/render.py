"""Envoy's configuration, rendered from the contract and the settings.

One port serves gRPC, gRPC-Web, REST/JSON and server-sent events. The processes behind it are reached through unix
sockets. Routes, streams, timeouts and HTTP methods come from the descriptor set, so nothing is written twice.
"""

import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import yaml

from server.embedded import envoy
from server.gateway import descriptors as descriptor_set
from server.gateway.clusters import API, REALTIME, clusters
from server.gateway.contract import Contract
from server.gateway.errors import GatewayConfigurationError
from server.gateway.listener import listener
from server.gateway.lua import connect_script, script
from server.gateway.overload import admin, memory_allocator, overload_manager
from server.gateway.pieces import Config
from server.gateway.scripts import Scripts
from server.gateway.static_files import StaticFile, write_files
from server.settings import Settings

FOLDER = "gateway"
CONFIGURATION = "envoy.yaml"
DESCRIPTORS = "descriptors.binpb"
SCRIPTS = Scripts(Path("edge.lua"), Path("connect.lua"))
VALIDATION_TIMEOUT = 60


def render(settings: Settings, descriptors: bytes, static: Sequence[StaticFile] = ()) -> Config:
    """Render the configuration. Pure: it names the files that `write` creates, and touches none.

    `static` is what the gateway answers itself.

    Raises GatewayConfigurationError if the contract contains something that Envoy would not serve as written: two RPCs
    with the same HTTP method and pattern, `response_body`, a body that is not one message.
    """
    folder = _folder(settings)
    contract = Contract.read(descriptor_set.parse(descriptors))
    return {
        "node": {"id": "gateway", "cluster": "plinth"},
        "admin": admin(settings),
        "static_resources": {
            "listeners": [listener(settings, contract, folder / DESCRIPTORS, _scripts(settings), static)],
            "clusters": clusters(settings),
        },
        "overload_manager": overload_manager(),
        "stats_config": _statistics(),
        "memory_allocator_manager": memory_allocator(),
    }


def _statistics() -> Config:
    """The statistics, without those that the gRPC-Web filter would keep for every method name that a caller sends.

    Prefixes that end in a dot are refused before the name is stored; other patterns are not.
    """
    prefixes = [{"prefix": f"cluster.{cluster}.grpc-web."} for cluster in (API, REALTIME)]
    prefixes += [{"prefix": f"cluster.{cluster}.grpc."} for cluster in (API, REALTIME)]
    return {"stats_matcher": {"exclusion_list": {"patterns": prefixes}}}


def write(settings: Settings, descriptors: bytes | None = None, *, static: Sequence[StaticFile] = ()) -> Path:
    """Write configuration, Lua and Envoy's descriptor set to the data folder. Returns the path of the configuration.

    The default descriptor set is that of the package `plinth`. Raises GatewayConfigurationError, with Envoy's message,
    if Envoy does not accept the configuration.
    """
    if descriptors is None:
        descriptors = files("plinth").joinpath("descriptors.binpb").read_bytes()
    configuration = render(settings, descriptors, static)
    envoys = descriptor_set.for_envoy(descriptors)
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTORS).write_bytes(envoys)
    scripts = _scripts(settings)
    scripts.edge.write_text(script(Contract.read(descriptor_set.parse(envoys)), settings, static))
    scripts.connect.write_text(connect_script())
    if static:
        write_files(static, folder)
    path = folder / CONFIGURATION
    path.write_text(yaml.safe_dump(configuration, sort_keys=False, width=120))
    validate(settings, path)
    return path


def validate(settings: Settings, path: Path) -> None:
    """Let Envoy check a configuration. Raises GatewayConfigurationError with Envoy's message."""
    done = subprocess.run(  # noqa: S603 - Envoy's own binary and a path that is ours
        [str(envoy.binary(settings)), "--mode", "validate", "--log-level", "error", "-c", str(path)],
        capture_output=True,
        text=True,
        timeout=VALIDATION_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise GatewayConfigurationError(f"Envoy does not accept {path}:\n{(done.stderr or done.stdout).strip()}")


def _folder(settings: Settings) -> Path:
    return settings.data_dir.absolute() / FOLDER


def _scripts(settings: Settings) -> Scripts:
    folder = _folder(settings)
    return Scripts(folder / SCRIPTS.edge, folder / SCRIPTS.connect)
