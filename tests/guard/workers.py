"""Api workers past the gateway: those of a stack, and ones of the tests' own, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
from pydantic import SecretStr

from server.app import Application
from server.kernel.chain import RouteTable
from server.run import serving
from server.settings import Settings
from tests.clients import Tenant
from tests.stack import Stack, free_of_settings


class Worker(Stack):
    """A stack as one of its workers: nobody else answers what is called here. gRPC only."""

    def __init__(self, stack: Stack, name: str) -> None:
        super().__init__(stack.data_dir)
        self._name = name

    @property
    def target(self) -> str:
        """Its socket."""
        return f"unix:{self.settings.socket(self._name)}"


def at(tenant: Tenant, name: str) -> Tenant:
    """A tenant whose stubs call one worker."""
    return replace(tenant, stack=Worker(tenant.stack, name))


class Program:
    """A program of the tests beside a running stack. It says lines, and ends when nobody listens any more."""

    def __init__(self, module: str, stack: Stack, settings: dict[str, Any], *arguments: str) -> None:
        """`settings` are those in which its worker differs from the workers of the stack."""
        own = stack.settings.model_copy(update=settings).model_dump(exclude_unset=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(own, default=_plain), *arguments],
            env=free_of_settings(dict(os.environ)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """The next line."""
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        assert line, "the program has ended"
        return line

    def ask(self, question: str) -> str:
        """The line that answers this one."""
        assert self._process.stdin
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """Listen no more, and wait until it has ended."""
        self._process.communicate()


def _plain(value: object) -> str:
    """A path or a secret as the settings take it."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


@contextmanager
def running(module: str, stack: Stack, *arguments: str, **settings: Any) -> Iterator[Program]:
    """Run a program for as long as the block."""
    program = Program(module, stack, settings, *arguments)
    try:
        yield program
    finally:
        program.end()


# In such a program ----------------------------------------------------------------------------------------------------


def given_settings() -> Settings:
    """The settings that the test gave."""
    return Settings(**json.loads(sys.argv[1]))


def serve(application: Application, name: str) -> grpc.Server:
    """Be an api worker, as server/run/processes.py has it, which the gateway does not know."""
    application.open()
    server = grpc.server(application.guard.threads, options=serving.grpc_options(application.settings))
    for service, handlers in RouteTable(application.routes).by_service().items():
        server.add_registered_method_handlers(service, handlers)
    serving.listen(server, application.settings, name)
    server.start()
    return server


def say(line: str) -> None:
    """Tell the test; in one piece, since other processes may talk as well."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())
