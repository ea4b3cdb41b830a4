"""The kinds of children of a supervisor, and how each is started.

A `Program` is executed through launch.py. A `Role` and a `Task` are forked: they are Python, the supervisor has already
imported their modules, and they share that memory by copy-on-write.
"""

import ctypes
import faulthandler
import json
import os
import re
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from server.embedded import launch
from server.embedded.faults import Fault
from server.embedded.logs import is_urgent_record
from server.embedded.privileges import Identity

T = TypeVar("T")
LAUNCH = Path(launch.__file__)
# The signals that the supervisor handles. Children get the default handlers.
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
M_ARENA_MAX = -8
# Size from which a file of crashes is rotated when a process starts. A crash takes about 10 KB.
MOST_CRASHES = 1024 * 1024
# Exit signals that are faults of C code, which Python itself could not report.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
# The report of a forked child: readiness, or its result; then, if it ended with a Fault, the text of the Fault.
READY = b"ready"
FAULT = b"\0"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The specification of a child: its name, how it is stopped, and which of its lines are shown."""

    name: str
    # Signals, each with the seconds that it is given. SIGKILL follows the last one.
    stop: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 5.0),)
    ready_timeout: float = 30.0
    urgent: Callable[[str], bool] = is_urgent_record

    @property
    def lasting(self) -> bool:
        """Whether the child is meant to run until it is stopped."""
        return True


@dataclass(frozen=True, kw_only=True)
class Program(Spec):
    """An executable. It is ready when a line of its log matches `ready_line`; without `ready_line` it runs once."""

    argv: tuple[str, ...]
    folder: Path
    ready_line: re.Pattern[str] | None = None
    identity: Identity | None = None
    environment: dict[str, str] = field(default_factory=dict)
    # The signal it gets when the supervisor is killed.
    death_signal: signal.Signals = signal.SIGKILL

    @property
    def lasting(self) -> bool:
        """Whether the child is meant to run until it is stopped."""
        return self.ready_line is not None


@dataclass(frozen=True, kw_only=True)
class Role(Spec):
    """A Python function that serves until SIGTERM, and calls its argument when it is ready."""

    run: Callable[[Callable[[], None]], None]


@dataclass(frozen=True, kw_only=True)
class Task(Spec, Generic[T]):
    """A Python function that runs once in a process of its own. Its result must be representable in JSON."""

    run: Callable[[], T]

    @property
    def lasting(self) -> bool:
        """Whether the child is meant to run until it is stopped."""
        return False

    def read(self, report: bytes | bytearray) -> T:
        """The result of the function, from the report of its process."""
        returned: T = json.loads(report)
        return returned


@dataclass(eq=False)
class Child:
    """A specification with its current process."""

    spec: Spec
    pid: int = 0
    exit_code: int | None = None
    ready: bool = False
    ready_by: float = 0.0
    # Whether any process of it was ever ready. If none was, its fault is not fixed by a restart.
    proven: bool = False
    deaths: deque[float] = field(default_factory=deque)
    restart_at: float | None = None
    # The remaining signals while it is being stopped, and when the next is due.
    ladder: Iterator[tuple[signal.Signals, float]] | None = None
    escalate_at: float | None = None
    report: bytearray = field(default_factory=bytearray)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    @property
    def crashed(self) -> bool:
        """Whether its last process died from a fault of C code."""
        return self.exit_code is not None and -self.exit_code in CRASHES

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self.pid != 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if there is a process."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def fault(self) -> str:
        """The text of the Fault that ended it; empty after any other end."""
        return self.report.partition(FAULT)[2].decode(errors="replace")


def execute(program: Program, output: int | None) -> int:
    """Start a program with its output in a pipe, or in the supervisor's output. Returns its process id."""
    identity = program.identity.argument if program.identity else "-"
    argv = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(int(program.death_signal)), identity]
    argv += [str(program.folder), *program.argv]
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    if output is not None:
        actions += [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    # A session of its own, so that Ctrl-C in the terminal reaches only the supervisor.
    return os.posix_spawn(
        sys.executable, argv, os.environ | program.environment, file_actions=actions, setsid=True, setsigdef=HANDLED
    )


def fork(
    spec: Role | Task[object], output: int | None, report: int, forget: Callable[[], None], crashes: Path | None
) -> int:
    """Fork a Python child that runs the function of the specification. Returns its process id.

    `crashes` is the file in which it reports its position when C code ends it; None for standard error. `forget` closes
    what the child must not inherit from its parent. Signals are blocked until the child has its own handlers. Otherwise
    a signal for the child would reach the parent through the wake-up pipe that they still share.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    pid = os.fork()
    if pid == 0:
        _be_child(spec, parent, output, report, forget, crashes=crashes)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    return pid


def _be_child(
    spec: Role | Task[object],
    parent: int,
    output: int | None,
    report: int,
    forget: Callable[[], None],
    *,
    crashes: Path | None,
) -> NoReturn:
    code = 1
    try:
        _settle(spec.name, parent, output, forget)
        _report_crashes(crashes)
        _perform(spec, report)
        code = 0
    except SystemExit as ending:
        code = _exit_code(ending)
    except Fault as fault:
        _send(report, FAULT + str(fault).encode())
        code = fault.status
    except BaseException:  # noqa: BLE001 - whatever it is, it must not return into the supervisor's code
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _settle(name: str, parent: int, output: int | None, forget: Callable[[], None]) -> None:
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    os.setsid()
    launch.die_with(parent, signal.SIGKILL)
    launch.rename(f"plinth {name}")
    # glibc would give each thread a heap of its own, which costs a few megabytes per worker.
    if launch.ON_LINUX:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
    _redirect(output)
    forget()


def _report_crashes(path: Path | None) -> None:
    """Make Python write the position of every thread when a signal such as SIGSEGV ends the process.

    It writes to a file of its own: a pipe depends on its reader, and the file must be open before it is needed.
    """
    if path is None:
        faulthandler.enable()
        return
    if path.exists() and path.stat().st_size > MOST_CRASHES:
        path.replace(path.with_suffix(".1"))
    # The handler keeps the file open.
    faulthandler.enable(path.open("ab"))


def _redirect(output: int | None) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if output is not None:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _perform(spec: Role | Task[object], report: int) -> None:
    if isinstance(spec, Role):
        spec.run(lambda: _send(report, READY))
    else:
        _send(report, json.dumps(spec.run()).encode())


def _send(report: int, message: bytes) -> None:
    while message:
        message = message[os.write(report, message) :]


def _exit_code(ending: SystemExit) -> int:
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    sys.stderr.write(f"{ending.code}\n")
    return 1
