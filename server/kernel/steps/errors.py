"""errors: the outermost step. It alone turns a problem into a status and sends the headers of a problem."""

from collections.abc import AsyncIterator
from math import ceil

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2

from server.kernel import problems
from server.kernel.call import HTTP_STATUS, JSON_KEYS, REQUEST_ID, Call
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.live.sse import ERROR, EVENT_STREAM, RETRY_MILLISECONDS, frame, retry
from server.kernel.policy import HTTP_BODY, MethodPolicy
from server.kernel.steps.json_names import JsonNames

STATUS_DETAILS = "grpc-status-details-bin"
RESUMES = "last_event_id"
"""A field that only requests for server-sent events have."""
NO_MESSAGE = b"\xff"
"""No HttpBody, so that the gateway resets the stream. A file that ended with a status would look whole."""


class Errors:
    """Answers every exception with a status of google.rpc."""

    name = "errors"

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Abort the call with the problem's status."""
        del method

        def answered(call: Call, request: Request) -> Answer:
            try:
                return proceed(call, request)
            except Exception as error:
                problem = _named(call, problems.of(error))
                status = problem.status(call.request_id)
                _abort(call, problem, status)
                raise AssertionError("abort does not return") from error  # pragma: no cover - gRPC's abort raises

        return answered

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """Abort before the first message.

        After it, REST has sent its status already: a stream of events ends with an error frame, and a file is cut off.
        """
        is_rest = method.descriptor.output_type.full_name == HTTP_BODY
        is_events = is_rest and (RESUMES in method.descriptor.input_type.fields_by_name or method.opening is not None)

        async def answered(call: Call, request: Request) -> AsyncIterator[Message]:
            started = False
            try:
                async for message in proceed(call, request):
                    started = True
                    yield message
            except Exception as error:  # noqa: BLE001 - as above
                problem = _named(call, problems.of(error))
                status = problem.status(call.request_id)
                if is_events and (started or _would_give_up(call, problem)):
                    yield error_frame(status)
                    return
                if is_rest and started and call.is_rest:
                    yield NO_MESSAGE  # type: ignore[misc]
                await _abort_stream(call, problem, status)

        return answered


def _named(call: Call, problem: problems.Problem) -> problems.Problem:
    """Over REST, name the fields as in the JSON that was sent."""
    return JsonNames(call.method, call.metadata.get(JSON_KEYS, "")).problem(problem) if call.is_rest else problem


def problem_headers(problem: problems.Problem) -> list[tuple[str, str]]:
    """The headers by which REST shows a problem: its status, when to try again, and how to authenticate."""
    headers = [(HTTP_STATUS, str(problem.http_status))]
    if problem.retry_after is not None:
        # Rounded up, so that a caller who waits that long is not refused again.
        headers.append(("retry-after", str(max(1, ceil(problem.retry_after)))))
    if problem.http_status == 401:  # noqa: PLR2004 - RFC 9110 demands the challenge with this status
        headers.append(("www-authenticate", 'Bearer realm="plinth"'))
    return headers


def _beside(call: Call, problem: problems.Problem) -> list[tuple[str, str]]:
    if not call.is_rest:
        return [(REQUEST_ID, call.request_id)]
    return problem_headers(problem) + call.limit_headers


def _abort(call: Call, problem: problems.Problem, status: status_pb2.Status) -> None:
    context = call.unary_context
    beside = _beside(call, problem)
    context.set_trailing_metadata(((STATUS_DETAILS, status.SerializeToString()), *beside))
    context.abort(problem.code, problem.message)


async def _abort_stream(call: Call, problem: problems.Problem, status: status_pb2.Status) -> None:
    context = call.stream_context
    beside = _beside(call, problem)
    await context.abort(problem.code, problem.message, ((STATUS_DETAILS, status.SerializeToString()), *beside))


def _would_give_up(call: Call, problem: problems.Problem) -> bool:
    """Whether the caller is an EventSource, which retries after no status but 200 (HTML standard, 9.2.3)."""
    is_event_source = EVENT_STREAM in str(call.metadata.get("accept", ""))
    return is_event_source and isinstance(problem, problems.Unavailable)


def error_frame(status: status_pb2.Status) -> HttpBody:
    """The last frame of a stream that ends with an error."""
    text = json_format.MessageToJson(status, indent=None)
    return HttpBody(content_type=EVENT_STREAM, data=retry(RETRY_MILLISECONDS) + frame(ERROR, text))
