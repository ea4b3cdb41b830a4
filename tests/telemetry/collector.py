"""A collector for tests: takes OTLP traces over gRPC on a loopback port, and keeps them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.stack import wait_for

# Envoy sends what it has every 5 s, or when it has 5 spans.
PATIENCE = 60.0


@dataclass(frozen=True)
class Span:
    """One span as it was received; ids are hexadecimal."""

    service: str
    name: str
    kind: str
    trace_id: str
    id: str
    parent_id: str
    failed: bool
    seconds: float
    attributes: dict[str, Any]
    resource: dict[str, Any]
    raw: trace_pb2.Span = field(repr=False)


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span."""

    endpoint: str = ""
    stop: Callable[[], object] = field(default=lambda: None)
    """Goes away, as a collector does that is restarted."""
    spans: list[Span] = field(default_factory=list)

    def Export(  # noqa: N802 - the name of the RPC
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        del context
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            self.spans += [_span(resource, raw) for scope in group.scope_spans for raw in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[Span]:
        """What has come of a trace so far."""
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def await_trace(self, trace_id: str, parts: set[tuple[str, str]]) -> list[Span]:
        """The trace, once spans of all these services and kinds have come."""
        wait_for(
            lambda: parts <= {(span.service, span.kind) for span in self.trace(trace_id)}, PATIENCE, f"all of {parts}"
        )
        return self.trace(trace_id)


@contextmanager
def collecting(port: int = 0, credentials: grpc.ServerCredentials | None = None) -> Iterator[Collector]:
    """A collector that listens while the context lasts, on any free port unless one is named."""
    collector = Collector()
    threads = ThreadPoolExecutor(2)
    server = grpc.server(threads)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{port}"
    if credentials:
        collector.endpoint = f"https://127.0.0.1:{server.add_secure_port(address, credentials)}"
    else:
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port(address)}"
    collector.stop = lambda: server.stop(0).wait()
    server.start()
    try:
        yield collector
    finally:
        collector.stop()
        threads.shutdown()


def _span(resource: dict[str, Any], raw: trace_pb2.Span) -> Span:
    return Span(
        service=str(resource.get("service.name", "")),
        name=raw.name,
        kind=trace_pb2.Span.SpanKind.Name(raw.kind).removeprefix("SPAN_KIND_"),
        trace_id=raw.trace_id.hex(),
        id=raw.span_id.hex(),
        parent_id=raw.parent_span_id.hex(),
        failed=raw.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        seconds=(raw.end_time_unix_nano - raw.start_time_unix_nano) / 1e9,
        attributes=_values(raw.attributes),
        resource=resource,
        raw=raw,
    )


def _values(pairs: Any) -> dict[str, Any]:
    def value(pair: common_pb2.KeyValue) -> Any:
        kind = pair.value.WhichOneof("value")
        return getattr(pair.value, kind) if kind else None

    return {pair.key: value(pair) for pair in pairs}
