"""MCP over HTTP (streamable HTTP, without sessions), behind the gateway: every request has credentials of its own."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs

import grpc
import grpc.aio
import uvicorn
from google.protobuf.message import Message
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from plinth.client.aio.calls import AsyncCalls
from plinth.client.errors import PlinthError
from plinth.client.retrying import USUAL
from plinth.client.rpc import Metadata
from plinth.client.sessions import Tokens
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.agents.catalogue import Catalogue, Options, UnknownGroup
from server.agents.results import told
from server.agents.server import AgentServer, Context
from server.agents.sessions import AgentSession, caller_of
from server.gateway.clusters import AGENT_REQUESTS
from server.kernel.call import CLIENT_ADDRESS, REQUEST_ID
from server.reference import Reference
from server.settings import Settings

if TYPE_CHECKING:
    from starlette.requests import Request

SESSION = "plinth.session"
ACCESS, GROUPS = "access", "groups"
"""Parameters of the address: `/mcp?access=write&groups=sites,travel`."""
READS, WRITES = "read", "write"
# What the gateway says of the request, for the chain and the traces.
PASSED_ON = (CLIENT_ADDRESS, REQUEST_ID, "traceparent", "tracestate")
STATUSES = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_reconnect_backoff_ms", 2_000))

Serializer = Callable[[Message], bytes]
Deserializer = Callable[[bytes], Message]
Call = Callable[..., Awaitable[Message]]


class Workers:
    """The api workers of this host as one channel: each call goes to the next one."""

    def __init__(self, settings: Settings) -> None:
        targets = [f"unix:{settings.socket(f'api-{index}')}" for index in range(settings.api_workers)]
        self._channels = [grpc.aio.insecure_channel(target, options=OPTIONS) for target in targets]
        self._turns = cycle(self._channels)

    def unary_unary(self, path: str, request_serializer: Serializer, response_deserializer: Deserializer) -> Call:
        """What calls an RPC, as a channel has it."""

        def call(request: Message, *, timeout: float | None, metadata: Metadata) -> Awaitable[Message]:
            channel = next(self._turns)
            made: Call = channel.unary_unary(path, request_serializer, response_deserializer)
            return made(request, timeout=timeout, metadata=grpc.aio.Metadata(*metadata))

        return call

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


class Door:
    """The ASGI application. Nothing of a body is read before the credentials are known to be good."""

    def __init__(self, catalogue: Catalogue, workers: Workers, inner: ASGIApp, timeout: float) -> None:
        self._catalogue = catalogue
        self._workers = workers
        self._inner = inner
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        if scope["method"] != "POST":
            await _problem(405, "Agents send POST.", {"allow": "POST"})(scope, receive, send)
            return
        opened = await self._opened(scope)
        if isinstance(opened, Response):
            await opened(scope, receive, send)
            return
        scope.setdefault("state", {})[SESSION] = opened
        await self._inner(scope, receive, send)

    async def _opened(self, scope: Scope) -> AgentSession | Response:
        """The session of a request, or the answer that refuses it."""
        headers = Headers(scope=scope)
        secret = _secret(headers)
        if not secret:
            return _problem(
                401, "Send `Authorization: Bearer <API key or access token>`.", {"www-authenticate": "Bearer"}
            )
        try:
            options = self._options(scope["query_string"].decode("latin-1"))
        except UnknownGroup as refused:
            return _problem(400, str(refused))
        metadata = tuple((name, headers[name]) for name in PASSED_ON if name in headers)
        calls = AsyncCalls(
            lambda: cast("grpc.aio.Channel", self._workers), Tokens(secret), retries=USUAL, timeout=self._timeout
        )
        try:
            return AgentSession(calls, await caller_of(calls, metadata), options, metadata)
        except PlinthError as error:
            return _refusal(error)

    def _options(self, query: str) -> Options:
        given = parse_qs(query)
        groups = {name for text in given.get(GROUPS, ()) for name in text.split(",") if name}
        access = given.get(ACCESS, [READS])[-1]
        if access not in (READS, WRITES):
            raise UnknownGroup(f"`{ACCESS}` is `{READS}` or `{WRITES}`.")
        return self._catalogue.options(groups, may_write=access == WRITES)


async def session_of(context: Context) -> AgentSession:
    """The session that the door has opened for a request."""
    session: AgentSession = cast("Request", context.request).scope["state"][SESSION]
    return session


def _secret(headers: Headers) -> str:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message}}, status, headers)


def _refusal(error: PlinthError) -> Response:
    headers = {"www-authenticate": "Bearer"} if error.code is grpc.StatusCode.UNAUTHENTICATED else {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    return JSONResponse(json.loads(told(error)), STATUSES.get(error.code, 500), headers)


class _Quiet(uvicorn.Server):
    """A server that leaves signals to its process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


async def serve(settings: Settings, reference: Reference, listening: socket.socket, stopped: asyncio.Event) -> None:
    """Answer agents on a socket until the event is set, then let running requests finish."""
    workers, catalogue = Workers(settings), Catalogue(reference)
    manager = StreamableHTTPSessionManager(
        AgentServer(catalogue, session_of, reference.version).mcp,
        json_response=True,
        stateless=True,
        max_request_body_size=settings.max_request_bytes,
    )
    door = Door(catalogue, workers, manager.handle_request, settings.gateway_timeout)
    server = _Quiet(
        uvicorn.Config(
            door,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            limit_concurrency=AGENT_REQUESTS,
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
        )
    )
    async with manager.run():
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await stopped.wait()
        server.should_exit = True
        await serving
    await workers.close()
