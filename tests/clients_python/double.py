"""A gRPC server on the loopback interface, for what the real stack cannot be made to do: fail in a given order, ask for
given pauses, and count what reaches it.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from plinth.identity.v1 import auth_pb2, auth_pb2_grpc
from plinth.sites.v1 import page_pb2, page_pb2_grpc

PORT = "127.0.0.1:0"
POSITION = "last-event-id"


def refusal(code: grpc.StatusCode, reason: str = "", retry_after: float | None = None) -> Any:
    """A failure as the server tells it: code, reason and when to try again."""
    status = status_pb2.Status(code=code.value[0], message=f"refused with {code.name}")
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="plinth"))
    if retry_after is not None:
        detail = error_details_pb2.RetryInfo()
        detail.retry_delay.FromNanoseconds(int(retry_after * 1e9))
        status.details.add().Pack(detail)
    return status


class Double(auth_pb2_grpc.AuthServiceServicer, page_pb2_grpc.PageServiceServicer):
    """Answers GetPage, CreatePage and WatchPages by a script; every refresh gives the next token."""

    def __init__(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(32))
        auth_pb2_grpc.add_AuthServiceServicer_to_server(self, self._server)
        page_pb2_grpc.add_PageServiceServicer_to_server(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port(PORT)}"
        self._lock = threading.Lock()
        self.script: list[Message] = []
        """What the next calls get: a google.rpc.Status, or an event of a stream. After it, calls succeed."""
        self.calls: list[dict[str, str]] = []
        """The metadata of every call but refreshes."""
        self.deadlines: list[float] = []
        """Seconds that each of these had left; more than any number without a deadline."""
        self.watched: list[str] = []
        """After which events streams were asked for."""
        self.most_streams = 1000
        """How many streams are opened, before all further ones are refused."""
        self.refreshes: list[str] = []
        """The refresh tokens that were exchanged."""
        self.good_token = ""
        """The only token that is accepted; empty accepts all."""
        self.given_token = ""
        """The token that a refresh gives, if it is another one."""

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def RefreshToken(self, request: auth_pb2.RefreshTokenRequest, context: Any) -> auth_pb2.Session:  # noqa: N802 - as the contract names it
        """The next tokens."""
        del context
        with self._lock:
            self.refreshes.append(request.refresh_token)
            number = len(self.refreshes)
        return auth_pb2.Session(
            access_token=self.given_token or self.good_token or f"access-{number}",
            refresh_token=f"refresh-{number + 1}",
            expires_in=900,
        )

    def GetPage(self, request: page_pb2.GetPageRequest, context: Any) -> page_pb2.Page:  # noqa: N802 - as the contract names it
        """The page, by script."""
        self._answer(context)
        return page_pb2.Page(id=request.page_id)

    def CreatePage(self, request: page_pb2.CreatePageRequest, context: Any) -> page_pb2.Page:  # noqa: N802 - as the contract names it
        """The page, by script."""
        self._answer(context)
        return request.page

    def WatchPages(self, request: page_pb2.WatchPagesRequest, context: Any) -> Iterator[page_pb2.PageEvent]:  # noqa: N802 - as the contract names it
        """The events of the script, up to its next failure or end."""
        self._check(context)
        self.watched.append(request.last_event_id)
        if len(self.watched) > self.most_streams:
            self._fail(context, refusal(grpc.StatusCode.UNAVAILABLE))
        context.send_initial_metadata(((POSITION, request.last_event_id or "start"),))
        while (item := self._next()) is not None:
            if isinstance(item, status_pb2.Status):
                self._fail(context, item)
            yield item  # type: ignore[misc]

    def _answer(self, context: Any) -> None:
        self._check(context)
        item = self._next()
        if isinstance(item, status_pb2.Status):
            self._fail(context, item)

    def _check(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        with self._lock:
            self.calls.append(metadata)
            self.deadlines.append(context.time_remaining() or float("inf"))
        if self.good_token and metadata.get("authorization") != f"Bearer {self.good_token}":
            self._fail(context, refusal(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"))

    def _next(self) -> Message | None:
        with self._lock:
            return self.script.pop(0) if self.script else None

    def _fail(self, context: Any, status: Any) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        by_number: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
        context.abort(by_number[status.code], status.message)
