"""The base of providers' doubles: a real HTTP server on loopback that keeps the rules of a provider, and fails at will.

A double says in `reply` what it does. The base records every request, refuses credentials that are not those of the
double, and remembers what it answered to an idempotency key, as providers do: the same key and request get the first
answer and have no second effect, and the same key with another request is refused.
"""

import enum
import hashlib
import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.stack import PATIENCE

REQUEST_ID = "request-id"
# Seconds within which it notices that it is to end.
POLL = 0.01


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return self.headers.get("idempotency-key", "")


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: Any, **headers: str) -> Self:
        """JSON; underscores in names of headers are hyphens."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json", **named})


class Fault(enum.Enum):
    """What goes wrong with one request."""

    NONE = enum.auto()
    DROP_BEFORE = enum.auto()
    """The connection ends without an effect."""
    DROP_AFTER = enum.auto()
    """It ends after the effect, without an answer."""
    CUT = enum.auto()
    """It ends in the middle of the answer."""
    ERROR_BEFORE = enum.auto()
    """500 without an effect."""
    ERROR_AFTER = enum.auto()
    """500 after the effect."""
    THROTTLE = enum.auto()
    """429 with Retry-After, without an effect."""
    DUPLICATE = enum.auto()
    """The request arrives twice, as when something in between has sent it again."""
    HOLD_BEFORE = enum.auto()
    """It waits for `release`, and has its effect then: later than requests that came after it."""
    HOLD_AFTER = enum.auto()
    """It has its effect, and the answer waits for `release`."""
    TRICKLE = enum.auto()
    """The body comes byte by byte, and its last one with `release`."""


DROPPED = (Fault.DROP_BEFORE, Fault.DROP_AFTER)


class Double:
    """Runs inside of a `with` block. What it holds back is released at its end."""

    def __init__(self, token: str = "", *, ignores_keys: bool = False, tls: ssl.SSLContext | None = None) -> None:
        """`token` is the bearer token that it accepts; without one it asks for none."""
        self._token = token
        self._tls = tls
        self._ignores_keys = ignores_keys
        self.received: list[Received] = []
        self._answered: dict[str, tuple[bytes, Reply]] = {}
        self._faults: deque[Fault] = deque()
        self._lock = threading.RLock()
        self._came = threading.Condition()
        self._released = threading.Event()
        self.retry_after = 1
        """What Retry-After says."""
        self._server, self._thread = self._listening(0)

    # What a double says.

    def reply(self, request: Received) -> Reply:
        """Do what is asked. Called with one request at a time."""
        raise NotImplementedError

    # What tests say.

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def fail(self, *faults: Fault) -> None:
        """What goes wrong with the next requests, one each; then all is well."""
        with self._lock:
            self._faults.extend(faults)

    def recover(self) -> None:
        """Nothing goes wrong with requests to come."""
        with self._lock:
            self._faults.clear()

    def release(self) -> None:
        """Let go what is held back, now and from now on."""
        self._released.set()

    def hold(self) -> None:
        """Hold back again what faults hold back."""
        self._released.clear()

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.received) >= count, PATIENCE), f"{len(self.received)} came"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.end()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens: connections are refused."""
        port = self._server.server_port
        self._server.end()
        self._thread.join()
        yield
        self._server, self._thread = self._listening(port)
        self._thread.start()

    def _listening(self, port: int) -> tuple["_Server", threading.Thread]:
        server = _Server(("127.0.0.1", port), self._handler())
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        return server, threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)

    # How it answers.

    def _take(self, request: Received) -> Fault:
        """Record a request. What goes wrong with it."""
        with self._lock:
            fault = self._faults.popleft() if self._faults else Fault.NONE
        with self._came:
            self.received.append(request)
            self._came.notify_all()
        return fault

    def _answer(self, request: Received) -> Reply:
        """The answer, with the effect."""
        if self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            return Reply.of(401, {"code": "unauthorized"})
        with self._lock:
            if self._ignores_keys or not request.key or request.method == "GET":
                return self.reply(request)
            digest = hashlib.sha256(f"{request.method} {request.path}".encode() + request.body).digest()
            known = self._answered.get(request.key)
            if known is None:
                known = self._answered[request.key] = (digest, self.reply(request))
            return known[1] if known[0] == digest else Reply.of(400, {"code": "idempotency_key_reused"})

    def _serve(self, request: Received) -> tuple[Reply | None, Fault]:
        """The answer, or None for none; and what goes wrong with sending it."""
        fault = self._take(request)
        match fault:
            case Fault.DROP_BEFORE:
                return None, fault
            case Fault.ERROR_BEFORE:
                return Reply.of(500, {"code": "internal"}), fault
            case Fault.THROTTLE:
                return Reply.of(429, {"code": "too_many"}, retry_after=str(self.retry_after)), fault
            case Fault.HOLD_BEFORE:
                self._released.wait(PATIENCE)
        reply = self._answer(request)
        match fault:
            case Fault.DUPLICATE:
                reply = self._answer(request)
            case Fault.HOLD_AFTER:
                self._released.wait(PATIENCE)
            case Fault.DROP_AFTER:
                return None, fault
            case Fault.ERROR_AFTER:
                return Reply.of(500, {"code": "internal"}), fault
        return reply, fault

    def _trickle(self, write: Callable[[bytes], object], body: bytes) -> None:
        for position in range(len(body) - 1):
            write(body[position : position + 1])
        self._released.wait(PATIENCE)
        write(body[-1:])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _do(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                request = Received(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
                reply, fault = double._serve(request)
                if reply is None:
                    self._hang_up()
                    return
                # Whoever asked may have gone.
                with suppress(OSError):
                    self._send(reply, fault, len(double.received))

            def _send(self, reply: Reply, fault: Fault, number: int) -> None:
                self.send_response(reply.status)
                for name, value in {REQUEST_ID: f"req_{number}", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                if fault is Fault.CUT:
                    self.wfile.write(reply.body[: len(reply.body) // 2])
                    self._hang_up()
                elif fault is Fault.TRICKLE:
                    double._trickle(self.wfile.write, reply.body)
                else:
                    self.wfile.write(reply.body)

            def _hang_up(self) -> None:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _do  # noqa: N815 - as http.server names them

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Many connect at once.
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def end(self) -> None:
        """Listen no more, and hang up on everybody."""
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Whoever asked may have gone."""
