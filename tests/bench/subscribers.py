"""Thousands of SSE subscribers on raw sockets, in a process of their own, so that they share nothing with a server.

They do as EventSource does: they keep the last event id and come back with it, as soon as the server told them to.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

# Connections under way at once: the listener's backlog is no part of what is measured.
AT_ONCE = 200
RETRY = 1.0
CHUNKED = b"transfer-encoding: chunked"
PATIENCE = 60.0


@dataclass(frozen=True)
class Target:
    """A stream to follow."""

    port: int
    path: str
    token: str

    def request(self, last_event_id: str) -> bytes:
        """The bytes that ask for it."""
        resume = f"last-event-id: {last_event_id}\r\n" if last_event_id else ""
        return (
            f"GET {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\naccept: text/event-stream\r\n"
            f"authorization: Bearer {self.token}\r\ncache-control: no-cache\r\n{resume}\r\n"
        ).encode()


@dataclass
class Story:
    """What one subscriber has seen."""

    events: list[tuple[str, float]] = field(default_factory=list)
    """Event ids in the order of their arrival, and when each came (Unix time)."""
    data: list[tuple[str, str]] = field(default_factory=list)
    """Name and data of those events."""
    opened: int = 0
    errors: list[str] = field(default_factory=list)
    """The data of error frames."""
    statuses: Counter[int] = field(default_factory=Counter)
    comments: int = 0


class _Stream(asyncio.Protocol):
    """One connection of a subscriber."""

    def __init__(self, subscriber: "_Subscriber") -> None:
        self._subscriber = subscriber
        self._raw = b""
        self._text = b""
        self._has_head = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._subscriber.request())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._raw += data
        if not self._has_head:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return
            self._has_head, self._raw = True, rest
            self._subscriber.story.statuses[int(head.split(b" ", 2)[1])] += 1
            if CHUNKED not in head.lower():
                # An error, or the gateway's word that nobody is there: short, and read to its end.
                self.close()
                return
        self._text += b"".join(self._chunks())
        *frames, self._text = self._text.split(b"\n\n")
        for frame in frames:
            self._subscriber.take(frame, now)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._subscriber.lost()

    def _chunks(self) -> Iterator[bytes]:
        """The whole chunks that have arrived (RFC 9112, 7.1)."""
        while True:
            size, found, rest = self._raw.partition(b"\r\n")
            length = int(size, 16) if found else 0
            if not found or len(rest) < length + 2:
                return
            self._raw = rest[length + 2 :]
            if not length:
                self.close()
            yield rest[:length]

    def close(self) -> None:
        """End the connection at once."""
        if self._transport:
            self._transport.abort()


class _Subscriber:
    def __init__(self, target: Target, gate: asyncio.Semaphore, *, keep_coming: Callable[[], bool]) -> None:
        self.story = Story()
        self._target = target
        self._gate = gate
        self._keep_coming = keep_coming
        self._last = ""
        self._stream: _Stream | None = None

    def request(self) -> bytes:
        return self._target.request(self._last)

    async def connect(self) -> None:
        async with self._gate:
            loop = asyncio.get_running_loop()
            try:
                _, self._stream = await loop.create_connection(lambda: _Stream(self), "127.0.0.1", self._target.port)
            except OSError:
                loop.call_later(RETRY, self._come_back)

    def cut(self) -> None:
        """Close the connection from this side, and come back at once."""
        if self._stream:
            self._stream.close()

    def lost(self) -> None:
        self._stream = None
        if self._keep_coming():
            asyncio.get_running_loop().call_later(RETRY, self._come_back)

    def take(self, frame: bytes, now: float) -> None:
        if frame.startswith(b":"):
            self.story.comments += 1
            return
        fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line)
        event = fields.get(b"event")
        if event == b"stream.error":
            self.story.errors.append(fields[b"data"].decode())
        elif event is not None:
            # What tells of no event has no id.
            self._last = fields.get(b"id", self._last.encode()).decode()
            if event == b"stream.open":
                self.story.opened += 1
            else:
                self.story.events.append((self._last, now))
                self.story.data.append((event.decode(), fields[b"data"].decode()))

    def _come_back(self) -> None:
        task = asyncio.get_running_loop().create_task(self.connect())
        task.add_done_callback(lambda done: done.exception())


class _Crowd:
    """All subscribers, and what the parent may ask of them."""

    def __init__(self) -> None:
        self._subscribers: list[_Subscriber] = []
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._open = True

    async def join(self, targets: list[Target]) -> None:
        """Open a stream for each target; all are connected, though not answered, when this returns."""
        new = [_Subscriber(target, self._gate, keep_coming=lambda: self._open) for target in targets]
        self._subscribers += new
        await asyncio.gather(*(subscriber.connect() for subscriber in new))

    async def opened(self) -> int:
        """How many streams have opened so far, those that came back counted again."""
        return sum(subscriber.story.opened for subscriber in self._subscribers)

    async def seen(self) -> int:
        """How many events have arrived, at all of them together."""
        return sum(len(subscriber.story.events) for subscriber in self._subscribers)

    async def cut(self) -> None:
        """Cut every connection from this side; they come back after the time the server named."""
        for subscriber in self._subscribers:
            subscriber.cut()

    async def stories(self) -> list[Story]:
        """What each has seen, in the order they joined."""
        return [subscriber.story for subscriber in self._subscribers]

    async def leave(self) -> None:
        """Close everything for good."""
        self._open = False
        await self.cut()


def _run(connection: Connection) -> None:
    asyncio.run(_serve(connection))


async def _serve(connection: Connection) -> None:
    crowd = _Crowd()
    loop = asyncio.get_running_loop()
    while True:
        try:
            name, arguments = await loop.run_in_executor(None, connection.recv)
        except EOFError:
            return
        connection.send(await getattr(crowd, name)(*arguments))


class Subscribers(AbstractContextManager["Subscribers"]):
    """The process of the subscribers, from the side of who started it."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join(5)
        self._process.kill()

    def join(self, targets: list[Target]) -> None:
        """Open a stream for each target."""
        self._ask("join", targets)

    def opened(self) -> int:
        """How many streams have opened so far, those that came back counted again."""
        return int(self._ask("opened"))

    def seen(self) -> int:
        """How many events have arrived, at all of them together."""
        return int(self._ask("seen"))

    def cut(self) -> None:
        """Cut every connection."""
        self._ask("cut")

    def stories(self) -> list[Story]:
        """What each has seen."""
        found: list[Story] = self._ask("stories")
        return found

    def leave(self) -> None:
        """Close everything for good."""
        self._ask("leave")

    def _ask(self, name: str, *arguments: object) -> Any:
        self._connection.send((name, arguments))
        if not self._connection.poll(PATIENCE):
            raise TimeoutError(f"the subscribers did not answer `{name}` within {PATIENCE:.0f} s")
        return self._connection.recv()
