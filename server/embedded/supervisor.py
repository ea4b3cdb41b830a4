"""The supervisor of a set of processes: it starts them, awaits readiness, restarts dead ones, stops them in order.

Single-threaded on purpose. The Python roles are forked from this process after it has imported their modules, so that
they share that memory. Forking is safe only while there is one thread and no gRPC core in it.
"""

import json
import os
import secrets
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self, TypeVar, overload

from server.embedded import children, launch
from server.embedded.children import READY, Child, Program, Role, Spec, Task
from server.embedded.faults import Fault, StopAsked
from server.embedded.logs import Console, Lines, LogFolder, Terminal
from server.faults import MENDABLE

T = TypeVar("T")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A child that dies DEATHS times within this many seconds is given up.
DEATHS = 5
DEATHS_WITHIN = 60.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
# Seconds that a process may take to disappear after SIGKILL.
KILLED_WITHIN = 5.0
READ_SIZE = 64 * 1024
# Seconds until the registry is written again after a failure.
REGISTER_AGAIN = 2.0
# Signals within this many seconds count as one request: `timeout` and some shells send each twice.
ONE_WISH = 0.5


class Supervisor:
    """Runs children until it is asked to stop. A context manager: leaving it leaves no process behind.

    Without `logs`, children write to the supervisor's own output, as a container expects.
    """

    def __init__(self, console: Console, *, logs: LogFolder | None = None, registry: Path | None = None) -> None:
        self._console = console
        self._logs = logs
        self._registry = registry
        self._children: dict[str, Child] = {}
        self._held: set[int] = set()
        self._asked = 0
        self._asked_at = 0.0
        self._stopping = False
        # When the registry is written again after a failure.
        self._register_at: float | None = None
        self._terminal = Terminal()

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        wake, self._wake_writer = os.pipe()
        for end in (wake, self._wake_writer):
            os.set_blocking(end, False)
        self._watch(wake, None, lambda: self._heard(wake))
        self._wakeup_before = signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, _ignore) for number in children.HANDLED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._kill(self._alive())
        finally:
            signal.set_wakeup_fd(self._wakeup_before)
            for number, handler in self._handlers_before.items():
                signal.signal(number, handler)
            for descriptor in [self._wake_writer, *self._watched()]:
                os.close(descriptor)
            self._selector.close()

    def hold(self, descriptor: int) -> None:
        """Add a descriptor of the supervisor that forked children must close."""
        self._held.add(descriptor)

    def start(self, *specs: Spec) -> None:
        """Start children, without waiting for them."""
        for spec in specs:
            child = self._children.setdefault(spec.name, Child(spec))
            child.spec = spec
            self._launch(child)

    def await_ready(self, *names: str) -> None:
        """Wait until these children are ready. Each has a timeout of its own."""
        self.until(lambda: all(self._children[name].ready for name in names))

    def finish(self, name: str) -> None:
        """Wait until this one-off child has succeeded."""
        self._await_end(self._children[name])

    def result(self, task: Task[T]) -> T:
        """Wait until a task has succeeded. Returns its result."""
        self.finish(task.name)
        return task.read(self._children[task.name].report)

    @overload
    def run(self, spec: Program) -> None: ...

    @overload
    def run(self, spec: Task[T]) -> T: ...

    def run(self, spec: Program | Task[T]) -> T | None:
        """Start a one-off child and wait until it has succeeded. Returns the result of a task."""
        self.start(spec)
        if isinstance(spec, Task):
            return self.result(spec)
        self.finish(spec.name)
        return None

    def until(self, condition: Callable[[], bool]) -> None:
        """Keep everything running until the condition holds. Raises StopAsked on an interrupt."""
        while not condition():
            if self._asked:
                raise StopAsked
            self._step(self._pause())

    def _await_end(self, child: Child) -> None:
        self.until(lambda: not child.alive)
        if child.fault:
            raise Fault(child.fault, child.exit_code or MENDABLE)
        if child.exit_code != 0:
            raise Fault(self._obituary(child, f"failed ({_death(child.exit_code)})"))

    def serve(self) -> None:
        """Keep everything running until an interrupt. Raises Fault if a child cannot be kept alive."""
        with suppress(StopAsked):
            self.until(lambda: False)

    def stop(self, *names: str) -> None:
        """Stop these children, or all, at the same time, and wait until they are gone. A second Ctrl-C kills them."""
        self._stopping = True
        asked = self._asked
        chosen = [self._children[name] for name in names or self._children if name in self._children]
        for child in chosen:
            child.restart_at = None
            if child.alive:
                child.ladder = iter(child.spec.stop)
                self._escalate(child)
        while any(child.alive for child in chosen):
            if self._asked > max(asked, 1):
                self._kill(self._alive())
            self._step(self._pause())

    def pid(self, name: str) -> int:
        """The process id of a child; 0 if it has none."""
        child = self._children.get(name)
        return child.pid if child else 0

    # Starting.

    def _launch(self, child: Child) -> None:
        spec = child.spec
        child.restart_at = child.exit_code = child.ladder = child.escalate_at = None
        child.ready, child.report = False, bytearray()
        child.ready_by = time.monotonic() + spec.ready_timeout
        reader, writer = os.pipe() if self._logs else (None, None)
        if isinstance(spec, Program):
            child.pid = children.execute(spec, writer)
        elif isinstance(spec, Role | Task):
            child.pid = self._fork(child, spec, writer)
        if reader is not None and writer is not None:
            os.close(writer)
            self._follow(child, reader)
        self._register()

    def _fork(self, child: Child, spec: Role | Task[object], output: int | None) -> int:
        if launch.ON_LINUX and sum(1 for _ in Path("/proc/self/task").iterdir()) != 1:
            raise RuntimeError("a process with threads cannot be forked safely: find who started one")
        reader, writer = os.pipe()
        pid = children.fork(spec, output, writer, self._forget, self._crashes(spec.name))
        os.close(writer)
        os.set_blocking(reader, False)
        self._watch(reader, child, lambda: self._reported(child, reader))
        return pid

    def _crashes(self, name: str) -> Path | None:
        return self._logs.crashes(name) if self._logs else None

    def _forget(self) -> None:
        """In a forked child: close everything that belongs to the supervisor."""
        for descriptor in (self._wake_writer, *self._held, *self._watched()):
            os.close(descriptor)
        self._selector.close()
        if self._logs:
            self._logs.close()

    def _watch(self, descriptor: int, child: Child | None, callback: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, (child, callback))

    def _watched(self) -> list[int]:
        return [key.fd for key in self._selector.get_map().values()]

    def _unwatch(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)

    # Events.

    def _step(self, pause: float | None) -> None:
        for key, _ in self._selector.select(pause):
            # A previous callback may have closed this descriptor.
            if key.fd in self._selector.get_map():
                _, callback = key.data
                callback()
        now = time.monotonic()
        for child in list(self._children.values()):
            self._due(child, now)
        if self._register_at is not None and now >= self._register_at:
            self._register()

    def _pause(self) -> float | None:
        moments = [moment for child in self._children.values() for moment in self._moments(child)]
        if self._register_at is not None:
            moments.append(self._register_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _moments(self, child: Child) -> Iterable[float]:
        if child.alive and child.escalate_at is not None:
            yield child.escalate_at
        elif child.restart_at is not None:
            yield child.restart_at
        elif child.alive and child.spec.lasting and not child.ready:
            yield child.ready_by

    def _due(self, child: Child, now: float) -> None:
        if child.alive and child.escalate_at is not None:
            if now >= child.escalate_at:
                self._escalate(child)
        elif child.restart_at is not None:
            if now >= child.restart_at:
                self._launch(child)
        elif child.alive and child.spec.lasting and not child.ready and now >= child.ready_by:
            self._tell(child, f"was not ready within {child.spec.ready_timeout:g} s, is killed")
            child.signal(signal.SIGKILL)
            child.ready_by = now + KILLED_WITHIN

    def _heard(self, wake: int) -> None:
        heard = _read(wake) or b""
        if any(number in STOP_SIGNALS for number in heard):
            self._ask()
        if signal.SIGHUP in heard:
            self._hang_up()
        # All dead children are collected before the first is handled, because handling one may end the stack.
        dead = [child for child in self._alive() if self._buried(child)]
        for child in dead:
            if not self._stopping and child.ladder is None and child.spec.lasting:
                self._mourn(child)

    def _ask(self) -> None:
        now = time.monotonic()
        if now - self._asked_at > ONE_WISH:
            self._asked += 1
            self._asked_at = now

    def _hang_up(self) -> None:
        """Reopen logs that were moved away; or stop, if the terminal was closed."""
        if self._terminal.is_gone():
            self._ask()
            return
        if self._logs:
            self._logs.close()
        self._console.say("plinth: logs are opened anew")

    def _buried(self, child: Child, options: int = os.WNOHANG) -> bool:
        pid, status = os.waitpid(child.pid, options)
        if not pid:
            return False
        # Processes that the child started are killed with it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        child.pid, child.exit_code, child.escalate_at = 0, os.waitstatus_to_exitcode(status), None
        self._drain(child)
        if child.crashed:
            self._tell_of_crash(child, pid)
        self._register()
        return True

    def _tell_of_crash(self, child: Child, pid: int) -> None:
        """Report a crash, also of a child that is being stopped, whose death is not handled otherwise."""
        path = self._crashes(child.spec.name)
        place = f"; what it was at: {path}" if path and path.exists() else ""
        self._tell(child, f"process {pid} crashed ({_death(child.exit_code)}){place}")

    def _drain(self, child: Child) -> None:
        """Read the last lines and the report of a child that has ended."""
        for key in list(self._selector.get_map().values()):
            owner, callback = key.data
            if owner is child:
                callback()

    def _mourn(self, child: Child) -> None:
        now = time.monotonic()
        child.deaths.append(now)
        while child.deaths[0] < now - DEATHS_WITHIN:
            child.deaths.popleft()
        how = child.fault or _death(child.exit_code)
        if not child.proven:
            if child.fault:
                raise Fault(child.fault, child.exit_code or MENDABLE)
            raise Fault(self._obituary(child, f"did not start ({how})"))
        if len(child.deaths) >= DEATHS:
            raise Fault(
                self._obituary(child, f"died {DEATHS} times within {DEATHS_WITHIN:.0f} s (last: {how}); given up")
            )
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (len(child.deaths) - 1)) * (0.5 + secrets.randbelow(1000) / 1000)
        child.restart_at = now + pause
        self._tell(child, f"died ({how}), restarts in {pause:.1f} s")

    def _reported(self, child: Child, reader: int) -> None:
        data = _read(reader)
        if data is None:
            return
        if not data:
            self._unwatch(reader)
            return
        child.report += data
        if isinstance(child.spec, Role) and not child.ready and child.report.startswith(READY):
            self._is_ready(child)

    def _is_ready(self, child: Child) -> None:
        if child.proven:
            self._tell(child, "is back")
        child.ready = child.proven = True

    # Lines.

    def _follow(self, child: Child, reader: int) -> None:
        os.set_blocking(reader, False)
        lines = Lines()
        self._watch(reader, child, lambda: self._lines(child, reader, lines))

    def _lines(self, child: Child, reader: int, lines: Lines) -> None:
        data = _read(reader)
        if data is None:
            return
        found = lines.feed(data) if data else lines.flush()
        if self._logs and found:
            self._logs.write(child.spec.name, "\n".join(found))
        for line in found:
            self._line(child, line)
        if not data:
            self._unwatch(reader)

    def _line(self, child: Child, line: str) -> None:
        spec = child.spec
        child.tail.append(line)
        if self._console.verbose or (not self._stopping and spec.urgent(line)):
            self._console.show(spec.name, line)
        if isinstance(spec, Program) and spec.ready_line and not child.ready and spec.ready_line.search(line):
            self._is_ready(child)

    def _tell(self, child: Child, text: str) -> None:
        self._console.show(child.spec.name, text)

    def _obituary(self, child: Child, text: str) -> str:
        head = f"{child.spec.name} {text}."
        if not child.tail:
            return head
        place = f" (all of them: {self._logs.path(child.spec.name)})" if self._logs else ""
        return "\n".join([f"{head} Its last lines{place}:", *(f"  {line}" for line in child.tail)])

    # Stopping.

    def _alive(self) -> list[Child]:
        return [child for child in self._children.values() if child.alive]

    def _escalate(self, child: Child) -> None:
        number, patience = next(child.ladder or iter(()), (signal.SIGKILL, KILLED_WITHIN))
        child.signal(number)
        child.escalate_at = time.monotonic() + patience

    def _kill(self, doomed: list[Child]) -> None:
        self._stopping = True
        for child in doomed:
            child.signal(signal.SIGKILL)
        for child in doomed:
            self._buried(child, 0)

    def _register(self) -> None:
        """Write the registry of running children. A failure is reported once and retried."""
        if self._registry is None:
            return
        pids = {"supervisor": os.getpid()} | {child.spec.name: child.pid for child in self._alive()}
        draft = self._registry.with_suffix(".draft")
        try:
            draft.write_text(f"{json.dumps(pids, indent=2)}\n")
            draft.replace(self._registry)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            if self._register_at is None:
                self._console.say(f"plinth: {self._registry} cannot be written: {error.strerror}; it is tried again")
            self._register_at = time.monotonic() + REGISTER_AGAIN
        else:
            self._register_at = None


def supervise(specs: Iterable[Spec], console: Console) -> int:
    """Run these children until SIGTERM or Ctrl-C, and restart dead ones, for `plinth serve`. Returns an exit code.

    Raises Fault if one cannot be kept alive.
    """
    with Supervisor(console) as supervisor:
        try:
            supervisor.start(*specs)
            supervisor.serve()
        finally:
            supervisor.stop()
    return 0


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: Python itself wakes the selector."""


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, READ_SIZE)
    except BlockingIOError:
        return None


def _death(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    return signal.Signals(-exit_code).name
