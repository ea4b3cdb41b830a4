"""A gRPC server on a unix socket that answers what a test tells it to, in place of an api or realtime process."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_reflection.v1alpha import reflection

from server import app
from server.gateway.clusters import HEALTH_SERVICE

METHODS: dict[str, MethodDescriptor] = {path: policy.descriptor for path, policy in app.policies().items()}
SERVICES = {method.containing_service.full_name for method in METHODS.values()}
# Envoy lets through more than gRPC's default of 8 KiB.
OPTIONS = (("grpc.max_metadata_size", 1 << 17), ("grpc.absolute_max_metadata_size", 1 << 17), ("grpc.so_reuseport", 0))

Answer = Callable[[Any, grpc.ServicerContext], Message | Iterable[Message]]


@dataclass(frozen=True)
class Call:
    """A call as the server sees it."""

    path: str
    metadata: dict[str, str]
    request: Any
    time_remaining: float | None


@dataclass
class Backend:
    """Answers every RPC of the contract, with an empty message unless a test says otherwise."""

    socket: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    health: HealthServicer = field(default_factory=HealthServicer)

    def start(self) -> None:
        self.pool = ThreadPoolExecutor(8)
        self.server = grpc.server(self.pool, options=OPTIONS)
        self.server.add_generic_rpc_handlers((_Handlers(self),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        reflection.enable_server_reflection([*SERVICES, reflection.SERVICE_NAME], self.server)
        self.serving(is_serving=True)
        self.server.add_insecure_port(f"unix:{self.socket}")
        self.server.start()

    def stop(self) -> None:
        self.server.stop(0).wait()
        self.pool.shutdown()

    def serving(self, *, is_serving: bool) -> None:
        """Say whether this process takes calls, as a worker does that drains."""
        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self.health.set(HEALTH_SERVICE, status)

    def forget(self) -> None:
        self.answers.clear()
        self.calls.clear()

    def answer(self, path: str, request: Message, context: grpc.ServicerContext) -> Message | Iterable[Message]:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        self.calls.append(Call(path, metadata, request, context.time_remaining()))
        answer = self.answers.get(path)
        return answer(request, context) if answer else response(path)()


def response(path: str) -> type[Message]:
    """The message that a method answers."""
    return message_factory.GetMessageClass(METHODS[path].output_type)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        path = handler_call_details.method
        method = METHODS.get(path)
        if method is None:
            return None

        def unary(request: Message, context: grpc.ServicerContext) -> Message | Iterable[Message]:
            return self._backend.answer(path, request, context)

        def stream(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            answer = self._backend.answer(path, request, context)
            yield from () if isinstance(answer, Message) else answer

        parse = message_factory.GetMessageClass(method.input_type).FromString
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(unary, parse, _serialise)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, parse, _serialise)
        return grpc.unary_unary_rpc_method_handler(unary, parse, _serialise)


def _serialise(message: Message) -> bytes:
    return message.SerializeToString()
