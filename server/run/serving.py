"""Common parts of all gRPC servers of Plinth beside their RPCs: socket, limits, health, and shutdown."""

import asyncio
import signal
import socket
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1._async import HealthServicer as AsyncHealthServicer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from server.kernel.dependencies import Dependencies
from server.settings import Settings

PROCESS = "plinth.process"
"""The health name of a process itself: SERVING until it drains, whatever its dependencies."""


class Stop:
    """How a process is told to stop: SIGTERM leaves time for the gateway to notice, SIGINT does not."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.at_once = threading.Event()
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)

    def _end(self, number: int, _: object) -> None:
        if number == signal.SIGINT:
            self.at_once.set()
        self.asked.set()


def grpc_options(settings: Settings) -> list[tuple[str, int]]:
    """Limits of messages and metadata, and keep-alive."""
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_metadata_size", settings.max_header_kilobytes * 1024 + 16 * 1024),
        ("grpc.absolute_max_metadata_size", settings.max_header_kilobytes * 1024 + 32 * 1024),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def listen(server: grpc.Server | grpc.aio.Server, settings: Settings, name: str) -> None:
    """Listen on the process's own unix socket."""
    path = settings.socket(name)
    path.unlink(missing_ok=True)
    server.add_insecure_port(f"unix:{path}")


@contextmanager
def listening(settings: Settings, name: str) -> Iterator[socket.socket]:
    """A process's own unix socket, for HTTP. Connections wait in its queue until somebody accepts them."""
    path = settings.socket(name)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        opened.bind(str(path))
        opened.listen()
        opened.setblocking(False)  # noqa: FBT003 - its only argument
        yield opened


class Health(health.HealthServicer):
    """The library's servicer, with a bound: the original would remember every name that was ever watched."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(experimental_non_blocking=True)
        self._names = frozenset(names)

    # The stubs have two signatures. A server that does not block uses the one with the callback.
    def Watch(  # noqa: N802 - gRPC's name
        self, request: HealthCheckRequest, context: grpc.ServicerContext, send_response_callback: Any = None
    ) -> Any:
        """Send a status whenever it changes. Names are fixed from the start: an unknown name stays unknown."""
        if request.service in self._names:
            return super().Watch(request, context, send_response_callback)
        unknown = HealthCheckResponse.SERVICE_UNKNOWN
        send_response_callback(HealthCheckResponse(status=unknown))
        return None


def serve_health(server: grpc.Server, dependencies: Dependencies, services: Iterable[str]) -> health.HealthServicer:
    """Serve the health of the server.

    Overall and each service: NOT_SERVING while a vital dependency does not answer. The process itself: only while it
    drains.
    """
    names = ["", *services]
    statuses = Health([PROCESS, *names])
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    statuses.set(PROCESS, HealthCheckResponse.SERVING)

    def publish(works: bool) -> None:  # noqa: FBT001 - the one fact a listener gets
        for name in names:
            statuses.set(name, _status(works=works))

    dependencies.listen(publish)
    dependencies.look()
    return statuses


async def serve_async_health(
    server: grpc.aio.Server, dependencies: Dependencies, services: Iterable[str]
) -> AsyncHealthServicer:
    """The same for a server on asyncio."""
    names = ["", *services]
    statuses = AsyncHealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    await statuses.set(PROCESS, HealthCheckResponse.SERVING)
    loop = asyncio.get_running_loop()

    async def publish(*, works: bool) -> None:
        for name in names:
            await statuses.set(name, _status(works=works))

    dependencies.listen(lambda works: _schedule(loop, publish(works=works)))
    await publish(works=all(finding.is_there or not finding.vital for finding in dependencies.findings))
    return statuses


def _schedule(loop: asyncio.AbstractEventLoop, work: Coroutine[object, object, None]) -> None:
    if loop.is_closed():
        work.close()
    else:
        asyncio.run_coroutine_threadsafe(work, loop)


def _status(*, works: bool) -> int:
    return HealthCheckResponse.SERVING if works else HealthCheckResponse.NOT_SERVING
