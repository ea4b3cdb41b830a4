"""A Redis of a test's own, with the options of the embedded one, which can be killed and brought back."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import redis

from server.adapters import redis as adapter
from server.adapters.breaker import Breaker
from server.adapters.limits import RedisLimits
from server.embedded import launch
from server.embedded.redis import OPTIONS, binary
from server.settings import Settings
from tests.stack import wait_for

# However busy the machine is, Redis answers in time, unless it was killed: then nobody waits.
TIMEOUT = 5.0


def connect(dsn: str) -> Any:
    """A client as the server makes it."""
    return adapter.connect(dsn, TIMEOUT)


def limits(dsn: str) -> RedisLimits:
    """Limits as a worker has them, over a client of their own."""
    return RedisLimits(connect(dsn), Breaker())


class Engine:
    """Redis on its folder."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="plinth-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"unix://{self._folder / 'redis.sock'}"

    def start(self) -> Self:
        """Start it, and wait until it answers. It dies with this process."""
        options = OPTIONS | {"unixsocket": str(self._folder / "redis.sock"), "dir": str(self._folder)}
        argv = [str(binary(Settings())), *(part for name, value in options.items() for part in (f"--{name}", value))]
        tie = [launch.__file__, str(os.getpid()), str(int(signal.SIGKILL)), "-", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-I", "-S", *tie, *argv], stdout=log, stderr=log)
        wait_for(self._answers, what="Redis")
        return self

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def remove(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        with connect(self.dsn) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
