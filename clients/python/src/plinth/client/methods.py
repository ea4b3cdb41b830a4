"""The RPCs of a client, as the generated clients have them."""

from collections.abc import Generator, Iterable, Iterator
from typing import Any, BinaryIO, Generic

from plinth.client.calls import Calls
from plinth.client.rpc import Item, Metadata, Req, Res, Rpc
from plinth.client.uploading import Pieces, Sent


class _Bound(Generic[Req, Res]):
    """An RPC and what calls it."""

    def __init__(self, calls: Calls, rpc: Rpc[Req, Res]) -> None:
        self._calls = calls
        self._rpc = rpc


class Method(_Bound[Req, Res]):
    """An RPC that answers once."""

    def __call__(
        self, request: Req, *, timeout: float | None = None, idempotency_key: str = "", metadata: Metadata = ()
    ) -> Res:
        """Call. Raises PlinthError.

        `timeout` is seconds for all attempts, instead of that of the client. Every attempt of one call has the same
        idempotency key; with a key of your own, a call after a restart of your program gets the first answer too.
        """
        return self._calls.unary(
            self._rpc, request, timeout=timeout, idempotency_key=idempotency_key, metadata=metadata
        )


class PagedMethod(Method[Req, Res], Generic[Req, Res, Item]):
    """An RPC that answers a page of a list."""

    def __init__(self, calls: Calls, rpc: Rpc[Req, Res], item: type[Item], field: str) -> None:
        """`field` is the one of the answer that has the items."""
        super().__init__(calls, rpc)
        del item  # It gives the class its type.
        self._field = field

    def iterate(self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()) -> Iterator[Item]:
        """The items of all pages, from that of the request on. `timeout` is seconds for each page."""
        asked: Any = type(request)()
        asked.CopyFrom(request)
        while True:
            page: Any = self(asked, timeout=timeout, metadata=metadata)
            yield from getattr(page, self._field)
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token


class StreamMethod(_Bound[Req, Res]):
    """An RPC that answers a stream, which ends by itself."""

    def __call__(
        self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Generator[Res, None, None]:
        """The messages. Raises PlinthError while they are read. Close it to end the stream before."""
        return self._calls.stream(self._rpc, request, timeout=timeout, metadata=metadata)


class EventsMethod(_Bound[Req, Res]):
    """An RPC that answers live events, and goes on after any of them."""

    def __call__(
        self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Generator[Res, None, None]:
        """The events, each once, over as many connections as it takes. Close it to end the stream.

        Raises PlinthError when the stream cannot go on. `timeout` is seconds for the whole stream; None for no end.
        """
        return self._calls.events(self._rpc, request, timeout=timeout, metadata=metadata)


class UploadMethod(_Bound[Req, Res]):
    """An RPC that takes a stream, and answers once."""

    def __call__(self, requests: Iterable[Req], *, timeout: float | None = None, metadata: Metadata = ()) -> Res:
        """Send every message. Raises PlinthError. It is not repeated: the messages are taken from `requests` once."""
        return self._calls.upload(self._rpc, requests, timeout=timeout, metadata=metadata)

    def send(
        self,
        request: Req,
        file: BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        progress: Sent | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Res:
        """Send a file in pieces. Raises PlinthError, and ValueError for a request that takes no file.

        `request` has the fields beside the file, which is read from where it stands. `progress` is told how many bytes
        were sent, and how many there are. It is not repeated, because a file may be a pipe.
        """
        pieces = Pieces(request, file, content_type, progress)
        return self(pieces.messages(), timeout=timeout, metadata=metadata)
