"""Uploads: bytes that arrive in pieces and go to a sink of the domain, before any transaction begins.

A slow sender holds neither a thread nor a connection: pieces are awaited on the event loop, and written in a few
threads for all uploads together. At most one piece of each is in memory.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from google.protobuf.message import Message

from server.kernel.call import Call
from server.kernel.problems import Cancelled, DeadlineExceeded, Malformed, Overloaded, Reason
from server.kernel.raw_bodies import RawBody, too_large
from server.kernel.sinks import Begin, Sink, Upload, for_each
from server.kernel.transfers.multipart import MULTIPART, FilePart, FileParts
from server.upload_limits import LONGEST_UPLOAD

# Uploads at a time in a process; further ones are refused. Each holds a piece of a megabyte.
MOST_AT_ONCE = 32
WRITERS = 4
# Seconds for which nothing may arrive.
IDLE = 30.0
RETRY_AFTER = 5.0


class Uploads:
    """Receives uploads in one process."""

    def __init__(self) -> None:
        self._open = 0
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="upload")

    async def receive(
        self, call: Call, raw: RawBody, begin: Begin, pieces: AsyncIterator[Message]
    ) -> tuple[Upload, ...]:
        """Pass the bytes of each file to a sink of its own. `pieces` are the messages after the request.

        Raises Overloaded, Malformed and DeadlineExceeded; nothing is left then. Otherwise the sinks are finished, and
        what becomes of them is up to the caller.
        """
        if self._open >= MOST_AT_ONCE:
            raise Overloaded(retry_after=RETRY_AFTER)
        self._open += 1
        try:
            return await self._receive(call, raw, begin, pieces)
        finally:
            self._open -= 1

    async def _receive(
        self, call: Call, raw: RawBody, begin: Begin, pieces: AsyncIterator[Message]
    ) -> tuple[Upload, ...]:
        first = getattr(call.request, raw.field)
        run = asyncio.get_running_loop().run_in_executor
        incoming = _Incoming(raw, first.content_type, lambda name: begin(call, call.request, name))
        try:
            async with asyncio.timeout(LONGEST_UPLOAD):
                await run(self._writers, incoming.begin)
                await run(self._writers, incoming.pass_on, first.data)
                while (piece := await _next(pieces)) is not None:
                    await run(self._writers, incoming.pass_on, getattr(piece, raw.field).data)
                await _confirm(call)
                return await run(self._writers, incoming.finish)
        except BaseException as error:
            # Also when the sender went away, after which nothing can be awaited.
            self._writers.submit(incoming.abort)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("The body did not arrive in time.", http_status=408) from error
            raise


async def _next(pieces: AsyncIterator[Message]) -> Message | None:
    async with asyncio.timeout(IDLE):
        return await anext(pieces, None)


async def _confirm(call: Call) -> None:
    """Raise Cancelled if the pieces ended because the connection did.

    gRPC ends them in the same way when the sender has sent all and when it went away, and cancels the call only some
    time afterwards. On a connection that has ended, nothing can be sent.
    """
    try:
        await call.stream_context.send_initial_metadata(())
    except Exception as error:
        raise Cancelled from error


class _File:
    """One file on its way to its sink."""

    def __init__(self, sink: Sink, content_type: str, name: str) -> None:
        self.sink = sink
        self._content_type, self._name = content_type, name
        self._size, self._digest = 0, hashlib.sha256()

    def write(self, data: bytes, most: int) -> None:
        """Write its next bytes. Raises Malformed if there are too many."""
        self._size += len(data)
        if self._size > most:
            raise too_large(most)
        self._digest.update(data)
        if data:
            self.sink.write(data)

    def finish(self) -> Upload:
        sha256 = self._digest.digest()
        self.sink.finish(sha256)
        return Upload(self.sink, self._size, sha256, self._content_type, self._name)


class _Incoming:
    """The files of one upload on their way to their sinks. A thread that was given up may still be here."""

    def __init__(self, raw: RawBody, content_type: str, begin: Callable[[str], Sink]) -> None:
        is_form = content_type.partition(";")[0].strip().lower() == MULTIPART
        self._raw, self._content_type, self._begin = raw, content_type, begin
        # One more than may come, so that it is noticed.
        self._parts = FileParts(content_type, raw.max_files + 1 if raw.max_files else 1) if is_form else None
        self._files: list[_File] = []
        self._lock, self._is_aborted = Lock(), False
        if not is_form:
            self._raw.check_type(content_type)

    def begin(self) -> None:
        """Begin to store a body that is the file itself."""
        with self._lock:
            if self._parts is None and not self._is_aborted:
                self._add(FilePart("", self._content_type))

    def pass_on(self, data: bytes) -> None:
        """Write the next bytes. Raises Malformed if there are too many, or they are of a type that is not taken."""
        with self._lock:
            if self._is_aborted:
                return
            for each in [data] if self._parts is None else self._parts.feed(data):
                if isinstance(each, FilePart):
                    self._add(each)
                else:
                    self._files[-1].write(each, self._raw.max_bytes)

    def finish(self) -> tuple[Upload, ...]:
        """All bytes are there. Raises Malformed if a form is cut off or has no file."""
        with self._lock:
            if self._is_aborted:
                raise Cancelled
            if self._parts is not None:
                self._parts.finish()
            return tuple(file.finish() for file in self._files)

    def abort(self) -> None:
        """Leave nothing."""
        with self._lock:
            self._is_aborted = True
            for_each((file.sink for file in self._files), lambda sink: sink.abort())

    def _add(self, part: FilePart) -> None:
        most = self._raw.max_files
        if most and len(self._files) == most:
            raise Malformed(
                f"The body has more than {most} files, the most that this call takes.",
                reason=Reason.REASON_TOO_LARGE,
                http_status=413,
                metadata={"limit": str(most)},
            )
        if self._parts is not None:
            self._raw.check_type(part.content_type)
        self._files.append(_File(self._begin(part.name), part.content_type, part.name))
