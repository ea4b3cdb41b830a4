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
    line = _Line(stack.port)
    for request in requests:
        found[line.ask(request)] += 1
    line.close()
    return found


class _Line:
    """A connection, which is made again where the other side says that it closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def ask(self, request: Request) -> int:
        """Send a request and read its answer; the status."""
        self._connection.sendall(request.wire)
        status = int(self._answers.readline().split(b" ")[1])
        headers = {}
        while line := self._answers.readline().strip():
            name, _, value = line.lower().partition(b":")
            headers[name] = value.strip()
        self._pass_over_body(headers)
        if headers.get(b"connection") == b"close":
            self.close()
            self._connect()
        return status

    def close(self) -> None:
        """Let go of it."""
        self._answers.close()
        self._connection.close()

    def _connect(self) -> None:
        self._connection = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        self._answers = self._connection.makefile("rb")

    def _pass_over_body(self, headers: Mapping[bytes, bytes]) -> None:
        if headers.get(b"transfer-encoding") != b"chunked":
            self._answers.read(int(headers.get(b"content-length", 0)))
            return
        while size := int(self._answers.readline(), 16):
            self._answers.read(size + len(b"\r\n"))
        self._answers.readline()
