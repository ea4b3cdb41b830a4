"""Spans in a process: what is in them, what becomes of them, and that there are none without an endpoint."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from google.protobuf.message import Message
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, use_span
from plinth.sites.v1 import page_pb2
from sqlalchemy import text

from server import app, parts
from server.adapters import tracing
from server.adapters.tracing import RoundTripSpans, Sender, Tracing
from server.data.observer import RoundTrip
from server.data.statements import Statement
from server.kernel.call import Access, Call
from server.kernel.chain import Step, compose_stream, compose_unary
from server.kernel.problems import NotFound, Unavailable
from server.kernel.steps.errors import Errors
from server.kernel.steps.trace import Trace
from server.settings import Settings
from tests.kernel import calls
from tests.stack import wait_for
from tests.telemetry.collector import PATIENCE, collecting

NOBODY = "http://127.0.0.1:9"
CALLER = "00f067aa0ba902b7"


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder, _env_file=None, **values)


# The process ---------------------------------------------------------------------------------------------------------


def test_an_application_without_an_endpoint_has_no_part_in_it(tmp_path: Path) -> None:
    """In a process of its own, since here everything is imported."""
    program = """
import sys
from pathlib import Path
from server import app
from server.settings import Settings
built = app.build(Settings(data_dir=Path(sys.argv[1]), _env_file=None), "test", streams=False)
print([type(part).__name__ for part in built.parts if "Tracing" in type(part).__name__])
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))])
print(sorted({step for route in built.routes.values() for step in route.steps if step == "trace"}))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "[]"]


def test_an_application_with_an_endpoint_has_one_step_more(tmp_path: Path) -> None:
    plain = app.build(settings(tmp_path), "test", streams=False)
    with_traces = app.build(settings(tmp_path, otlp_endpoint=NOBODY), "test", streams=False)
    for path, route in plain.routes.items():
        outermost, *others = route.steps
        assert outermost == "errors"
        assert with_traces.routes[path].steps == (outermost, "trace", *others)


def test_what_waits_is_sent_when_a_process_ends() -> None:
    with collecting() as collector:
        step, traces = started(collector.endpoint, 1.0)
        handle(step, lambda *_: page_pb2.Page())
        traces.close()
        assert [span.name for span in collector.spans] == ["plinth.sites.v1.PageService/GetPage"]


def test_a_process_ends_soon_without_a_collector(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "EXPORT_TIMEOUT", 60)
    monkeypatch.setattr(tracing, "CLOSE_TIMEOUT", 0.2)
    step, traces = started(NOBODY, 1.0)
    for _ in range(3):
        handle(step, lambda *_: page_pb2.Page())
    begun = monotonic()
    traces.close()
    assert monotonic() - begun < tracing.EXPORT_TIMEOUT / 2
    warned = [record.name for record in caplog.records if record.levelno >= logging.WARNING]
    assert [name for name in warned if name.startswith(("plinth.tracing", "opentelemetry"))] == ["plinth.tracing"]


def test_an_outage_is_told_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "EXPORT_TIMEOUT", 2.0)
    caplog.set_level(logging.INFO, "plinth.tracing")
    with collecting() as collector:
        endpoint = collector.endpoint
    sender = Sender(endpoint)
    outcomes = [sender.export([]) for _ in range(2)]
    assert outcomes == [SpanExportResult.FAILURE] * 2
    with collecting(int(endpoint.rpartition(":")[2])):
        wait_for(lambda: sender.export([]) is SpanExportResult.SUCCESS, PATIENCE, "an export")
        sender.export([])
    sender.shutdown()
    told = [record.levelname for record in caplog.records if record.name == "plinth.tracing"]
    assert told == ["WARNING", "INFO"]


def started(endpoint: str, rate: float) -> tuple[Trace, Tracing]:
    traces = Tracing(endpoint, rate, service="plinth-test", version="1", instance=lambda: "here")
    step = traces.follow()
    traces.start()
    return step, traces


# The step and the observer -------------------------------------------------------------------------------------------


class Recorded:
    """The step and the observer, with what they record."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")
        self.step = Trace(self.tracer)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


def trip(*sql: str, plain: bytes = b"", error: Exception | None = None) -> RoundTrip:
    """What is told of these statements after a quarter of a second, the first time they are sent."""
    statements = [Statement(text(each)) for each in sql]
    return RoundTrip(0.25, error, [(each, prepares) for each in statements for prepares in (True, False)], plain)


def handle(step: Step, handler: Callable[..., Any], **metadata: str) -> calls.Context:
    context = calls.Context(**metadata)
    composed, _ = compose_unary(calls.GET, [Errors(), step], handler)
    composed(Call(calls.GET, context), page_pb2.GetPageRequest())
    return context


def raising(error: Exception) -> Callable[..., Any]:
    def handler(*_: Any) -> Any:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "code", "is_failure"),
    [
        (RuntimeError("what nobody foresaw"), "INTERNAL", True),
        (Unavailable("database"), "UNAVAILABLE", True),
        (NotFound("There is no such thing."), "NOT_FOUND", False),
    ],
)
def test_a_failure_is_one_when_it_is_the_server_s(error: Exception, code: str, *, is_failure: bool) -> None:
    recorded = Recorded()
    with pytest.raises(calls.Aborted):
        handle(recorded.step, raising(error))
    (span,) = recorded.spans
    assert span.status.is_ok is not is_failure
    assert dict(span.attributes or {})["rpc.response.status_code"] == code
    # Words may quote what the caller wrote.
    assert str(error) not in span.to_json()
    assert not span.events


@pytest.mark.parametrize("parent", ["", "nonsense", "00-" + "0" * 32 + f"-{CALLER}-01", f"00-{'a' * 32}-{CALLER}-01-x"])
def test_a_trace_that_is_none_is_not_continued(parent: str) -> None:
    recorded = Recorded()
    handle(recorded.step, lambda *_: page_pb2.Page(), traceparent=parent)
    (span,) = recorded.spans
    assert span.parent is None


def test_what_the_gateway_left_out_is_left_out_here() -> None:
    recorded = Recorded()
    handle(recorded.step, lambda *_: page_pb2.Page(), traceparent=f"00-{'a' * 32}-{CALLER}-00")
    assert recorded.spans == []


async def messages(*given: Any) -> AsyncIterator[Message]:
    del given
    for _ in range(3):
        yield page_pb2.PageEvent()


async def broken(*_: Any) -> AsyncIterator[Message]:
    yield page_pb2.PageEvent()
    raise Unavailable("database")


@pytest.mark.parametrize(
    ("handler", "read", "code"), [(messages, 3, "OK"), (messages, 1, "OK"), (broken, 2, "UNAVAILABLE")]
)  # fmt: skip
def test_a_stream_s_span_lasts_as_long_as_the_stream(handler: Callable[..., Any], read: int, code: str) -> None:
    recorded = Recorded()
    composed, _ = compose_stream(calls.WATCH, [Errors(), recorded.step], handler)

    async def follow() -> None:
        stream: Any = composed(Call(calls.WATCH, calls.AsyncContext()), page_pb2.WatchPagesRequest())
        for _ in range(read):
            await anext(stream)
            assert recorded.spans == []
        await stream.aclose() if code == "OK" else None

    with suppress(calls.Aborted):
        asyncio.run(follow())
    (span,) = recorded.spans
    assert dict(span.attributes or {})["rpc.response.status_code"] == code


async def read_all(step: Step, handler: Callable[..., Any]) -> int:
    """How many messages a stream has."""
    composed, _ = compose_stream(calls.WATCH, [Errors(), step], handler)
    stream: Any = composed(Call(calls.WATCH, calls.AsyncContext()), page_pb2.WatchPagesRequest())
    return len([message async for message in stream])


def test_a_stream_that_ends_by_itself_ends_its_span() -> None:
    recorded = Recorded()
    assert asyncio.run(read_all(recorded.step, messages)) == 3
    (span,) = recorded.spans
    assert dict(span.attributes or {})["rpc.response.status_code"] == "OK"


def test_a_call_that_is_not_sampled_goes_on_without_a_span() -> None:
    """As the rate of samples decides where the gateway did not: what is answered is the same."""
    step = Trace(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test"))
    assert handle(step, lambda *_: page_pb2.Page()).code is None
    failing, _ = compose_unary(calls.GET, [step], raising(NotFound("There is no such thing.")))
    with pytest.raises(NotFound):
        failing(calls.call(calls.GET), page_pb2.GetPageRequest())
    assert asyncio.run(read_all(step, messages)) == 3


@pytest.mark.parametrize(("access", "told"), [(Access("tenant-1", frozenset(), (), 1), "tenant-1"), (None, None)])
def test_the_tenant_of_a_call_is_recorded_once_it_is_known_to_be_the_caller_s(
    access: Access | None, told: str | None
) -> None:
    def handler(one: Call, _: Any) -> Message:
        one.tenant_id, one.access = "tenant-1", access
        return page_pb2.Page()

    recorded = Recorded()
    handle(recorded.step, handler)
    (span,) = recorded.spans
    assert dict(span.attributes or {}).get("plinth.tenant_id") == told


def test_a_round_trip_outside_of_a_call_is_nobody_s() -> None:
    recorded = Recorded()
    RoundTripSpans(recorded.tracer).round_trip(trip("SELECT 1"))
    assert recorded.spans == []


@pytest.mark.parametrize(
    ("sql", "plain", "name", "size"),
    [
        (["SELECT a FROM b"], b"", "SELECT", None),
        (["INSERT INTO a SELECT 1"], b"COMMIT", "INSERT", None),
        (["INSERT INTO a SELECT 1", "INSERT INTO b SELECT 1"], b"", "BATCH INSERT", 2),
        (["UPDATE a SET b = 1", "DELETE FROM a"], b"COMMIT", "BATCH", 2),
        ([], b"COMMIT", "COMMIT", None),
    ],
)
def test_a_round_trip_is_named_for_what_was_asked(sql: list[str], plain: bytes, name: str, size: int | None) -> None:
    recorded = Recorded()
    with use_span(recorded.tracer.start_span("call")):
        RoundTripSpans(recorded.tracer).round_trip(trip(*sql, plain=plain))
    (span,) = recorded.spans
    attributes = dict(span.attributes or {})
    assert (span.name, span.kind, attributes.get("db.operation.batch.size")) == (name, SpanKind.CLIENT, size)
    assert attributes["db.query.text"] == "; ".join([*sql, plain.decode()] if plain else sql)
    assert (span.end_time or 0) - (span.start_time or 0) == 250_000_000


def test_a_round_trip_that_failed_tells_the_code_and_no_row() -> None:
    recorded = Recorded()
    error = psycopg.errors.UniqueViolation("Key (email)=(somebody@example.com) already exists.")
    with use_span(recorded.tracer.start_span("call")):
        RoundTripSpans(recorded.tracer).round_trip(trip("INSERT INTO users SELECT 1", error=error))
    (span,) = recorded.spans
    assert not span.status.is_ok
    assert dict(span.attributes or {})["error.type"] == "23505"
    assert "somebody" not in span.to_json()


def test_connections_have_any_number_of_observers(tmp_path: Path) -> None:
    class Noted:
        def __init__(self) -> None:
            self.trips: list[RoundTrip] = []

        def round_trip(self, trip: RoundTrip) -> None:
            self.trips.append(trip)

    connections = parts.connect(settings(tmp_path), "test")
    assert connections.observer is None
    first, second, told = Noted(), Noted(), trip("SELECT 1")
    connections.observe(first)
    assert connections.observer is first
    connections.observe(second)
    assert connections.observer is not None
    connections.observer.round_trip(told)
    assert first.trips == second.trips == [told]
