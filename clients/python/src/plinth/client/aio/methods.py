"""The RPCs of a client for asyncio, as the generated clients have them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from typing import Any, BinaryIO, Generic

from plinth.client.aio.calls import AsyncCalls
from plinth.client.rpc import Item, Metadata, Req, Res, Rpc
from plinth.client.uploading import Pieces, Sent


class _Bound(Generic[Req, Res]):
    """An RPC and what calls it."""

    def __init__(self, calls: AsyncCalls, rpc: Rpc[Req, Res]) -> None:
        self._calls = calls
        self._rpc = rpc


class AsyncMethod(_Bound[Req, Res]):
    """An RPC that answers once."""

    async def __call__(
        self, request: Req, *, timeout: float | None = None, idempotency_key: str = "", metadata: Metadata = ()
    ) -> Res:
        """Call. Raises PlinthError.

        `timeout` is seconds for all attempts, instead of that of the client. Every attempt of one call has the same
        idempotency key; with a key of your own, a call after a restart of your program gets the first answer too.
        """
        return await self._calls.unary(
            self._rpc, request, timeout=timeout, idempotency_key=idempotency_key, metadata=metadata
        )


class AsyncPagedMethod(AsyncMethod[Req, Res], Generic[Req, Res, Item]):
    """An RPC that answers a page of a list."""

    def __init__(self, calls: AsyncCalls, rpc: Rpc[Req, Res], item: type[Item], field: str) -> None:
        """`field` is the one of the answer that has the items."""
        super().__init__(calls, rpc)
        del item  # It gives the class its type.
        self._field = field

    async def iterate(
        self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncIterator[Item]:
        """The items of all pages, from that of the request on. `timeout` is seconds for each page."""
        asked: Any = type(request)()
        asked.CopyFrom(request)
        while True:
            page: Any = await self(asked, timeout=timeout, metadata=metadata)
            for item in getattr(page, self._field):
                yield item
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token


class AsyncStreamMethod(_Bound[Req, Res]):
    """An RPC that answers a stream, which ends by itself."""

    def __call__(
        self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncGenerator[Res, None]:
        """The messages. Raises PlinthError while they are read. Close it (`aclose`) to end the stream before."""
        return self._calls.stream(self._rpc, request, timeout=timeout, metadata=metadata)


class AsyncEventsMethod(_Bound[Req, Res]):
    """An RPC that answers live events, and goes on after any of them."""

    def __call__(
        self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncGenerator[Res, None]:
        """The events, each once, over as many connections as it takes. Close it (`aclose`) to end the stream.

        Raises PlinthError when the stream cannot go on. `timeout` is seconds for the whole stream; None for no end.
        """
        return self._calls.events(self._rpc, request, timeout=timeout, metadata=metadata)


class AsyncUploadMethod(_Bound[Req, Res]):
    """An RPC that takes a stream, and answers once."""

    async def __call__(
        self, requests: AsyncIterable[Req], *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Res:
        """Send every message. Raises PlinthError. It is not repeated: the messages are taken from `requests` once."""
        return await self._calls.upload(self._rpc, requests, timeout=timeout, metadata=metadata)

    async def send(
        self,
        request: Req,
        file: BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        progress: Sent | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Res:
        """Send a file in pieces; see UploadMethod.send. It is read in a thread, since a disk may be slow."""
        messages = Pieces(request, file, content_type, progress).messages()
        return await self(_in_thread(messages), timeout=timeout, metadata=metadata)


async def _in_thread(messages: Iterator[Req]) -> AsyncIterator[Req]:
    while (message := await asyncio.to_thread(next, messages, None)) is not None:
        yield message
