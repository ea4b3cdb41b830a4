"""Reflection, for clients without Plinth's stubs, such as grpcurl (grpc.reflection.v1, and v1alpha for older ones).

grpcio-reflection serves v1alpha. The messages of v1 are the same, so one servicer answers both. Every listed service
can be described: the pool also has the files of health and of reflection itself.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1_SERVICE = "grpc.reflection.v1.ServerReflection"
METHOD = "ServerReflectionInfo"
# Each open stream holds one thread.
THREADS = 2


class Answering(partial[Iterator[reflection_pb2.ServerReflectionResponse]]):
    """A method whose calls grpcio runs on threads of their own."""

    experimental_thread_pool: ThreadPoolExecutor


class Reflection(reflection.ReflectionServicer):
    """Answers about every symbol of a pool. The library's servicer does not find methods."""

    def __init__(self, services: Iterable[str], pool: DescriptorPool) -> None:
        """`services` are the full names to list; `pool` has their files with all imports."""
        super().__init__(services, pool=pool)
        self._files = pool

    def _file_containing_symbol(
        self, request: reflection_pb2.ServerReflectionRequest, fully_qualified_name: str
    ) -> reflection_pb2.ServerReflectionResponse:
        # types-grpcio-reflection lacks the class that defines it.
        found: reflection_pb2.ServerReflectionResponse = super()._file_containing_symbol(  # type: ignore[misc]
            request, self._findable(fully_qualified_name)
        )
        return found

    def _findable(self, symbol: str) -> str:
        """The symbol, or the service of a method: FindFileContainingSymbol finds all symbols except methods."""
        try:
            method = self._files.FindMethodByName(symbol)
        except KeyError:
            return symbol
        return str(method.containing_service.full_name)


def serve_reflection(server: grpc.Server, services: Iterable[str]) -> None:
    """Serve reflection of these services, and of those that every server has.

    It answers from the pool of the stubs: a pool of the whole contract would cost each process the same memory again.
    Its streams wait on threads of their own.
    """
    pool = descriptor_pool.Default()
    alpha = _file(reflection_pb2.DESCRIPTOR.serialized_pb)
    beside = [_file(health_pb2.DESCRIPTOR.serialized_pb), alpha, _v1(alpha)]
    # No stub registers this file. Adding it again, as a second server does, changes nothing.
    pool.AddSerializedFile(beside[-1].SerializeToString())
    listed = [f"{file.package}.{service.name}" for file in beside for service in file.service]
    answer = Answering(Reflection([*services, *listed], pool).ServerReflectionInfo)
    answer.experimental_thread_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reflection")
    handler = grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, V1_SERVICE):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {METHOD: handler}),))


def _file(serialized: bytes) -> descriptor_pb2.FileDescriptorProto:
    """The file from which a module was generated."""
    return descriptor_pb2.FileDescriptorProto.FromString(serialized)


def _v1(alpha: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """The file of v1, which differs from that of v1alpha only by its package."""
    stable = text_format.Parse(
        text_format.MessageToString(alpha).replace("v1alpha", "v1"), descriptor_pb2.FileDescriptorProto()
    )
    stable.options.ClearField("deprecated")
    return stable
