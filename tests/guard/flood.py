"""Floods: thousands of requests that all differ, sent as fast as a stack takes them."""

import json
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BufferedReader

from tests.stack import Stack

CONNECTIONS = 16
PATIENCE = 30.0


@dataclass(frozen=True)
class Request:
    """A request of REST or gRPC-Web."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of_json(cls, method: str, path: str, body: object, headers: Mapping[str, str] | None = None) -> "Request":
        """A request with a JSON body."""
        kind = {"content-type": "application/json"}
        return cls(path, method, kind | dict(headers or {}), json.dumps(body).encode())

    @property
    def wire(self) -> bytes:
        """What goes over an HTTP/1.1 connection."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "host: plinth.test"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def flood(stack: Stack, requests: Iterable[Request]) -> Counter[int]:
    """Send all of them over a few connections; how many answers had which status."""
    waiting = iter(list(requests))
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        each = [threads.submit(_send, stack, waiting) for _ in range(CONNECTIONS)]
        return sum((one.result() for one in each), Counter[int]())


def _send(stack: Stack, requests: Iterator[Request]) -> Counter[int]:
    """Send what nobody else sends: taking the next one from an iterator over a list is atomic."""
    found: Counter[int] = Counter()
    with (
        socket.create_connection(("127.0.0.1", stack.port), PATIENCE) as connection,
        connection.makefile("rb") as answers,
    ):
        for request in requests:
            connection.sendall(request.wire)
            found[_status(answers)] += 1
    return found


def _status(answers: BufferedReader) -> int:
    """Read one answer; its status."""
    status = int(answers.readline().split(b" ")[1])
    size, is_chunked = 0, False
    while line := answers.readline().strip():
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            size = int(value)
        is_chunked = is_chunked or (name == b"transfer-encoding" and b"chunked" in value)
    answers.read(size)
    while is_chunked:
        size = int(answers.readline(), 16)
        answers.read(size)
        answers.readline()
        is_chunked = bool(size)
    return status
