"""Workers that die of SIGKILL while they write, each at one point of it.

Run as `python -m tests.guard.dying_worker SETTINGS POINT...` beside a running stack. Each worker is a process of its
own, listens on the socket named like its point, and says `ready POINT`; the program says `died POINT` of each.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from server import app
from server.data.connections import PipelineConnection
from server.data.idempotency import CLAIM
from server.data.transactions import Database, WriteTransaction
from server.kernel.steps.idempotency import Idempotency
from tests.guard.workers import given_settings, say, serve


def die(*_: object, **__: object) -> NoReturn:
    """Leave no time for anything."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives this")


def before(owner: type, name: str) -> None:
    """Die instead of calling this."""
    setattr(owner, name, die)


def after(owner: type, name: str, argument: object = None) -> None:
    """Die when this has been called, where an argument is named with that one."""
    call: Callable[..., Any] = getattr(owner, name)

    def called(*arguments: Any, **options: Any) -> Any:
        answer = call(*arguments, **options)
        return die() if argument is None or argument in arguments else answer

    setattr(owner, name, called)


def after_sending_commit() -> None:
    """Die when PostgreSQL has been told, and before it can have answered."""
    send = PipelineConnection.send_plain

    def sent(connection: PipelineConnection, sql: bytes) -> None:
        send(connection, sql)
        if sql == b"COMMIT":
            connection.pgconn.pipeline_sync()
            while connection.pgconn.flush():
                pass
            die()

    setattr(PipelineConnection, send.__name__, sent)


POINTS: dict[str, Callable[[], None]] = {
    "before-the-transaction": lambda: before(Database, "write"),
    "after-the-claim": lambda: after(WriteTransaction, "queue", CLAIM),
    "after-the-handler": lambda: before(Idempotency, "_keep"),
    "after-the-record": lambda: after(Idempotency, "_keep"),
    "before-commit": lambda: before(WriteTransaction, "_commit"),
    "commit-sent": after_sending_commit,
    "committed": lambda: after(WriteTransaction, "_commit"),
}


def live(point: str) -> None:
    """Serve until the point is reached, or the test has ended."""
    POINTS[point]()
    server = serve(app.build(given_settings(), point, streams=False), point)
    say(f"ready {point}")
    sys.stdin.read()
    server.stop(None)


def main(points: list[str]) -> None:
    """Fork a worker for each point, and say when it is dead."""
    workers = {}
    for point in points:
        pid = os.fork()
        if not pid:
            live(point)
            os._exit(0)
        workers[pid] = point
    while workers:
        pid, status = os.wait()
        point = workers.pop(pid)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            with suppress(BrokenPipeError):
                say(f"died {point}")


if __name__ == "__main__":
    main(sys.argv[2:])
