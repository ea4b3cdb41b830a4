"""Envoy with the configuration of this repository, in front of backends that tests control."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from plinth.sites.v1 import page_pb2_grpc

from server.embedded import envoy
from server.gateway.render import write
from server.gateway.static_files import StaticFile
from server.settings import Settings
from tests.edge.backend import Backend

PATIENCE = 60.0
POLL = 0.01
TENANT = "0190b3c8-0000-7000-8000-000000000000"
PAGES = f"/api/v1/tenants/{TENANT}/pages"
ORIGIN = "https://app.example"


@dataclass
class Gateway:
    """A running Envoy."""

    settings: Settings
    process: subprocess.Popen[bytes]
    api: list[Backend]
    realtime: list[Backend]
    admin: httpx.Client
    port: int
    http: httpx.Client
    """HTTP/1.1."""
    http2: httpx.Client
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def backend(self) -> Backend:
        """The first api process."""
        return self.api[0]

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """A connection of its own."""
        with grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield channel

    @contextmanager
    def pages(self) -> Iterator[Any]:
        """The stub of PageService on a connection of its own."""
        stub: Any = page_pb2_grpc.PageServiceStub
        with self.channel() as channel:
            yield stub(channel)

    def healthy(self, cluster: str) -> int:
        """How many processes of a cluster Envoy takes for healthy."""
        return healthy(self.admin, cluster)

    def waiting(self, backend: Backend) -> int:
        """How many calls wait for the answer of an api process."""
        (host,) = (host for host in _hosts(self.admin, "api") if host["address"]["pipe"]["path"] == str(backend.socket))
        return sum(int(stat["value"]) for stat in host["stats"] if stat["name"] == "rq_active" and "value" in stat)


def _hosts(admin: httpx.Client, cluster: str) -> list[dict[str, Any]]:
    clusters = admin.get("/clusters?format=json").json()["cluster_statuses"]
    hosts: list[dict[str, Any]] = next(each for each in clusters if each["name"] == cluster)["host_statuses"]
    return hosts


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    """Wait until a condition holds; fail when it does not within the patience."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(POLL)


@contextmanager
def running(
    *,
    api: int = 1,
    realtime: int = 1,
    descriptors: bytes | None = None,
    static: Sequence[StaticFile] = (),
    **values: Any,
) -> Iterator[Gateway]:
    """Start Envoy with these settings and as many backends as named, which may be fewer than the settings expect."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plinth-edge-")))
        defaults: dict[str, Any] = {"cors_origins": (ORIGIN,), "api_workers": max(api, 1)}
        settings = Settings(data_dir=folder, port=0, realtime_workers=1, _env_file=None, **(defaults | values))
        settings.socket_dir.mkdir(parents=True)
        configuration = write(settings, descriptors, static=static)
        apis = [_backend(stack, settings, f"api-{number}") for number in range(api)]
        realtimes = [_backend(stack, settings, f"realtime-{number}") for number in range(realtime)]
        log = folder / "envoy.log"
        process = start_envoy(stack, settings, configuration, log)
        admin = admin_client(stack, settings.socket("envoy-admin"), process)
        port = listener_port(admin)
        base_url = f"{'https' if settings.tls_certificate else 'http'}://127.0.0.1:{port}"
        http = stack.enter_context(httpx.Client(base_url=base_url, trust_env=False, timeout=PATIENCE))
        http2 = stack.enter_context(
            httpx.Client(base_url=base_url, trust_env=False, timeout=PATIENCE, http1=False, http2=True)
        )
        yield Gateway(settings, process, apis, realtimes, admin, port, http, http2, log)


def _backend(stack: ExitStack, settings: Settings, name: str) -> Backend:
    backend = Backend(settings.socket(name))
    backend.start()
    stack.callback(backend.stop)
    return backend


def start_envoy(stack: ExitStack, settings: Settings, configuration: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start Envoy with a configuration; it ends with the exit stack."""
    output = stack.enter_context(log.open("wb"))
    arguments = ["-c", str(configuration), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    process = subprocess.Popen([str(envoy.binary(settings)), *arguments], stdout=output, stderr=output)

    def stop() -> None:
        process.kill()
        process.wait()

    stack.callback(stop)
    return process


def admin_client(stack: ExitStack, address: Path, process: subprocess.Popen[bytes]) -> httpx.Client:
    """A client of the admin interface, once Envoy is live."""
    transport = httpx.HTTPTransport(uds=str(address))
    admin = stack.enter_context(httpx.Client(transport=transport, base_url="http://admin", timeout=PATIENCE))

    def is_live() -> bool:
        assert process.poll() is None, "Envoy has ended"
        # httpcore leaves the socket open when it cannot connect, and a warning fails the test.
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(address)) != 0:
                return False
        return admin.get("/ready").text.strip() == "LIVE"

    eventually(is_live, "Envoy is live")
    return admin


def healthy(admin: httpx.Client, cluster: str) -> int:
    """How many processes of a cluster Envoy takes for healthy."""
    return sum(host["health_status"].keys() == {"eds_health_status"} for host in _hosts(admin, cluster))


def listener_port(admin: httpx.Client) -> int:
    """The port that Envoy listens on."""
    listener = admin.get("/listeners?format=json").json()["listener_statuses"][0]
    return int(listener["local_address"]["socket_address"]["port_value"])
