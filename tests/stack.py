"""A whole Plinth for tests: `plinth up` in a process of its own, on a port and in a folder of its own."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

from server.embedded import launch
from server.settings import Settings
from server.settings_loading import EVERY_SETTING

START_PATIENCE = 90.0
ANNOUNCEMENT = "Plinth is up"
STOP_PATIENCE = 25.0
# Long enough for a machine that others load as well: who waits for what comes waits no longer than it takes.
PATIENCE = 60.0
# Receivers of webhooks are on this machine.
RECEIVERS = {"webhook_allow_http": True, "webhook_allowed_networks": "127.0.0.0/8,::1/128"}
# Tests call more often than anybody should; those that are about limits set their own.
UNLIMITED = dict.fromkeys(("general", "default", "auth", "tenant", "probe", "auth_failure"), "1000000/60")
# Of KiB: most of what api workers did in tests was to hash passwords of people nobody would guess.
LITTLE = 64
PAUSE = 0.02
# Seconds within which a process tells where its threads are.
TELLS_WITHIN = 5.0
ENGINES = ("PLINTH_POSTGRES_BIN", "PLINTH_REDIS_SERVER", "PLINTH_ENVOY")
# Linux gives those from 32768 on to who asks for any port.
PORTS = range(20_000, 32_000)


def free_of_settings(environment: dict[str, str]) -> dict[str, str]:
    """The environment without what configures Plinth: tests bring their own. What names the engines stays."""
    foreign = ("PLINTH_", "DATABASE_", "REDIS_URL", "PROMETHEUS_", "OTEL_")
    return {name: value for name, value in environment.items() if name in ENGINES or not name.startswith(foreign)}


def make_folder() -> Path:
    """A temporary folder that the engines' user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="plinth-test-"))
    folder.chmod(0o711)
    return folder


def free_port() -> int:
    """A port of the loopback interface that nobody listens on.

    Not one that the kernel hands out: until it is listened on, somebody else who asks for any port might be given it.
    """
    while True:
        port = secrets.choice(PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for(
    predicate: Callable[[], object], timeout: float = PATIENCE, what: str | Callable[[], str] = "the condition"
) -> None:
    """Wait until the predicate holds; `what` names it, or tells at the end how far it came.

    It asks again and again, since what tests wait for announces itself nowhere.
    """
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            condition = what if isinstance(what, str) else what()
            raise AssertionError(f"{condition} did not come true within {timeout:.0f} s")
        time.sleep(PAUSE)


def runs(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _has_said(log: Path, since: int, words: str) -> bool:
    return words in log.read_text()[since:]


def _text(value: object) -> str:
    """A setting as the environment carries it."""
    return json.dumps(value) if isinstance(value, dict) else str(value)


class Stack:
    """One stack, from the side of the process that started it or of another that only uses it.

    Settings are named as in server.settings: `Stack(api_workers=1)`. The port is any free one.
    """

    COMMAND: ClassVar[tuple[str, ...]] = (sys.executable, "-m", "server", "up")

    def __init__(self, data_dir: Path | None = None, **settings: object) -> None:
        self._temporary = None if data_dir else make_folder()
        self.data_dir = data_dir or (self._temporary or Path()) / "data"
        # Prometheus has one port on a machine; who wants metrics names another one.
        overrides = {"rate_limits": UNLIMITED, "metrics_port": 0, "password_memory": LITTLE, **RECEIVERS}
        # A Redis that is slow because the machine is would not be asked, and calls would go uncounted and uncached.
        self._overrides = overrides | {"redis_timeout": 5} | settings
        self._process: subprocess.Popen[bytes] | None = None
        self._facts: dict[str, str] = {}
        self._announced = 0
        self._settings: Settings | None = None

    @classmethod
    def attach(cls, data_dir: Path) -> Self:
        """Use a stack that another process started."""
        stack = cls(data_dir)
        stack._learn()
        return stack

    # What it is.

    @property
    def url(self) -> str:
        """Where REST is."""
        return self._facts["url"]

    @property
    def port(self) -> int:
        """The gateway's port."""
        return int(self._facts["port"])

    @property
    def metrics_url(self) -> str:
        """Where it tells Prometheus of itself; only the shared stack does unless asked to."""
        return f"http://127.0.0.1:{self._facts['metrics_port']}/metrics"

    @property
    def target(self) -> str:
        """Where gRPC is, as grpc.insecure_channel takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def email(self) -> str:
        """Who may log in."""
        return self._facts["email"]

    @property
    def password(self) -> str:
        """The password of that login."""
        return self._facts["password"]

    @property
    def tenant_id(self) -> str:
        """The seeded tenant."""
        return self._facts["tenant_id"]

    @property
    def settings(self) -> Settings:
        """The settings it runs with, for code under test that wants its database or Redis."""
        # Reading settings takes 20 ms, and tests ask thousands of times.
        if self._settings is None:
            values: dict[str, Any] = {"data_dir": self.data_dir, "port": self._facts.get("port", 0), **self._overrides}
            self._settings = EVERY_SETTING(**values)
        return self._settings

    @property
    def output(self) -> str:
        """What it printed so far."""
        path = self.data_dir.parent / "output"
        return path.read_text() if path.exists() else ""

    @property
    def deaths(self) -> str:
        """What was printed of processes that died, and where in the code they were; empty if none did."""
        lines = [line for line in self.output.splitlines() if " died (" in line]
        if not lines:
            return ""
        crashes = sorted((self.data_dir / "logs").glob("*.crash*"))
        return "\n".join([*lines, *(path.read_text(errors="replace") for path in crashes)])

    # What is done with it.

    def set(self, **settings: object) -> None:
        """Change settings, for the next start."""
        self._overrides |= settings
        self._settings = None

    def start(self) -> Self:
        """Start it and wait until it serves."""
        process = self.launch()
        wait_for(lambda: self._has_announced() or process.poll() is not None, START_PATIENCE, "serving")
        if process.poll() is not None:
            raise AssertionError(f"`plinth up` ended with {process.returncode}:\n{self.output}")
        self._learn()
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it without waiting. It gets SIGTERM when this process dies: not even a SIGKILL leaves it behind."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._serving.unlink(missing_ok=True)
        self._announced = self.output.count(ANNOUNCEMENT)
        tie = [str(launch.__file__), str(os.getpid()), str(int(signal.SIGTERM)), "-", str(self.data_dir.parent)]
        with (self.data_dir.parent / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", *tie, *self.COMMAND],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal ends pytest, and that ends the stack.
                start_new_session=True,
            )
        return self._process

    def processes(self) -> dict[str, int]:
        """The processes by name, as they are right now."""
        found: dict[str, int] = json.loads((self.data_dir / "run" / "processes.json").read_text())
        return found

    def pid(self, name: str) -> int:
        """The process id of `api-0`, `postgres`, ...; 0 while it has none."""
        return self.processes().get(name, 0)

    def family(self) -> list[int]:
        """Every process of the stack, down to PostgreSQL's own."""
        supervisor = psutil.Process(self.processes()["supervisor"])
        return [supervisor.pid, *(process.pid for process in supervisor.children(recursive=True))]

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a process; the id it had."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def whereabouts(self) -> str:
        """Where each thread of the serving processes is, for a test that fails because they answer nobody."""
        folder, told = self.data_dir / "logs", []
        for name in [name for name in self.processes() if name.startswith(("api-", "realtime-"))]:
            log = folder / f"{name}.log"
            said = len(log.read_text())
            # A process that is stopped tells nothing.
            with suppress(OSError, AssertionError):
                self.kill(name, signal.SIGUSR1)
                # The main thread comes last, and its first call last of all.
                wait_for(partial(_has_said, log, said, " in _run_module_as_main"), TELLS_WITHIN)
            told.append(f"{name}:\n{log.read_text()[said:]}")
        return "\n".join([self.output, *told])

    def log_lines(self, words: Iterable[str]) -> list[str]:
        """The lines of all logs, by file, that contain one of the words."""
        wanted = tuple(words)
        return [
            f"{log.name}: {line}"
            for log in sorted((self.data_dir / "logs").glob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if any(word in line for word in wanted)
        ]

    def wait_for(self, predicate: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Wait until something becomes true; if it does not, show what the stack printed."""
        try:
            wait_for(predicate, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def wait(self, timeout: float = STOP_PATIENCE) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self) -> int:
        """Stop it as Ctrl-C does; its exit code. Harmless when it has ended."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_PATIENCE)
        finally:
            self._process.kill()

    def remove(self) -> None:
        """Stop it and remove its data, if it chose the folder itself, and its sockets."""
        try:
            self.stop()
        finally:
            # With a long path it lies outside of the data folder.
            shutil.rmtree(self.settings.socket_dir, ignore_errors=True)
            if self._temporary:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def _has_announced(self) -> bool:
        """Whether programs and people have been told. People are told last, and tests read what they are told."""
        return self._serving.exists() and self.output.count(ANNOUNCEMENT) > self._announced

    def _learn(self) -> None:
        """What it tells of itself once it serves."""
        self._facts = json.loads(self._serving.read_text())
        self._settings = None

    @property
    def _serving(self) -> Path:
        return self.data_dir / "run" / "serving.json"

    def _environment(self) -> dict[str, str]:
        values = {"data_dir": self.data_dir, "port": 0, **self._overrides}
        ours = {f"PLINTH_{name.upper()}": _text(value) for name, value in values.items()}
        # A name server that is out of reach is given up after a second, not after ten.
        fixed = {"PYTHONUNBUFFERED": "1", "RES_OPTIONS": "timeout:1 attempts:1"}
        return free_of_settings(dict(os.environ)) | fixed | ours
