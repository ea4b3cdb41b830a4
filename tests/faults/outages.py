"""Outages that last exactly as long as a test wants."""

import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.clients import TIMEOUT, Rest
from tests.stack import Stack, runs, wait_for


@contextmanager
def away(stack: Stack, name: str, number: int = signal.SIGKILL) -> Iterator[None]:
    """A process that is ended and stays away. When this is left, the supervisor brings it back.

    The supervisor, which is stopped meanwhile, reads no logs: the stack must log little (`log_level="ERROR"`).
    """
    supervisor = stack.pid("supervisor")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        old = stack.kill(name, number)
        wait_for(lambda: not runs(old), what=f"the end of {name}")
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
    stack.wait_for(lambda: stack.pid(name) not in {0, old})


def replaced(stack: Stack, name: str, old: int) -> None:
    """Wait until another process has taken the place of this one and said that it is ready."""
    stack.wait_for(lambda: stack.pid(name) not in {0, old})


def probe(target: str, service: str) -> Any:
    """What grpc.health.v1 says of a service, once somebody answers there."""
    with grpc.insecure_channel(target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        return health.Check(request, timeout=TIMEOUT, wait_for_ready=True).status


def socket_of(stack: Stack, name: str) -> str:
    """Where a worker itself listens, behind the gateway."""
    return f"unix:{stack.settings.socket(name)}"


def answers(ask: Callable[[], httpx.Response], status: int = 200) -> bool:
    """Whether the answer has this status."""
    try:
        return ask().status_code == status
    except httpx.TransportError:
        return False


def health_of(stack: Stack, part: str = "status") -> dict[str, str]:
    """What health says of each dependency, and in all under an empty name. `part` is `status` or `message`.

    It says nothing of dependencies while nobody answers, such as right after the only worker has died.
    """
    found = Rest(stack).get("health").json()
    checks = {check["name"]: str(check.get(part, "")) for check in found.get("checks", ())}
    return defaultdict(str, checks | {"": str(found.get("status", ""))})


def well(stack: Stack) -> None:
    """Wait until the platform says that everything is there."""
    stack.wait_for(lambda: health_of(stack)[""] == "STATUS_SERVING")
