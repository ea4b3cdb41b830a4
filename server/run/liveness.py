"""Ends a process that answers nobody any more, so that its supervisor starts another one.

A process that dies is started again at once. One whose threads all wait for something that never comes would stay: the
gateway leaves it out, and with one api worker nobody is served until somebody restarts it by hand. So each process
proves every few seconds that it still answers. If it cannot for a while, `faulthandler` writes where each thread is to
standard error and ends the process. That happens in a thread of C, which needs no lock of Python.

A process that was stopped for longer (SIGSTOP, `docker pause`) is ended as well when it goes on.
"""

import asyncio
import faulthandler
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest

from server.run.serving import PROCESS

# Seconds without a proof after which a process is ended: longer than any deadline of a call, behind which a proof waits
# when all threads are busy.
ANSWERS_WITHIN = 90.0
PROVES_EVERY = 5.0
CHECK = "/grpc.health.v1.Health/Check"
# By default a channel that could not connect waits for up to two minutes: longer than a process may be silent.
OPTIONS = [("grpc.max_reconnect_backoff_ms", 5_000)]


@contextmanager
def of_server(socket: Path, within: float = ANSWERS_WITHIN, every: float = PROVES_EVERY) -> Iterator[None]:
    """Watch a server with threads: it must answer a health check at its own socket. Times are in seconds."""
    ended = threading.Event()
    thread = threading.Thread(target=_ask, args=(socket, within, every, ended), name="liveness", daemon=True)
    _put_off(within)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


def _ask(socket: Path, within: float, every: float, ended: threading.Event) -> None:
    with grpc.insecure_channel(f"unix:{socket}", options=OPTIONS) as channel:
        check: grpc.UnaryUnaryMultiCallable[HealthCheckRequest, bytes] = channel.unary_unary(
            CHECK, request_serializer=HealthCheckRequest.SerializeToString
        )
        while not ended.wait(every):
            with suppress(grpc.RpcError):
                check(HealthCheckRequest(service=PROCESS), timeout=every)
                _put_off(within)


@asynccontextmanager
async def of_loop(within: float = ANSWERS_WITHIN, every: float = PROVES_EVERY) -> AsyncIterator[None]:
    """Watch a process with an event loop: the loop must go round. Times are in seconds."""
    task = asyncio.create_task(_go_round(within, every))
    try:
        yield
    finally:
        task.cancel()
        faulthandler.cancel_dump_traceback_later()


async def _go_round(within: float, every: float) -> None:
    while True:
        _put_off(within)
        await asyncio.sleep(every)


def _put_off(within: float) -> None:
    faulthandler.dump_traceback_later(within, exit=True)
