"""Calls over one channel of grpc.aio: credentials, deadlines, retries, streams that resume."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any

import grpc
import grpc.aio
from plinth.client.aio.credentials import AsyncRefresh, Credentials
from plinth.client.calls import STREAM_TIMEOUT, UPLOAD_TIMEOUT
from plinth.client.errors import PlinthError, Unauthenticated, error_of
from plinth.client.retrying import Attempts, Budget, Resumption, Retries, Tries
from plinth.client.rpc import Metadata, Req, Res, Rpc
from plinth.client.sending import first_position, position_in, position_of, resumed, with_key, with_token
from plinth.client.sessions import LOG_IN, REFRESH, Login, Tokens


class AsyncCalls:
    """Makes the calls of one client, in one event loop. Everything here raises PlinthError."""

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        start: Tokens | Login | None,
        *,
        retries: Retries,
        timeout: float,
        refresh: AsyncRefresh | None = None,
    ) -> None:
        """`connect` is called in the event loop; `timeout` is seconds for one call with all its attempts.

        `refresh` renews the session; by default RefreshToken does.
        """
        self._connect = connect
        self._channel: grpc.aio.Channel | None = None
        self._retries = retries
        self._timeout = timeout
        self._made: dict[str, Any] = {}
        self.credentials = Credentials(
            start,
            lambda request: self.unary(LOG_IN, request),
            refresh or (lambda request: self.unary(REFRESH, request)),
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def unary(
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
            token = await self._token(rpc)
            try:
                answer: Res = await made(request, timeout=budget.left(), metadata=with_token(sent, token))
            except grpc.RpcError as failure:
                await self._recover(rpc, failure, attempts, token)
            else:
                return answer

    async def upload(
        self, rpc: Rpc[Req, Res], requests: AsyncIterable[Req], *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Res:
        """Send a stream of messages. Once: what was taken from an iterable cannot be sent again."""
        budget = Budget(UPLOAD_TIMEOUT if timeout is None else timeout)
        sent = with_token(with_key(rpc, metadata, ""), await self._token(rpc))
        try:
            answer: Res = await self._callable(rpc, "stream_unary")(requests, timeout=budget.left(), metadata=sent)
        except grpc.RpcError as failure:
            raise error_of(failure) from failure
        return answer

    async def stream(
        self, rpc: Rpc[Req, Res], request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncGenerator[Res, None]:
        """The messages of a stream. It is opened again only before its first message."""
        budget = Budget(STREAM_TIMEOUT if timeout is None else timeout)
        attempts = Attempts(self._retries, budget)
        sent = with_key(rpc, metadata, "")
        has_begun = False
        while True:
            token = await self._token(rpc)
            call = self._callable(rpc, "unary_stream")(request, timeout=budget.left(), metadata=with_token(sent, token))
            try:
                async for message in call:
                    has_begun = True
                    yield message
            except grpc.RpcError as failure:
                if has_begun:
                    raise error_of(failure) from failure
                await self._recover(rpc, failure, attempts, token)
            else:
                return
            finally:
                call.cancel()

    async def events(
        self, rpc: Rpc[Req, Res], request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncGenerator[Res, None]:
        """The events of a stream, over as many connections as it takes: each of them once, and none is missed."""
        budget = Budget(timeout)
        resumption = Resumption(self._retries, budget, first_position(request))
        while True:
            token = await self._token(rpc)
            call = self._callable(rpc, "unary_stream")(
                resumed(request, resumption), timeout=budget.left(), metadata=with_token(metadata, token)
            )
            try:
                if position := position_in(await call.initial_metadata()):
                    resumption.goes_on(position)
                async for event in call:
                    resumption.goes_on(position_of(event))
                    yield event
            except grpc.RpcError as failure:
                await self._recover(rpc, failure, resumption, token)
            else:
                return
            finally:
                call.cancel()

    async def _token(self, rpc: Rpc[Req, Res]) -> str:
        return "" if rpc.is_anonymous else await self.credentials.token()

    async def _recover(self, rpc: Rpc[Req, Res], failure: grpc.RpcError, tries: Tries, token: str) -> None:
        """Renew the token, or wait, before another attempt. Raises the error if there is to be none."""
        error = error_of(failure)
        try:
            if isinstance(error, Unauthenticated) and not tries.has_renewed and not rpc.is_anonymous:
                tries.has_renewed = await self.credentials.renew(token)
                if tries.has_renewed:
                    return
            pause = tries.pause_after(error)
        except PlinthError as final:
            raise final from failure
        await asyncio.sleep(pause)

    def _callable(self, rpc: Rpc[Req, Res], kind: str) -> Any:
        if self._channel is None:
            self._channel = self._connect()
        made = self._made.get(rpc.path)
        if made is None:
            made = self._made[rpc.path] = getattr(self._channel, kind)(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
        return made
