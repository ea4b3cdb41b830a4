"""Uploads: bytes that arrive in pieces and go to a sink of the domain, before any transaction begins.

A slow sender holds neither a thread nor a connection: pieces are awaited on the event loop, and written in a few
threads for all uploads together. At most one piece of each is in memory.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from google.protobuf.message import Message

from server.kernel.call import Call
from server.kernel.problems import Cancelled, DeadlineExceeded, Overloaded
from server.kernel.raw_bodies import RawBody, too_large
from server.kernel.sinks import Begin, Sink, Upload
from server.kernel.transfers.multipart import MULTIPART, FilePart
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

    async def receive(self, call: Call, raw: RawBody, begin: Begin, pieces: AsyncIterator[Message]) -> Upload:
        """Pass the bytes of an upload to a sink of its own. `pieces` are the messages after the request.

        Raises Overloaded, Malformed and DeadlineExceeded; nothing is left then. Otherwise the sink is finished, and its
        abort is up to the caller.
        """
        if self._open >= MOST_AT_ONCE:
            raise Overloaded(retry_after=RETRY_AFTER)
        self._open += 1
        try:
            return await self._receive(call, raw, begin, pieces)
        finally:
            self._open -= 1

    async def _receive(self, call: Call, raw: RawBody, begin: Begin, pieces: AsyncIterator[Message]) -> Upload:
        first = getattr(call.request, raw.field)
        run = asyncio.get_running_loop().run_in_executor
        incoming = _Incoming(raw, first.content_type)
        try:
            async with asyncio.timeout(LONGEST_UPLOAD):
                await run(self._writers, incoming.begin, begin, call)
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


class _Incoming:
    """The bytes of one upload on their way to its sink. A thread that was given up may still be here."""

    def __init__(self, raw: RawBody, content_type: str) -> None:
        is_form = content_type.partition(";")[0].strip().lower() == MULTIPART
        self._raw, self._content_type = raw, content_type
        self._part = FilePart(content_type) if is_form else None
        self._size, self._digest = 0, hashlib.sha256()
        self._sink: Sink | None = None
        self._lock, self._is_aborted = Lock(), False
        if not is_form:
            self._raw.check_type(content_type)

    def begin(self, begin: Begin, call: Call) -> None:
        """Begin to store it."""
        with self._lock:
            if not self._is_aborted:
                self._sink = begin(call, call.request)

    def pass_on(self, data: bytes) -> None:
        """Write the next bytes. Raises Malformed if there are too many, or they are of a type that is not taken."""
        with self._lock:
            if self._sink is None or self._is_aborted:
                return
            data = self._of_file(data)
            self._size += len(data)
            if self._size > self._raw.max_bytes:
                raise too_large(self._raw.max_bytes)
            self._digest.update(data)
            if data:
                self._sink.write(data)

    def finish(self) -> Upload:
        """All bytes are there. Raises Malformed if a form is cut off or has no file."""
        with self._lock:
            name = ""
            if self._part is not None:
                self._part.finish()
                name, self._content_type = self._part.name, self._part.content_type
            if self._sink is None or self._is_aborted:
                raise Cancelled
            self._sink.finish()
            return Upload(self._sink, self._size, self._digest.digest(), self._content_type, name)

    def abort(self) -> None:
        """Leave nothing."""
        with self._lock:
            self._is_aborted = True
            if self._sink is not None:
                self._sink.abort()

    def _of_file(self, data: bytes) -> bytes:
        part = self._part
        if part is None:
            return data
        is_known = bool(part.name)
        data = part.feed(data)
        if part.name and not is_known:
            self._raw.check_type(part.content_type)
        return data
