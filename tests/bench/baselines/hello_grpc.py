"""The bar for gRPC: a bare `grpc.server` whose GetPage answers one page that is already built.

No credentials, no checks, no database: what is left is gRPC, the thread pool, reading the request and writing the page.
"""

import argparse
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from plinth.sites.v1 import page_pb2, page_pb2_grpc

# The generated stubs have no types.
STUBS: Any = page_pb2_grpc
# As many as an api worker of Plinth has by default.
THREADS = 8


class Hello(page_pb2_grpc.PageServiceServicer):
    """Answers the same page to everyone."""

    def __init__(self, page: page_pb2.Page) -> None:
        self._page = page

    def GetPage(self, request: page_pb2.GetPageRequest, context: grpc.ServicerContext) -> page_pb2.Page:  # noqa: ARG002, N802
        """Answer the page; gRPC serialises it anew for each call."""
        return self._page


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", type=Path, help="unix socket to listen on")
    parser.add_argument("page", type=Path, help="file with the serialised page")
    arguments = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=THREADS))
    page = page_pb2.Page.FromString(arguments.page.read_bytes())
    STUBS.add_PageServiceServicer_to_server(Hello(page), server)
    server.add_insecure_port(f"unix:{arguments.socket}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
