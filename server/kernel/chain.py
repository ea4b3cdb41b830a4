"""The chain: steps composed once per RPC, at its first call, and the table in which gRPC looks up handlers.

A process serves only some of the RPCs that it could. Composing all chains took half a second and 8 MB at 93 services. A
step that has nothing to do for an RPC is left out of its chain. Nothing runs in an interceptor: gRPC calls interceptors
on its single dispatch thread, so work there would limit the whole process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from server.kernel.call import Call, ServerContext
from server.kernel.policy import MethodPolicy

Answer = Message | bytes
"""The result of a handler; bytes are an answer that is already serialised."""
Request = Any
"""Bytes until the step `parse` has parsed them, then the message."""
Unary = Callable[[Call, Request], Answer]
Stream = Callable[[Call, Request], AsyncIterator[Message]]
Guard = Callable[[Call, Request], None]
CustomMethod = Callable[[Call, Request], Any]
"""A method of a service that is named like its RPC: unary, or a stream."""
Handler = TypeVar("Handler")


class Step(Protocol):
    """One link of the chain, for unary and streaming RPCs."""

    name: str

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """The handler wrapped in this step, or `proceed` itself if the step has nothing to do."""

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """The same for a streaming RPC, on asyncio."""


class Before:
    """A step that acts only before the handler runs. Its `unary` then serves streaming RPCs too."""

    name = ""

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """The handler behind this step. It may block: for streams it runs in a thread, not on the event loop."""
        raise NotImplementedError

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """The stream behind this step. compose_stream runs neighbouring steps of this kind in one hop to a thread."""
        admit = self.unary(method, _let_in)
        return proceed if admit is _let_in else _behind(admit, proceed)


class GuardStep(Before):
    """A step that checks a call and changes nothing."""

    def guard(self, method: MethodPolicy) -> Guard | None:
        """The check before this RPC, or None. It may block."""
        raise NotImplementedError

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """The handler behind the check."""
        check = self.guard(method)
        if check is None:
            return proceed

        def checked(call: Call, request: Request) -> Answer:
            check(call, request)
            return proceed(call, request)

        return checked


def _let_in(_call: Call, _request: Request) -> Answer:
    return b""


def _behind(admit: Unary, proceed: Stream) -> Stream:
    async def admitted(call: Call, request: Request) -> AsyncIterator[Message]:
        await asyncio.to_thread(admit, call, request)
        # The request is a message by now if one of the steps parsed it.
        async for message in proceed(call, request if call.request is None else call.request):
            yield message

    return admitted


class Chain(Generic[Handler]):
    """The chain of one RPC.

    Threads that ask for it at the same time get the same chain. Steps register counters while they are composed, and a
    second chain would count in counters that are not exposed. (From Python 3.12 on, `cached_property` holds no lock.)
    """

    _composing = RLock()

    def __init__(self, compose: Callable[[], tuple[Handler, tuple[str, ...]]]) -> None:
        self._compose = compose

    @cached_property
    def handle(self) -> Handler:
        """The handler wrapped in its steps."""
        return self._composed()[0]

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps, outermost first."""
        return self._composed()[1]

    def _composed(self) -> tuple[Handler, tuple[str, ...]]:
        with self._composing:
            return self._once

    @cached_property
    def _once(self) -> tuple[Handler, tuple[str, ...]]:
        return self._compose()


@dataclass(frozen=True, slots=True)
class Route:
    """One RPC as it is served."""

    method: MethodPolicy
    chain: Chain[Unary] | Chain[Stream]
    handler: "grpc.RpcMethodHandler[Request, Answer]"

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps in its chain, outermost first."""
        return self.chain.steps


def compose_unary(method: MethodPolicy, steps: Sequence[Step], handler: Unary) -> tuple[Unary, tuple[str, ...]]:
    """The handler wrapped in the steps that have something to do, and the names of those steps, outermost first."""
    names: list[str] = []
    for step in reversed(steps):
        wrapped = step.unary(method, handler)
        if wrapped is not handler:
            names.insert(0, step.name)
        handler = wrapped
    return handler, tuple(names)


def compose_stream(method: MethodPolicy, steps: Sequence[Step], handler: Stream) -> tuple[Stream, tuple[str, ...]]:
    """The same for a streaming RPC. Steps that act only before the stream share one hop to a thread."""
    names: list[str] = []
    admit: Unary = _let_in
    for step in reversed(steps):
        if isinstance(step, Before):
            admit, before = step.unary(method, admit), admit
            has_work = admit is not before
        else:
            inner = handler if admit is _let_in else _behind(admit, handler)
            wrapped = step.stream(method, inner)
            has_work = wrapped is not inner
            if has_work:
                handler, admit = wrapped, _let_in
        if has_work:
            names.insert(0, step.name)
    return handler if admit is _let_in else _behind(admit, handler), tuple(names)


def serialise(answer: Answer) -> bytes:
    """The bytes of an answer. Bytes are returned as they are."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def unary_route(
    method: MethodPolicy, steps: Sequence[Step], handler: Unary, threads: ThreadPoolExecutor | None = None
) -> Route:
    """A unary RPC on the threads of the server, or on the given ones. Its chain gets the request as bytes."""
    chain = Chain(lambda: compose_unary(method, steps, handler))

    def serve(request: Request, context: grpc.ServicerContext) -> Answer:
        return chain.handle(Call(method, context), request)

    if threads is not None:
        # The attribute that grpc.server reads (grpc/_server.py, _select_thread_pool_for_behavior).
        serve.experimental_thread_pool = threads  # type: ignore[attr-defined]
    return Route(method, chain, grpc.unary_unary_rpc_method_handler(serve, None, serialise))


def stream_route(method: MethodPolicy, steps: Sequence[Step], handler: Stream) -> Route:
    """A server-streaming RPC on asyncio. Its chain gets the request as bytes."""
    return route_of_stream(method, Chain(lambda: compose_stream(method, steps, handler)))


def route_of_stream(method: MethodPolicy, chain: Chain[Stream]) -> Route:
    """A server-streaming RPC on asyncio with this chain."""

    async def serve(request: Request, context: ServerContext) -> AsyncIterator[Message]:
        async for message in chain.handle(Call(method, context), request):
            yield message

    return Route(method, chain, grpc.unary_stream_rpc_method_handler(serve, None, serialise))


def waiting_route(method: MethodPolicy, steps: Sequence[Step], handler: Stream) -> Route:
    """A unary RPC on asyncio. Its handler is a stream of one message, which takes as long as it has to wait."""
    chain = Chain(lambda: compose_stream(method, steps, handler))

    async def serve(request: Request, context: ServerContext) -> Answer:
        # Read to its end, so that every step has ended before the answer.
        *_, answer = [message async for message in chain.handle(Call(method, context), request)]
        return answer

    return Route(method, chain, grpc.unary_unary_rpc_method_handler(serve, None, serialise))


class RouteTable(grpc.GenericRpcHandler):
    """All RPCs of a process by path. gRPC asks it once per call."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = dict(routes)
        self._handlers = {path: route.handler for path, route in self.routes.items()}

    def by_service(self) -> dict[str, "dict[str, grpc.RpcMethodHandler[Request, Answer]]"]:
        """Handlers by service and method, as a server registers them. gRPC then finds them without calling Python."""
        services: dict[str, dict[str, grpc.RpcMethodHandler[Request, Answer]]] = {}
        for route in self.routes.values():
            service = route.method.descriptor.containing_service.full_name
            services.setdefault(service, {})[route.method.name] = route.handler
        return services

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Request, Answer] | None":
        """The handler of a call, or None, which gRPC answers UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)
