"""Downloads: files that are sent while they are made or read, piece by piece, for as long as their caller has access.

Threads make the pieces, a few at a time for all downloads together. The next piece is made only after the previous one
was sent: a slow reader holds neither a thread nor a connection, and at most one piece of memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote

from google.api.httpbody_pb2 import HttpBody

from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Database, ScopeEnded
from server.kernel.call import CONTENT_LENGTH, HTTP_STATUS, IS_HEAD, Call
from server.kernel.clock import unix_now
from server.kernel.messages.etags import lists
from server.kernel.problems import Conflict, Reason, Unauthenticated
from server.kernel.transfers.ranges import asked_range

# Threads that make pieces. Authentication and rechecks of live streams need threads of the process as well.
MAKERS = 2
# Threads that read pieces of stored files, which may wait for a store elsewhere.
READERS = 8
# Seconds after which access is rechecked, even if neither session nor access has changed.
RECHECK = 15.0
DECISIONS = 3
OK, PARTIAL, NOT_MODIFIED = 200, 206, 304

Run = Callable[..., Result]
"""Runs a statement."""
Recheck = Callable[[Call], None]
"""Raises a problem if the caller no longer has access; otherwise renews the call's access. Blocks."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file to make."""

    name: str
    media_type: str
    pieces: Callable[[Run], Iterator[bytes]]
    """Makes the file, in at least one piece. Every statement that it runs is a transaction of its own."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file to read: it has a size, and parts of it can be asked for."""

    name: str
    media_type: str
    size: int
    etag: str
    """A strong one, with its quotes."""
    cache_control: str
    read: Callable[[int, int], Iterator[bytes]]
    """Reads from a byte up to but without another one, in at least one piece. May block."""
    inline: bool = False
    """Whether browsers may show it instead of saving it."""


class Downloads:
    """Sends files."""

    def __init__(self, database: Database, recheck: Recheck, clock: Callable[[], float] = unix_now) -> None:
        self._database = database
        self._recheck = recheck
        self._clock = clock
        self._makers = asyncio.Semaphore(MAKERS)
        # They start with the first file.
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="download")

    async def send(self, call: Call, download: Download) -> AsyncIterator[HttpBody]:
        """Send the file in messages. A fault in making the first piece is raised before anything is sent."""
        pieces = download.pieces(_Reader(call, self._database, self._recheck, self._clock).run)
        piece = await self._next(pieces)
        if call.is_rest:
            await call.stream_context.send_initial_metadata(
                (("content-disposition", disposition(download.name, inline=False)), *call.limit_headers)
            )
        while piece is not None:
            yield HttpBody(content_type=download.media_type, data=piece)
            piece = await self._next(pieces)

    async def send_stored(self, call: Call, stored: StoredFile) -> AsyncIterator[HttpBody]:
        """Send a file, or the part that is asked for; 304 without it if the caller has it. Raises Malformed with 416.

        A fault in reading the first piece is raised before anything is sent.
        """
        part = asked_range(call.metadata, stored.size, stored.etag)
        start, end = part or (0, stored.size)
        headers = [
            ("etag", stored.etag),
            ("cache-control", stored.cache_control),
            ("accept-ranges", "bytes"),
            *call.limit_headers,
        ]
        if lists(call.metadata.get("if-none-match", ""), stored.etag):
            await _send_headers(call, headers, NOT_MODIFIED)
            yield HttpBody(content_type=stored.media_type)
            return
        headers += [
            (CONTENT_LENGTH, str(end - start)),
            ("content-disposition", disposition(stored.name, inline=stored.inline)),
        ]
        if not stored.inline:
            # Should a browser show it after all, it runs nothing and loads nothing.
            headers.append(("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"))
        if part:
            headers.append(("content-range", f"bytes {start}-{end - 1}/{stored.size}"))
        status = PARTIAL if part else OK
        if call.metadata.get(IS_HEAD) == "true":
            await _send_headers(call, headers, status)
            yield HttpBody(content_type=stored.media_type)
            return
        pieces = stored.read(start, end)
        piece = await self._read(pieces)
        await _send_headers(call, headers, status)
        while piece is not None:
            yield HttpBody(content_type=stored.media_type, data=piece)
            piece = await self._read(pieces)

    async def _next(self, pieces: Iterator[bytes]) -> bytes | None:
        async with self._makers:
            return await asyncio.to_thread(next, pieces, None)

    async def _read(self, pieces: Iterator[bytes]) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._readers, next, pieces, None)


def disposition(name: str, *, inline: bool) -> str:
    """The header Content-Disposition (RFC 6266): the name in ASCII, and as it is in UTF-8."""
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in name)
    kind = "inline" if inline else "attachment"
    told = f'{kind}; filename="{plain}"'
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe='')}"


async def _send_headers(call: Call, headers: list[tuple[str, str]], status: int) -> None:
    if call.is_rest:
        await call.stream_context.send_initial_metadata((*headers, (HTTP_STATUS, str(status))))


class _Reader:
    """Runs the queries of one download with the caller's current access."""

    def __init__(self, call: Call, database: Database, recheck: Recheck, clock: Callable[[], float]) -> None:
        self._call = call
        self._database = database
        self._recheck = recheck
        self._clock = clock
        self._looked = clock()

    def run(self, statement: Statement, **parameters: object) -> Result:
        """Run a query in a transaction of its own, which checks session and access of the call."""
        self._look_at_caller()
        for _ in range(DECISIONS):
            try:
                with self._database.read(self._call.scope) as transaction:
                    return transaction.run(statement, **parameters)
            except ScopeEnded as ended:
                if ended.what != "access":
                    raise
                self._recheck(self._call)
        raise Conflict

    def _look_at_caller(self) -> None:
        now = self._clock()
        if self._call.caller.expires_at < now:
            raise Unauthenticated("The access token has expired.", reason=Reason.REASON_TOKEN_EXPIRED)
        if now - self._looked >= RECHECK:
            self._looked = now
            self._recheck(self._call)
