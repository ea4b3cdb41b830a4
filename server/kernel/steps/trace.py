"""trace: a span per call, in the trace that `traceparent` names. In the chain only if traces are exported.

The span of a unary call is current while the call runs, so that its queries to PostgreSQL become child spans. The span
of a stream ends with the stream, as the gateway's does, and is not current: its caller is rechecked every few seconds
for as long as it lives. Names follow OpenTelemetry's conventions for RPCs.

Spans contain names, codes and ids of Plinth, but never input of the caller or messages of problems.
"""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.message import Message
from grpc import StatusCode
from opentelemetry import context
from opentelemetry.trace import Span, SpanKind, Status, Tracer, set_span_in_context
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.kernel import problems
from server.kernel.call import Call
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.policy import MethodPolicy

CODE = "rpc.response.status_code"
# The codes of a failure of the server.
FAILURES = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
PARENT = "traceparent"
PARENT_LENGTH = 55
# Last digits of `traceparent` in which the lowest bit, "sampled", is not set.
LEFT_OUT = frozenset("02468ace")
_propagator = TraceContextTextMapPropagator()


class Trace:
    """Makes the span of a call."""

    name = "trace"

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Run the call below its span."""

        def traced(call: Call, request: Request) -> Answer:
            if _is_left_out(call):
                return proceed(call, request)
            span = self._start(method, call)
            token = context.attach(set_span_in_context(span))
            try:
                answer = proceed(call, request)
            except Exception as error:
                _fail(span, call, error)
                raise
            else:
                _end(span, call, StatusCode.OK)
            finally:
                context.detach(token)
            return answer

        return traced

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """Make a span for the life of the stream."""

        async def traced(call: Call, request: Request) -> AsyncIterator[Message]:
            span = self._start(method, call)
            try:
                async for message in proceed(call, request):
                    yield message
            except Exception as error:
                _fail(span, call, error)
                raise
            except (GeneratorExit, asyncio.CancelledError):
                # The caller closed the stream, which is how most streams end.
                _end(span, call, StatusCode.OK)
                raise
            _end(span, call, StatusCode.OK)

        return traced

    def _start(self, method: MethodPolicy, call: Call) -> Span:
        name = method.path.removeprefix("/")
        return self.tracer.start_span(
            name,
            _propagator.extract(call.metadata),
            SpanKind.SERVER,
            {"rpc.system.name": "grpc", "rpc.method": name},
        )


def _is_left_out(call: Call) -> bool:
    """Whether the gateway did not sample this trace, by the last bit of `traceparent`. A span would cost 30 us."""
    parent = call.metadata.get(PARENT, "")
    return len(parent) == PARENT_LENGTH and parent[-1] in LEFT_OUT


def _fail(span: Span, call: Call, error: Exception) -> None:
    if not span.is_recording():
        return
    problem = problems.of(error)
    span.set_attributes({"error.type": problem.code.name, "plinth.reason": problem.reason_name})
    if problem.code in FAILURES:
        span.set_status(Status(SpanStatus.ERROR))
    _end(span, call, problem.code)


def _end(span: Span, call: Call, code: StatusCode) -> None:
    if not span.is_recording():
        return
    span.set_attributes({CODE: code.name, "plinth.request_id": call.request_id})
    if call.access is not None and call.access.tenant_id:
        # Any other tenant is input of the caller.
        span.set_attribute("plinth.tenant_id", call.access.tenant_id)
    span.end()
