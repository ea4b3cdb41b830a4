"""Stands behind the gateway when the gateway alone is measured: a server that answers the same at once."""

import argparse
import json
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from server.gateway.clusters import HEALTH_SERVICE
from server.kernel.guard import set_headers
from server.kernel.guard.pools import CallThreads

THREADS = 8


class Constant(grpc.GenericRpcHandler):
    """Answers by method: a message, and the metadata that Plinth sends ahead of it."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._handlers = {method: _handler(**answer) for method, answer in answers.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of a method."""
        return self._handlers.get(handler_call_details.method)


def _handler(message: str, headers: list[list[str]]) -> "grpc.RpcMethodHandler[Any, Any]":
    answer, metadata = bytes.fromhex(message), tuple((name, value) for name, value in headers)

    def unary(_: bytes, context: grpc.ServicerContext) -> bytes:
        set_headers(context, metadata)
        return answer

    # Neither requests nor answers are converted.
    return grpc.unary_unary_rpc_method_handler(unary)


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", type=Path, help="unix socket to listen on")
    parser.add_argument("answers", type=Path, help="JSON: a message in hexadecimal and headers for each method")
    arguments = parser.parse_args()
    server = grpc.server(CallThreads(THREADS))
    server.add_generic_rpc_handlers((Constant(json.loads(arguments.answers.read_text())),))
    health = HealthServicer()
    health.set(HEALTH_SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"unix:{arguments.socket}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
