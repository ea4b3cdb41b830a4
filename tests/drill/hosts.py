"""Other hosts of a deployment: processes beside a running stack, with folders and a clock of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from glob import glob

import pytest

from server.embedded import launch
from tests.clients import Tenant
from tests.stack import STOP_PATIENCE, Stack, free_of_settings, make_folder

# Debian's package `libfaketime`, and where others have it.
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


def faketime() -> str:
    """The library that gives a process another clock. Skips the test where it is not installed."""
    found = [path for pattern in LIBRARIES for path in glob(pattern)]  # noqa: PTH207 - an absolute pattern
    if not found:
        pytest.skip("libfaketime is not installed: apt-get install libfaketime")
    return found[0]


class Host(Stack):
    """A host that serves a stack's deployment; its clock is ahead by so many seconds."""

    def __init__(self, stack: Stack, ahead: int) -> None:
        self._folder = make_folder()
        super().__init__(self._folder / "data", log_level="WARNING")
        self._stack = stack
        self._ahead = ahead
        self.said = self._folder / "said"

    @property
    def target(self) -> str:
        """The socket of its api worker."""
        return f"unix:{self.settings.socket('api-0')}"

    @contextmanager
    def running(self, *command: str) -> Iterator["Host"]:
        """Have a `plinth` command run for as long as the context lasts."""
        tie = [str(launch.__file__), str(os.getpid()), "15", "-", str(self._folder)]
        with self.said.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", *tie, sys.executable, "-m", "server", *command],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield self
        finally:
            process.terminate()
            process.wait(STOP_PATIENCE)

    def at(self, tenant: Tenant) -> Tenant:
        """A tenant whose stubs call this host."""
        return replace(tenant, stack=self)

    def remove(self) -> None:
        """Remove its folder, and its sockets."""
        super().remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def has_said(self, words: str) -> bool:
        """Whether these words are in its log."""
        return words in self.said.read_text()

    def _environment(self) -> dict[str, str]:
        ours = self._stack.settings
        logins = {
            "DATABASE_URL": ours.owner_dsn,
            "DATABASE_RUNTIME_URL": ours.runtime_dsn,
            "DATABASE_DISPATCH_URL": ours.dispatch_dsn,
            "REDIS_URL": ours.redis_dsn,
            "PLINTH_SECRET_KEY": ours.secret.decode(),
        }
        return free_of_settings(super()._environment()) | self._plinth() | logins | self._clock()

    def _clock(self) -> dict[str, str]:
        if not self._ahead:
            return {}
        return {
            "LD_PRELOAD": faketime(),
            "FAKETIME": f"{self._ahead:+d}s",
            # What counts seconds since the start of a machine has nothing to do with how its clock is set.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _plinth(self) -> dict[str, str]:
        return {name: value for name, value in super()._environment().items() if name.startswith("PLINTH_")}
