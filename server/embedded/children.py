"""The kinds of children a supervisor has, and how each is brought into the world.

A `Program` is executed through launch.py. A `Role` and a `Task` are forked: they are Python, the supervisor has
imported their modules already, and what it imported is shared with it, copy on write.
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
# The signals the supervisor handles; no child inherits how.
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
M_ARENA_MAX = -8
# How large a file of crashes may be when a process begins; then it is put aside. A crash takes some 10 KB.
MOST_CRASHES = 1024 * 1024
# Ends that are faults of code in C, of which Python itself could say nothing.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
# What a forked child reports: that it is ready, or what it returned; then, if it ended with a Fault, the Fault's text.
READY = b"ready"
FAULT = b"\0"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A child to have: its name, how it is asked to end, and which of its lines a person should see."""

    name: str
    # Signals with the seconds each is given; SIGKILL comes after the last.
    stop: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 5.0),)
    ready_timeout: float = 30.0
    urgent: Callable[[str], bool] = is_urgent_record

    @property
    def lasting(self) -> bool:
        """Whether it is meant to run until it is stopped."""
        return True


@dataclass(frozen=True, kw_only=True)
class Program(Spec):
    """An executable. It is ready when it logs a line that `ready_line` finds; without one, it runs once and ends."""

    argv: tuple[str, ...]
    folder: Path
    ready_line: re.Pattern[str] | None = None
    identity: Identity | None = None
    environment: dict[str, str] = field(default_factory=dict)
    # What it gets when the supervisor is killed.
    death_signal: signal.Signals = signal.SIGKILL

    @property
    def lasting(self) -> bool:
        """Whether it is meant to run until it is stopped."""
        return self.ready_line is not None


@dataclass(frozen=True, kw_only=True)
class Role(Spec):
    """A Python function that serves until SIGTERM and calls its argument when it is ready to."""

    run: Callable[[Callable[[], None]], None]


@dataclass(frozen=True, kw_only=True)
class Task(Spec, Generic[T]):
    """A Python function that runs once, in a process of its own, and returns something JSON can carry unchanged."""

    run: Callable[[], T]

    @property
    def lasting(self) -> bool:
        """Whether it is meant to run until it is stopped."""
        return False

    def read(self, report: bytes | bytearray) -> T:
        """What the function returned, as its process reported it."""
        returned: T = json.loads(report)
        return returned


@dataclass(eq=False)
class Child:
    """A spec and the process that stands for it just now."""

    spec: Spec
    pid: int = 0
    exit_code: int | None = None
    ready: bool = False
    ready_by: float = 0.0
    # Whether any process of this spec was ever ready: one that never was has a fault no restart mends.
    proven: bool = False
    deaths: deque[float] = field(default_factory=deque)
    restart_at: float | None = None
    # The signals still to come while it is being stopped, and when the next is due.
    ladder: Iterator[tuple[signal.Signals, float]] | None = None
    escalate_at: float | None = None
    report: bytearray = field(default_factory=bytearray)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    @property
    def crashed(self) -> bool:
        """Whether its last process died of a fault of code in C."""
        return self.exit_code is not None and -self.exit_code in CRASHES

    @property
    def alive(self) -> bool:
        """Whether a process stands for it."""
        return self.pid != 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is a process."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def fault(self) -> str:
        """The text of the Fault that ended it; empty for any other end."""
        return self.report.partition(FAULT)[2].decode(errors="replace")


def execute(program: Program, output: int | None) -> int:
    """Start a program with its output in a pipe, or where the supervisor's goes; its process id."""
    identity = program.identity.argument if program.identity else "-"
    argv = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(int(program.death_signal)), identity]
    argv += [str(program.folder), *program.argv]
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    if output is not None:
        actions += [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    # A session of its own: Ctrl-C in the terminal is the supervisor's to hear.
    return os.posix_spawn(
        sys.executable, argv, os.environ | program.environment, file_actions=actions, setsid=True, setsigdef=HANDLED
    )


def fork(
    spec: Role | Task[object], output: int | None, report: int, forget: Callable[[], None], crashes: Path | None
) -> int:
    """Fork a Python child that runs the spec's function and nothing else; its process id.

    `crashes` is where it tells what it was at when code in C ends it; None for standard error.
    `forget` closes what the child must not hold of its parent. Signals wait until the child has its own handlers, or
    one meant for the child would be told to the parent through the wake-up pipe they still share.
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
    # Each thread would get a heap of its own from glibc, at a few megabytes for every worker.
    if launch.ON_LINUX:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
    _redirect(output)
    forget()


def _report_crashes(path: Path | None) -> None:
    """Have Python write where every thread was when a signal such as SIGSEGV ends the process.

    Into a file of its own: a pipe ends with who reads it, and Python has to open it before it is needed.
    """
    if path is None:
        faulthandler.enable()
        return
    if path.exists() and path.stat().st_size > MOST_CRASHES:
        path.replace(path.with_suffix(".1"))
    # The handler keeps it open.
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
