"""A receiver of webhooks on the loopback interface, which does with messages what a test tells it to."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Message:
    """What came."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    time: float
    """Unix time."""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def subject(self) -> str:
        """The resource it is about."""
        return str(self.content["data"]["id"])


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    """Nothing is answered at all."""
    drip: bool = False
    """A byte of the body now and then, for ever."""


Behaviour = Callable[[Message], Reply]
FAIL = Reply(500)


class Receiver:
    """Listens in a thread of its own while the context lasts. Every path is a receiver by itself."""

    def __init__(self, host: str = HOST, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._tls = tls
        self._behaviours: dict[str, Behaviour] = {}
        self._messages: list[Message] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self.connections = 0
        self.port = port

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def url(self, path: str = "/") -> str:
        return f"http://{self._host}:{self.port}{path}"

    def behave(self, path: str, behaviour: Behaviour | Reply) -> None:
        """What is answered to messages to this path from now on; all others get 200."""
        self._behaviours[path] = behaviour if callable(behaviour) else lambda _: behaviour

    def messages(self, path: str | None = None) -> list[Message]:
        """What has come so far, in order."""
        return [message for message in list(self._messages) if path is None or message.path == path]

    def ids(self, path: str | None = None) -> list[str]:
        return [message.id for message in self.messages(path)]

    def count(self) -> int:
        return len(self._messages)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, self._host, self.port, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        # A connection that has just been made gets its task a moment later.
        await asyncio.sleep(0.01)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
        await self._end_connections()

    async def _end_connections(self) -> None:
        """End those that have no task, too: one that is left is found much later, by another test."""
        loop: Any = self._loop
        for _ in range(1000):
            # The loop itself has one socket, by which other threads wake it.
            if len(loop._selector.get_map()) <= 1:  # noqa: SLF001 - nothing public tells
                return
            for transport in list(loop._transports.values()):  # noqa: SLF001
                transport.abort()
            await asyncio.sleep(0.005)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # Somebody has to hold the task of one who hangs.
        self._tasks.add(asyncio.current_task())
        try:
            while True:
                message = await _read(reader)
                self._messages.append(message)
                await _answer(writer, self._behaviours.get(message.path, _taken)(message))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            # asyncio's streams report the task of a connection that was cancelled as an error.
            pass
        finally:
            writer.close()


def _taken(_: Message) -> Reply:
    return Reply()


async def _read(reader: asyncio.StreamReader) -> Message:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Message(head[0].split(" ")[1], headers, body, time.time())


async def _answer(writer: asyncio.StreamWriter, reply: Reply) -> None:
    if reply.hang:
        await asyncio.Event().wait()
    length = {} if reply.drip else {"content-length": str(len(reply.body))}
    lines = [f"{name}: {value}\r\n" for name, value in (length | dict(reply.headers)).items()]
    writer.write(f"HTTP/1.1 {reply.status} Whatever\r\n{''.join(lines)}\r\n".encode() + reply.body)
    await writer.drain()
    while reply.drip:
        await asyncio.sleep(0.05)
        writer.write(b".")
        await writer.drain()
