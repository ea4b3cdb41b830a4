"""Calls over one channel: credentials, deadlines, retries, streams that resume."""

import time
from collections.abc import Generator, Iterable
from typing import Any

import grpc
from plinth.client.credentials import Credentials, Refresh
from plinth.client.errors import PlinthError, Unauthenticated, error_of
from plinth.client.retrying import Attempts, Budget, Resumption, Retries, Tries
from plinth.client.rpc import Metadata, Req, Res, Rpc
from plinth.client.sending import first_position, position_in, position_of, resumed, with_key, with_token
from plinth.client.sessions import LOG_IN, REFRESH, Login, Tokens

# Seconds for a stream that ends by itself, such as an export, and for an upload, which the server gives no longer.
STREAM_TIMEOUT = 3600.0
UPLOAD_TIMEOUT = 300.0


class Calls:
    """Makes the calls of one client. Threads may share it. Everything here raises PlinthError."""

    def __init__(
        self,
        channel: grpc.Channel,
        start: Tokens | Login | None,
        *,
        retries: Retries,
        timeout: float,
        refresh: Refresh | None = None,
    ) -> None:
        """`timeout` is seconds for one call with all its attempts, if the call brings none of its own.

        `refresh` renews the session; by default RefreshToken does.
        """
        self._channel = channel
        self._retries = retries
        self._timeout = timeout
        self._made: dict[str, Any] = {}
        self.credentials = Credentials(
            start,
            lambda request: self.unary(LOG_IN, request),
            refresh or (lambda request: self.unary(REFRESH, request)),
        )

    def unary(
        self,
        rpc: Rpc[Req, Res],
        request: Req,
        *,
        timeout: float | None = None,
        idempotency_key: str = "",
        metadata: Metadata = (),
    ) -> Res:
        """Call, and call again while that may help."""
        budget = Budget(self._timeout if timeout is None else timeout)
        attempts = Attempts(self._retries, budget)
        sent = with_key(rpc, metadata, idempotency_key)
        made = self._callable(rpc, "unary_unary")
        while True:
            token = self._token(rpc)
            try:
                answer: Res = made(request, timeout=budget.left(), metadata=with_token(sent, token))
            except grpc.RpcError as failure:
                self._recover(rpc, failure, attempts, token)
            else:
                return answer

    def upload(
        self, rpc: Rpc[Req, Res], requests: Iterable[Req], *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Res:
        """Send a stream of messages. Once: what was taken from an iterable cannot be sent again."""
        budget = Budget(UPLOAD_TIMEOUT if timeout is None else timeout)
        sent = with_token(with_key(rpc, metadata, ""), self._token(rpc))
        try:
            answer: Res = self._callable(rpc, "stream_unary")(iter(requests), timeout=budget.left(), metadata=sent)
        except grpc.RpcError as failure:
            raise error_of(failure) from failure
        return answer

    def stream(
        self, rpc: Rpc[Req, Res], request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Generator[Res, None, None]:
        """The messages of a stream. It is opened again only before its first message."""
        budget = Budget(STREAM_TIMEOUT if timeout is None else timeout)
        attempts = Attempts(self._retries, budget)
        sent = with_key(rpc, metadata, "")
        has_begun = False
        while True:
            token = self._token(rpc)
            call = self._callable(rpc, "unary_stream")(request, timeout=budget.left(), metadata=with_token(sent, token))
            try:
                for message in call:
                    has_begun = True
                    yield message
            except grpc.RpcError as failure:
                if has_begun:
                    raise error_of(failure) from failure
                self._recover(rpc, failure, attempts, token)
            else:
                return
            finally:
                call.cancel()

    def events(
        self, rpc: Rpc[Req, Res], request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Generator[Res, None, None]:
        """The events of a stream, over as many connections as it takes: each of them once, and none is missed."""
        budget = Budget(timeout)
        resumption = Resumption(self._retries, budget, first_position(request))
        while True:
            token = self._token(rpc)
            call = self._callable(rpc, "unary_stream")(
                resumed(request, resumption), timeout=budget.left(), metadata=with_token(metadata, token)
            )
            try:
                if position := position_in(call.initial_metadata()):
                    resumption.goes_on(position)
                for event in call:
                    resumption.goes_on(position_of(event))
                    yield event
            except grpc.RpcError as failure:
                self._recover(rpc, failure, resumption, token)
            else:
                return
            finally:
                call.cancel()

    def _token(self, rpc: Rpc[Req, Res]) -> str:
        return "" if rpc.is_anonymous else self.credentials.token()

    def _recover(self, rpc: Rpc[Req, Res], failure: grpc.RpcError, tries: Tries, token: str) -> None:
        """Renew the token, or wait, before another attempt. Raises the error if there is to be none."""
        error = error_of(failure)
        try:
            if isinstance(error, Unauthenticated) and not tries.has_renewed and not rpc.is_anonymous:
                tries.has_renewed = self.credentials.renew(token)
                if tries.has_renewed:
                    return
            pause = tries.pause_after(error)
        except PlinthError as final:
            raise final from failure
        time.sleep(pause)

    def _callable(self, rpc: Rpc[Req, Res], kind: str) -> Any:
        made = self._made.get(rpc.path)
        if made is None:
            made = self._made[rpc.path] = getattr(self._channel, kind)(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
        return made
