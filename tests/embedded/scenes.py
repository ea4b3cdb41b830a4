"""Small supervisors for the tests, each in a process of its own: forking needs one that has no threads.

Run as `python -m tests.embedded.scenes SCENE FOLDER`.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from server.embedded.children import Program, Role, Spec, Task
from server.embedded.faults import Fault
from server.embedded.logs import Console, LogFolder
from server.embedded.supervisor import Supervisor, supervise
from server.run import liveness, serving

Ready = Callable[[], None]
# More than the supervisor reads at once, several times.
LINES = 8000
# Seconds without a proof after which a scene is ended, and between two proofs.
WITHIN, EVERY = 1.0, 0.1


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")


def steady(ready: Ready) -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ready()
    while True:
        signal.pause()


def brittle(ready: Ready) -> None:
    """Become ready, then die."""
    ready()
    say("the last words")
    sys.exit(3)


def unready(ready: Ready) -> None:
    """Never get that far."""
    del ready
    raise ValueError("no table")


def stuck(ready: Ready) -> None:
    """Hang before being ready."""
    del ready
    signal.pause()


def stubborn(ready: Ready) -> None:
    """Hear no SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    while True:
        signal.pause()


def chatty(ready: Ready) -> None:
    """Log a lot, then serve."""
    for number in range(LINES):
        say(f'{{"level": "INFO", "message": "line {number}"}}')
    say('{"level": "ERROR", "message": "it broke", "request_id": "r1"}')
    steady(ready)


def parent(ready: Ready) -> None:
    """Have a child of its own, in the same session."""
    if os.fork() == 0:
        time.sleep(60)
    steady(ready)


def crashing(ready: Ready) -> None:
    """Become ready, then be ended by a fault in C."""
    ready()
    faulthandler._sigsegv()  # type: ignore[attr-defined]  # noqa: SLF001 - what it is there for


def wait_for_nobody() -> None:
    """Wait for what never comes."""
    threading.Event().wait()


def answering(ready: Ready) -> None:
    """Serve health checks, for several times as long as a process may be silent; then serve none."""
    threads = ThreadPoolExecutor(1)
    server, statuses = grpc.server(threads), health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    statuses.set(serving.PROCESS, HealthCheckResponse.SERVING)
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "socket"
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        with liveness.of_server(socket, WITHIN, EVERY):
            time.sleep(3 * WITHIN)
            ready()
            threads.submit(wait_for_nobody)
            time.sleep(60)


def turning(ready: Ready) -> None:
    """Go round in an event loop, for several times as long as a process may be silent; then hold it up."""

    async def turn() -> None:
        async with liveness.of_loop(WITHIN, EVERY):
            await asyncio.sleep(3 * WITHIN)
            ready()
            wait_for_nobody()

    asyncio.run(turn())


def ended(ready: Ready) -> None:
    """Be watched no more, and serve."""

    async def turn() -> None:
        async with liveness.of_loop(WITHIN, EVERY):
            await asyncio.sleep(EVERY)

    asyncio.run(turn())
    time.sleep(3 * WITHIN)
    steady(ready)


ALL = (steady, brittle, unready, stuck, stubborn, chatty, parent, crashing, answering, turning, ended)
ROLES = {role.__name__: role for role in ALL}


def run(scene: str, folder: Path) -> int:
    """Supervise `steady` and the role of the scene until SIGTERM, with small log files."""
    console = Console(sys.stdout)
    specs: list[Spec] = [Role(name="steady", run=steady)]
    if scene in ROLES:
        # Only who never gets ready is given up soon.
        patience = 0.5 if scene == "stuck" else 30.0
        specs.append(Role(name=scene, run=ROLES[scene], ready_timeout=patience, stop=((signal.SIGTERM, 0.3),)))
    logs = LogFolder(folder / "logs", max_bytes=4096, backups=2)
    with Supervisor(console, logs=logs, registry=folder / "processes.json") as supervisor:
        try:
            supervisor.start(*specs)
            supervisor.await_ready(*(spec.name for spec in specs))
            _extras(scene, supervisor)
            console.say("serving")
            supervisor.serve()
        except Fault as fault:
            console.say(str(fault))
            return 1
        finally:
            supervisor.stop()
    return 0


def _extras(scene: str, supervisor: Supervisor) -> None:
    if scene == "task":
        say(f"result {supervisor.run(Task(name='task', run=lambda: {'answer': 42}))}")
    if scene == "failing":
        supervisor.run(Task(name="task", run=lambda: 1 / 0))
    if scene == "missing":
        supervisor.run(Program(name="missing", argv=("/nowhere/program",), folder=Path("/")))


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        sys.exit(supervise([Role(name=f"api-{index}", run=chatty) for index in range(2)], Console(sys.stdout)))
    sys.exit(run(sys.argv[1], Path(sys.argv[2])))
