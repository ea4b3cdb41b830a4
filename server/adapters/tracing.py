"""Traces of one process, sent to a collector over OTLP. Imported only if an endpoint is set.

Spans wait in a bounded queue for a thread that sends them; no call waits for that thread. If the collector does not
answer, spans are dropped, and one line is logged.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer
from time import time_ns

from grpc import ssl_channel_credentials
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NoOpTracer, SpanKind, Status, StatusCode, Tracer, get_current_span

from server.data.connections import Connections
from server.data.observer import RoundTrip
from server.kernel.steps.trace import Trace

log = logging.getLogger("plinth.tracing")
# A waiting span takes about 2 KB.
QUEUE = 2048
BATCH = 512
EVERY_MILLISECONDS = 1000.0
# Seconds for a batch, including retries.
EXPORT_TIMEOUT = 5.0
# Seconds for which a process that ends continues to send.
CLOSE_TIMEOUT = 2.0
LONGEST_ATTRIBUTE = 4096
ENDS = ("COMMIT", "ROLLBACK")


class Tracing:
    """Makes spans and sends them, from `start` on."""

    def __init__(
        self,
        endpoint: str,
        rate: float,
        *,
        service: str,
        version: str,
        instance: Callable[[], str],
        certificates: str | None = None,
    ) -> None:
        """`rate` is the share of recorded traces among those that begin in this process. For others see Sender."""
        self._facts = {"service.name": service, "service.version": version}
        self._instance = instance
        self._rate = rate
        self._endpoint = endpoint
        self._certificates = certificates
        self._provider: TracerProvider | None = None
        self._sender: Sender | None = None
        self._followers: list[Trace | RoundTripSpans] = []

    def follow(self, *pools: Connections) -> Trace:
        """The step that makes the spans of calls.

        The spans of round trips over these connections are their children.
        """
        step, round_trips = Trace(NoOpTracer()), RoundTripSpans(NoOpTracer())
        for pool in pools:
            pool.observe(round_trips)
        self._followers += [step, round_trips]
        return step

    def start(self) -> None:
        """Start a thread and a connection. To be called in the process itself, after the fork."""
        _silence()
        provider = TracerProvider(
            ParentBased(TraceIdRatioBased(self._rate)),
            Resource.create(self._facts | {"service.instance.id": self._instance()}),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attribute_length=LONGEST_ATTRIBUTE),
        )
        for follower in self._followers:
            follower.tracer = provider.get_tracer("plinth", self._facts["service.version"])
        self._provider, self._sender = provider, Sender(self._endpoint, self._certificates)
        provider.add_span_processor(
            BatchSpanProcessor(
                self._sender,
                max_queue_size=QUEUE,
                schedule_delay_millis=EVERY_MILLISECONDS,
                max_export_batch_size=BATCH,
            )
        )

    def close(self) -> None:
        """Send the waiting spans, unless the collector does not answer or takes too long."""
        if self._sender is None or self._provider is None:
            return
        giving_up = Timer(CLOSE_TIMEOUT if self._sender.arrives else 0, self._sender.shutdown)
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()


class Sender(SpanExporter):
    """Sends spans. Logs once when they stop arriving, and once when they arrive again."""

    def __init__(self, endpoint: str, certificates: str | None = None) -> None:
        """`endpoint` is a URL. `certificates`, for `https`, is a PEM file of the CAs of the collector."""
        self._endpoint = endpoint
        trust = None
        if certificates and endpoint.startswith("https:"):
            trust = ssl_channel_credentials(Path(certificates).read_bytes())
        self._exporter = OTLPSpanExporter(endpoint, credentials=trust, timeout=EXPORT_TIMEOUT)
        self.arrives = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, or drop it."""
        result = self._exporter.export(spans)
        arrives = result is SpanExportResult.SUCCESS
        if arrives != self.arrives:
            self.arrives = arrives
            if arrives:
                log.info("traces arrive at %s again", self._endpoint)
            else:
                log.warning(
                    "no traces arrive at %s (PLINTH_OTLP_ENDPOINT): they are dropped until they do", self._endpoint
                )
        return result

    def shutdown(self) -> None:
        """Stop, and abandon an export that is under way."""
        self._exporter.shutdown()


class RoundTripSpans:
    """A span per round trip to PostgreSQL, as a child of the current span. None without a current span."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def round_trip(self, trip: RoundTrip) -> None:
        """Make the span of a round trip that has just ended (see data.observer)."""
        if not get_current_span().is_recording():
            return
        end = time_ns()
        sql = trip.sql
        operations = _operations(sql)
        operation = _name(operations)
        span = self.tracer.start_span(
            operation,
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": "postgresql",
                "db.operation.name": operation,
                "db.query.text": b"; ".join(sql).decode(),
                "db.response.returned_rows": trip.rows,
            },
            start_time=end - int(trip.seconds * 1e9),
        )
        if len(operations) > 1:
            span.set_attribute("db.operation.batch.size", len(operations))
        if trip.error is not None:
            # The message of PostgreSQL may quote a row, so only the code is recorded.
            span.set_attribute("error.type", getattr(trip.error, "sqlstate", None) or type(trip.error).__name__)
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)


def _operations(sql: Sequence[bytes]) -> list[str]:
    """SELECT, INSERT, ... The end of a transaction counts only if it is alone."""
    verbs = [text.split(None, 1)[0].decode() for text in sql]
    return [verb for verb in verbs if verb not in ENDS] or verbs


def _name(operations: list[str]) -> str:
    """The name by OpenTelemetry's conventions for databases."""
    if len(operations) == 1:
        return operations[0]
    return f"BATCH {operations[0]}" if len(set(operations)) == 1 else "BATCH"


def _silence() -> None:
    """The library would log a line per batch, and one for each invalid `traceparent` of a caller."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
