"""Downloads: a file that is sent while it is made, piece by piece, for as long as its caller has access.

Threads make the pieces, a few at a time for all downloads together. The next piece is made only after the previous one
was sent: a slow reader holds neither a thread nor a connection, and at most one piece of memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from google.api.httpbody_pb2 import HttpBody

from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Database, ScopeEnded
from server.kernel.call import Call
from server.kernel.clock import unix_now
from server.kernel.problems import Conflict, Reason, Unauthenticated

# Threads that make pieces. Authentication and rechecks of live streams need threads of the process as well.
MAKERS = 2
# Seconds after which access is rechecked, even if neither session nor access has changed.
RECHECK = 15.0
DECISIONS = 3

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


class Downloads:
    """Sends files."""

    def __init__(self, database: Database, recheck: Recheck, clock: Callable[[], float] = unix_now) -> None:
        self._database = database
        self._recheck = recheck
        self._clock = clock
        self._makers = asyncio.Semaphore(MAKERS)

    async def send(self, call: Call, download: Download) -> AsyncIterator[HttpBody]:
        """Send the file in messages. A fault in making the first piece is raised before anything is sent."""
        pieces = download.pieces(_Reader(call, self._database, self._recheck, self._clock).run)
        piece = await self._next(pieces)
        if call.is_rest:
            await call.stream_context.send_initial_metadata(
                (("content-disposition", f'attachment; filename="{download.name}"'), *call.limit_headers)
            )
        while piece is not None:
            yield HttpBody(content_type=download.media_type, data=piece)
            piece = await self._next(pieces)

    async def _next(self, pieces: Iterator[bytes]) -> bytes | None:
        async with self._makers:
            return await asyncio.to_thread(next, pieces, None)


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
