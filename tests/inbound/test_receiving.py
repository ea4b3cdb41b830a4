"""Receiving uploads: what a sink gets, and that it is left with all or nothing."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.kernel import sinks
from server.kernel.call import Call
from server.kernel.policy import read_policies
from server.kernel.problems import Cancelled, DeadlineExceeded, Malformed, Overloaded
from server.kernel.raw_bodies import RawBody
from server.kernel.transfers import uploads
from server.kernel.transfers.uploads import Uploads
from tests.inbound import contract
from tests.kernel.calls import AsyncContext

RAW = RawBody("content", 100, frozenset({"image/*"}), 0)
PUT = read_policies([contract.SERVICE])[f"/{contract.SERVICE.full_name}/PutFile"]
Request: Any = contract.message("PutFileRequest")


class Noted:
    """A sink that writes down what it gets."""

    def __init__(self) -> None:
        self.data, self.ends = b"", list[str]()
        self.aborted = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self, sha256: bytes) -> None:
        del sha256
        self.ends.append("finish")

    def settle(self) -> None:
        self.ends.append("settle")

    def abort(self) -> None:
        self.ends.append("abort")
        self._loop.call_soon_threadsafe(self.aborted.set)


def piece(data: bytes, kind: str = "") -> Any:
    return Request(content={"data": data, "content_type": kind})


async def sent(*pieces: Any, end: asyncio.Event | None = None) -> AsyncIterator[Any]:
    for each in pieces:
        yield each
    if end is not None:
        await end.wait()


class Upload:
    """One upload with a sink of its own."""

    def __init__(self, first: Any, context: AsyncContext | None = None) -> None:
        self.call = Call(PUT, context or AsyncContext())
        self.call.request = first
        self.sink: Noted | None = None
        self.begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def begin(self, call: Call, request: Any, name: str) -> Noted:
        self.name = name
        assert (call, request) == (self.call, self.call.request)
        assert self.sink is not None
        self._loop.call_soon_threadsafe(self.begun.set)
        return self.sink

    async def receive(self, pieces: AsyncIterator[Any], receiver: Uploads | None = None) -> sinks.Upload:
        self.sink = Noted()
        [found] = await (receiver or Uploads()).receive(self.call, RAW, self.begin, pieces)
        return found

    async def left_nothing(self) -> bool:
        assert self.sink is not None
        async with asyncio.timeout(30):
            await self.sink.aborted.wait()
        return self.sink.ends[-1] == "abort"


def test_a_sink_gets_all_bytes_and_then_its_end() -> None:
    async def run() -> None:
        upload = Upload(piece(b"a" * 60, "image/png"))
        found = await upload.receive(sent(piece(b""), piece(b"b" * 40)))
        data = b"a" * 60 + b"b" * 40
        assert upload.sink is found.sink
        assert (upload.sink.data, upload.sink.ends) == (data, ["finish"])
        assert (found.size, found.sha256, found.content_type) == (100, hashlib.sha256(data).digest(), "image/png")

    asyncio.run(run())


def test_the_file_of_a_form_is_what_counts() -> None:
    async def run() -> None:
        parts = b'--b\r\ncontent-disposition: form-data; name="f"; filename="a.png"\r\ncontent-type: %b\r\n\r\n'
        parts += b"xyz\r\n--b--\r\n"
        form = "multipart/form-data; boundary=b"
        upload = Upload(piece(parts % b"image/png", form))
        found = await upload.receive(sent())
        assert (upload.sink.data, found.content_type, found.file_name) == (b"xyz", "image/png", "a.png")  # type: ignore[union-attr]
        for body in (parts % b"text/html", (parts % b"image/png")[:-6]):
            refused = Upload(piece(body, form))
            with pytest.raises(Malformed):
                await refused.receive(sent())
            # What is not taken is not begun with.
            assert not refused.begun.is_set() or await refused.left_nothing()

    asyncio.run(run())


def test_too_much_is_refused_and_leaves_nothing() -> None:
    async def run() -> None:
        upload = Upload(piece(b"a" * 60, "image/png"))
        with pytest.raises(Malformed) as refused:
            await upload.receive(sent(piece(b"b" * 41)))
        assert refused.value.http_status == 413
        assert await upload.left_nothing()
        other = Upload(piece(b"a", "text/plain"))
        with pytest.raises(Malformed) as refused:
            await other.receive(sent())
        assert refused.value.http_status == 415

    asyncio.run(run())


def test_who_goes_away_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(AsyncContext):
        async def send_initial_metadata(self, metadata: Any) -> None:  # type: ignore[override]
            del metadata
            raise RuntimeError("the connection has ended")

    async def run() -> None:
        ended = Upload(piece(b"a", "image/png"), Gone())
        with pytest.raises(Cancelled):
            await ended.receive(sent())
        assert await ended.left_nothing()
        cancelled = Upload(piece(b"a", "image/png"))
        task = asyncio.create_task(cancelled.receive(sent(end=asyncio.Event())))
        async with asyncio.timeout(30):
            await cancelled.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await cancelled.left_nothing()
        monkeypatch.setattr(uploads, "IDLE", 0.01)
        idle = Upload(piece(b"a", "image/png"))
        with pytest.raises(DeadlineExceeded):
            await idle.receive(sent(end=asyncio.Event()))
        assert await idle.left_nothing()

    asyncio.run(run())


def test_no_more_at_once_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_AT_ONCE", 1)

    async def run() -> None:
        receiver, end = Uploads(), asyncio.Event()
        first = asyncio.create_task(Upload(piece(b"a", "image/png")).receive(sent(end=end), receiver))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await Upload(piece(b"a", "image/png")).receive(sent(), receiver)
        assert refused.value.retry_after
        end.set()
        assert (await first).size == 1
        assert (await Upload(piece(b"a", "image/png")).receive(sent(), receiver)).size == 1

    asyncio.run(run())
