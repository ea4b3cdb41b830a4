"""`plinth up`: the whole stack on one machine, started from nothing within seconds and stopped by Ctrl-C."""

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypedDict

from server.embedded import envoy, inventory, postgres, redis
from server.embedded.banner import banner
from server.embedded.children import Role, Task
from server.embedded.faults import Fault, StopAsked
from server.embedded.logs import Console, LogFolder
from server.embedded.privileges import Identity, engine_identity, own
from server.embedded.supervisor import Supervisor
from server.faults import ForeignSecret
from server.metrics import files as metrics_files
from server.run import open_files
from server.settings import Settings


def up(settings: Settings, *, verbose: bool = False, accept_new_secret: bool = False) -> int:
    """Start everything, serve until Ctrl-C or SIGTERM, stop everything. Returns an exit code.

    A fault is printed on the terminal, and its status is the exit code.
    """
    console = Console(sys.stdout, verbose=verbose or settings.log_level == "DEBUG")
    started = time.monotonic()
    try:
        make_data_folder(settings.data_dir)
        with lock_folder(settings) as lock, _port(settings) as (port, reserved):
            own = settings.model_copy(update={"port": port})
            return _run(own, console, started, [lock, reserved], accept_new_secret=accept_new_secret)
    except Fault as fault:
        console.say(f"plinth: {fault}")
        return fault.status


def _run(settings: Settings, console: Console, started: float, held: list[int], *, accept_new_secret: bool) -> int:
    logs = LogFolder(
        settings.data_dir / "logs",
        max_bytes=settings.log_max_bytes,
        backups=settings.log_backups,
        tell=console.say,
    )
    open_files.raise_limit()
    _warn_of_few_open_files(settings, console)
    programs = inventory.take(settings)
    for note in programs.notes:
        console.say(f"plinth: {note}")
    identity = make_run_folders(settings, programs.engines)
    with Supervisor(console, logs=logs, registry=run_folder(settings) / "processes.json") as supervisor:
        for descriptor in held:
            supervisor.hold(descriptor)
        stack = _Stack(settings, supervisor, identity, console, accept_new_secret=accept_new_secret)
        try:
            seeded = stack.start()
            _announce(settings, console, seeded, time.monotonic() - started)
            supervisor.serve()
            console.say("plinth: stopping")
        except StopAsked:
            console.say("plinth: stopping")
        except Fault as fault:
            console.say(f"plinth: {fault}")
            return fault.status
        finally:
            with suppress(OSError):
                _serving(settings).unlink(missing_ok=True)
            stack.stop()
    return 0


class _Stack:
    """The stack, with the order in which its parts start and stop."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        identity: Identity | None,
        console: Console,
        *,
        accept_new_secret: bool,
    ) -> None:
        self._console = console
        self._accept_new_secret = accept_new_secret
        self._settings = settings
        self._supervisor = supervisor
        self._identity = identity
        self._gateway = Task(name="gateway", run=partial(_render, settings))
        self._roles: list[Role] = []

    def start(self) -> dict[str, str]:
        """Start all parts, in parallel where possible. Returns the login."""
        supervisor, settings = self._supervisor, self._settings
        fresh = self._start_engines()
        self._roles = _build(settings)
        # Forked once the application is imported, of which the gateway shows the reference.
        supervisor.start(self._gateway)
        if fresh:
            supervisor.finish("initdb")
            postgres.adopt(settings)
            supervisor.start(postgres.program(settings, self._identity))
        supervisor.await_ready(*self._engines)
        self._migrate()
        seed = Task(name="seed", run=partial(_seed, settings))
        supervisor.start(*self._roles, seed)
        seeded = supervisor.result(seed)
        supervisor.await_ready(*(role.name for role in self._roles))
        self._start_gateway()
        return seeded

    def _migrate(self) -> None:
        """Migrate. Raises ForeignSecret, which the child returns as data, because its exceptions all become Fault."""
        told = self._supervisor.run(
            Task(name="migrate", run=partial(_migrate, self._settings, accept_new_secret=self._accept_new_secret))
        )
        for line in told["lines"] if self._accept_new_secret else ():
            self._console.say(f"plinth: {line}")
        if told["foreign"]:
            raise ForeignSecret(told["foreign"])

    def stop(self) -> None:
        """Stop accepting connections, let the roles finish their calls, then stop the gateway and the engines."""
        if self._supervisor.pid("envoy"):
            envoy.drain(self._settings)
        if self._roles:
            self._supervisor.stop(*(role.name for role in self._roles))
        self._supervisor.stop("envoy")
        self._supervisor.stop()

    @property
    def _engines(self) -> list[str]:
        ours = {"postgres": self._settings.database_url is None, "redis": self._settings.redis_url is None}
        return [name for name, embedded in ours.items() if embedded]

    def _start_engines(self) -> bool:
        """Start the engines. True if the database is new, in which case only its creation was started."""
        settings, supervisor = self._settings, self._supervisor
        if "redis" in self._engines:
            supervisor.start(redis.program(settings, self._identity))
        if "postgres" not in self._engines:
            return False
        if postgres.is_new(settings):
            supervisor.start(postgres.initialise(settings, self._identity))
            return True
        postgres.examine(settings)
        supervisor.start(postgres.program(settings, self._identity))
        return False

    def _start_gateway(self) -> None:
        configuration = Path(self._supervisor.result(self._gateway))
        self._supervisor.start(envoy.program(self._settings, configuration))
        self._supervisor.await_ready("envoy")
        self._supervisor.run(Task(name="probe", run=partial(envoy.probe, self._settings)))


# The functions of forked children. Each imports its modules itself: the engines start before the application is
# imported, and a module that only one child needs is imported in that child only.


def _render(settings: Settings) -> str:
    from server.gateway import render  # noqa: PLC0415
    from server.run import processes  # noqa: PLC0415

    return str(render.write(settings, static=processes.site()))


class _Told(TypedDict):
    """The result of migrating."""

    lines: list[str]
    foreign: str
    """Why the secret is refused; empty if it is accepted."""


def _migrate(settings: Settings, *, accept_new_secret: bool) -> _Told:
    from server.run import preflight, processes  # noqa: PLC0415

    preflight.check_redis(settings, must_answer=True)
    if settings.database_url is None:
        from server.embedded.database import create_database  # noqa: PLC0415

        create_database(settings)
    lines: list[str] = []

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        lines.append(line)

    try:
        processes.migrate(settings, tell=tell, accept_new_secret=accept_new_secret)
    except ForeignSecret as fault:
        return {"lines": lines, "foreign": str(fault)}
    return {"lines": lines, "foreign": ""}


def _seed(settings: Settings) -> dict[str, str]:
    from server.run import processes  # noqa: PLC0415

    login = processes.first_login(settings)
    return asdict(login) if login else {}


def _build(settings: Settings) -> list[Role]:
    """Import the application, and build the processes that are forked from this one."""
    metrics_files.share(settings.metrics_dir)
    from server.gateway.clusters import AGENTS  # noqa: PLC0415
    from server.run import preflight, processes  # noqa: PLC0415

    # A process cannot be built with URLs that cannot be read. Whether they lead anywhere is checked later.
    preflight.check_url(settings, "runtime")
    preflight.redis_of(settings)
    # A little more than the drain timeout of the roles. The gateway has been drained by then and need not notice, so
    # SIGINT is used instead of SIGTERM.
    stop = ((signal.SIGINT, settings.drain_timeout + 2.0),)
    roles = [
        Role(name=f"api-{index}", run=processes.api(settings, index), stop=stop)
        for index in range(settings.api_workers)
    ]
    roles += [
        Role(name=f"realtime-{index}", run=processes.realtime(settings, index), stop=stop)
        for index in range(settings.realtime_workers)
    ]
    roles += [
        Role(name=f"worker-{index}", run=partial(processes.run_worker, settings, index), stop=stop)
        for index in range(settings.background_workers)
    ]
    if settings.agents:
        roles.append(Role(name=AGENTS, run=partial(processes.run_agents, settings), stop=stop))
    processes.settle_before_fork()
    return roles


# Folders, locks and ports.


def run_folder(settings: Settings) -> Path:
    """The folder with the registry and the facts of a running stack."""
    return settings.data_dir.resolve() / "run"


def _serving(settings: Settings) -> Path:
    return run_folder(settings) / "serving.json"


def make_data_folder(folder: Path) -> None:
    """Create the data folder. Raises Fault."""
    try:
        # With the mode of the umask: private content protects itself.
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Fault(f"the data folder {folder} cannot be made: {error.strerror}") from error


def make_run_folders(settings: Settings, programs: tuple[Path, ...]) -> Identity | None:
    """Create the folders of a running stack. Returns the user for its engines, which have these programs."""
    identity = engine_identity(postgres.data_folder(settings), settings.socket_dir, *programs)
    for folder in {run_folder(settings), settings.socket_dir}:
        own(folder, identity)
    if settings.redis_url is None:
        own(redis.data_folder(settings), identity)
    return identity


@contextmanager
def lock_folder(settings: Settings) -> Iterator[int]:
    """Lock the data folder, so that no second stack uses it."""
    path = settings.data_dir / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Fault(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode().strip()
        raise Fault(
            f"{settings.data_dir.resolve()} is in use by process {owner}. Stop that one, or set PLINTH_DATA_DIR."
        ) from None
    finally:
        os.close(descriptor)


@contextmanager
def _port(settings: Settings) -> Iterator[tuple[int, int]]:
    """Reserve the gateway's port, or any free one for 0, during the start and while Envoy restarts.

    Nothing listens on the reserving socket. Envoy binds beside it, which SO_REUSEPORT allows for the same user.
    """
    if settings.port:
        _bind(settings, settings.port, reuse=False).close()
    reserved = _bind(settings, settings.port, reuse=True)
    with reserved:
        yield reserved.getsockname()[1], reserved.fileno()


def _bind(settings: Settings, port: int, *, reuse: bool) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if reuse else socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise Fault(f"port {port} of {settings.host} {why}. Set PLINTH_PORT (and PLINTH_HOST) to another.") from error
    return bound


def _warn_of_few_open_files(settings: Settings, console: Console) -> None:
    from server.gateway.overload import MAX_CONNECTIONS  # noqa: PLC0415

    needed = max(MAX_CONNECTIONS, settings.webhook_concurrency) + open_files.SPARE
    if open_files.limit() < needed:
        console.say(
            f"plinth: the limit of open files is {open_files.limit()}, below {needed}. The gateway closes connections "
            f"beyond {open_files.connections_within(MAX_CONNECTIONS)} instead of beyond {MAX_CONNECTIONS}. "
            f"Raise it with `ulimit -Hn {needed}` (systemd: LimitNOFILE)."
        )


def _announce(settings: Settings, console: Console, seeded: dict[str, str], seconds: float) -> None:
    """Announce the stack, on the terminal for people and in run/serving.json for programs."""
    path = _serving(settings)
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    login = {name: value for name, value in seeded.items() if name != "advice"} if seeded.get("email") else {}
    facts = {"url": envoy.url(settings), "port": settings.port, "metrics_port": settings.metrics_port} | login
    draft.write_text(f"{json.dumps(facts, indent=2)}\n")
    draft.replace(path)
    console.say(banner(settings, console, seeded, seconds))
