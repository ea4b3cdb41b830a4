"""Floods: thousands of requests that all differ, sent as fast as a stack takes them."""

import json
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.stack import Stack

CONNECTIONS = 16
PATIENCE = 30.0
FAILURE = 500


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


class Statuses(Counter[int]):
    """How many answers had which status, and what the server said when it failed."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: Counter[bytes] = Counter()
        """How many answers with a status of 500 or more had which body, up to its request id."""

    def note(self, status: int, body: bytes) -> None:
        """Count an answer."""
        self[status] += 1
        if status >= FAILURE:
            self.failures[body.partition(b'"requestId"')[0]] += 1


def flood(stack: Stack, requests: Iterable[Request]) -> Statuses:
    """Send all of them over a few connections; how many answers had which status."""
    waiting = iter(list(requests))
    found = Statuses()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for each in [threads.submit(_send, stack, waiting) for _ in range(CONNECTIONS)]:
            for status, body in each.result():
                found.note(status, body)
    return found


def _send(stack: Stack, requests: Iterator[Request]) -> list[tuple[int, bytes]]:
    """Send what nobody else sends: taking the next one from an iterator over a list is atomic.

    The status of each answer, with its body if the server failed.
    """
    line = _Line(stack.port)
    found = [(status, body if status >= FAILURE else b"") for status, body in map(line.ask, requests)]
    line.close()
    return found


class _Line:
    """A connection, which is made again where the other side says that it closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def ask(self, request: Request) -> tuple[int, bytes]:
        """Send a request and read its answer; the status and the body."""
        self._connection.sendall(request.wire)
        status = int(self._answers.readline().split(b" ")[1])
        headers = {}
        while line := self._answers.readline().strip():
            name, _, value = line.lower().partition(b":")
            headers[name] = value.strip()
        body = self._body(headers)
        if headers.get(b"connection") == b"close":
            self.close()
            self._connect()
        return status, body

    def close(self) -> None:
        """Let go of it."""
        self._answers.close()
        self._connection.close()

    def _connect(self) -> None:
        self._connection = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        self._answers = self._connection.makefile("rb")

    def _body(self, headers: Mapping[bytes, bytes]) -> bytes:
        if headers.get(b"transfer-encoding") != b"chunked":
            return self._answers.read(int(headers.get(b"content-length", 0)))
        chunks = []
        while size := int(self._answers.readline(), 16):
            chunks.append(self._answers.read(size + len(b"\r\n"))[:size])
        self._answers.readline()
        return b"".join(chunks)
