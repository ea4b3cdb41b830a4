"""Two hosts of one deployment: stacks with folders of their own that share a PostgreSQL and a Redis."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from server.embedded import launch
from server.embedded.redis import OPTIONS, binary
from server.settings import Settings
from tests.stack import Stack, make_folder, wait_for


class Redis:
    """A Redis that nobody brings back when it is killed. It keeps what it knows, as the embedded one does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = OPTIONS | {"unixsocket": str(self._socket), "dir": str(self._folder)}
        command = [str(binary(Settings())), *(part for name, value in options.items() for part in (f"--{name}", value))]
        tie = [str(launch.__file__), str(os.getpid()), str(int(signal.SIGTERM)), "-", str(self._folder)]
        self._process = subprocess.Popen([sys.executable, "-I", "-S", *tie, *command], stdout=subprocess.DEVNULL)
        wait_for(self._answers, what="Redis")

    def kill(self) -> None:
        """Leave it no time for anything."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill it, and start it again after the block."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@dataclass
class Hosts:
    """The deployment. The one called first has the PostgreSQL of both."""

    first: Stack
    second: Stack
    redis: Redis


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Start them; they are gone after the block."""
    with ExitStack() as opened:
        folder = make_folder()
        opened.callback(shutil.rmtree, folder, ignore_errors=True)
        shared = Redis(folder)
        shared.start()
        opened.callback(shared.kill)
        common: dict[str, Any] = {
            "api_workers": 1,
            "log_level": "ERROR",
            "redis_url": shared.url,
            "secret_key": "x" * 32,
        }
        first = Stack(**common)
        opened.callback(first.remove)
        first.start()
        second = Stack(**common, database_url=first.settings.owner_dsn)
        opened.callback(second.remove)
        yield Hosts(first, second.start(), shared)
