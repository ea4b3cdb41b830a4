"""HTTP/2 as no client library would send it: any header, any trailer, several requests on one connection."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

Headers = Sequence[tuple[bytes, bytes]]
PATIENCE = 10.0


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    is_reset: bool = False

    @property
    def status(self) -> int:
        """The HTTP status; 0 when the stream was reset before there was one."""
        return int(self.headers.get(":status", "0"))

    @property
    def grpc_status(self) -> int:
        """The status of gRPC; -1 without one."""
        return int(self.trailers.get("grpc-status") or self.headers.get("grpc-status", "-1"))

    @property
    def grpc_message(self) -> str:
        """The message of gRPC."""
        return self.trailers.get("grpc-message") or self.headers.get("grpc-message", "")


@dataclass(frozen=True)
class Request:
    """One request."""

    headers: Headers
    body: bytes | None = None
    trailers: Headers = ()


def request(method: str, path: str, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers of a request."""
    pseudo = {":method": method, ":scheme": "http", ":authority": "plinth.test", ":path": path}
    return [*((name.encode(), value.encode()) for name, value in pseudo.items()), *more]


def exchange(port: int, *requests: Request) -> list[Answer]:
    """Send requests on one connection, all at once; their answers, in order. Raises ConnectionError when it ends."""
    configuration = H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False
    )
    connection = H2Connection(configuration)
    answers = {2 * number + 1: Answer() for number in range(len(requests))}
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as stream:
        connection.initiate_connection()
        for number, one in zip(answers, requests, strict=True):
            _send(connection, number, one)
        stream.sendall(connection.data_to_send())
        waiting = set(answers)
        while waiting:
            received = stream.recv(65536)
            if not received:
                raise ConnectionError("the gateway closed the connection")
            for event in connection.receive_data(received):
                waiting -= _note(answers, event)
            stream.sendall(connection.data_to_send())
    return list(answers.values())


def _send(connection: H2Connection, number: int, one: Request) -> None:
    has_more = one.body is not None or bool(one.trailers)
    connection.send_headers(number, list(one.headers), end_stream=not has_more)
    if one.body is not None:
        connection.send_data(number, one.body, end_stream=not one.trailers)
    if one.trailers:
        connection.send_headers(number, list(one.trailers), end_stream=True)


def _note(answers: dict[int, Answer], event: Event) -> set[int]:
    """Keep what an event tells; the streams that it ends."""
    match event:
        case ResponseReceived(stream_id=int(number)):
            answers[number].headers = _text(event.headers)
        case DataReceived(stream_id=int(number)):
            answers[number].body += event.data or b""
        case TrailersReceived(stream_id=int(number)):
            answers[number].trailers = _text(event.headers)
        case StreamReset(stream_id=int(number)):
            answers[number].is_reset = True
            return {number}
        case StreamEnded(stream_id=int(number)):
            return {number}
        case ConnectionTerminated():
            raise ConnectionError("the gateway ended the connection")
        case _:
            pass
    return set()


def _text(headers: object) -> dict[str, str]:
    assert isinstance(headers, list)
    return {_decoded(name): _decoded(value) for name, value in headers}


def _decoded(text: bytes | str) -> str:
    return text.decode() if isinstance(text, bytes) else text
