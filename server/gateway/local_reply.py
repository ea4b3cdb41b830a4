"""The bodies of Envoy's own answers: the same JSON as in the server's errors."""

from collections.abc import Iterator
from dataclasses import dataclass

from server.gateway.body_limits import READ_BYTES
from server.gateway.connect import CALL
from server.gateway.pieces import Config, details_match, header, headers, status_is
from server.gateway.response_headers import POLICY, security_headers
from server.settings import Settings

RETRY_AFTER = 1
TEXT = "%LOCAL_REPLY_BODY%"
LOCAL_REPLY = "x-plinth-local-reply"
# The data from which Lua words the transcoder's findings: the request id, the HTTP method and the path.
ASKED = "%REQ(x-request-id)% %REQ(x-envoy-original-method?:method)% %REQ(x-envoy-original-path?:path)%"
REQUEST_ID = "%REQ(X-REQUEST-ID)%"
# For a request whose headers could not be read, which has no other id. The gateway's log has both parts.
UNREAD_ID = "unread-%CONNECTION_ID%-%START_TIME(%s%3f)%"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer for one HTTP status."""

    status: int
    code: int
    """The code of gRPC."""
    reason: str
    """A reason of reason.proto, without its prefix."""
    message: str
    metadata: dict[str, str]
    retry: bool = False


def _replies(settings: Settings, body_bytes: int) -> list[Reply]:
    headers_limit = {"limit_bytes": str(settings.max_header_kilobytes * 1024)}
    body_limit = {"limit_bytes": str(body_bytes)}
    return [
        Reply(404, 5, "ROUTE_NOT_FOUND", "Nothing answers at this path.", {}),
        Reply(408, 4, "DEADLINE_EXCEEDED", "The request did not arrive in time.", {}),
        Reply(413, 3, "TOO_LARGE", "The body is too large.", body_limit),
        Reply(431, 3, "TOO_LARGE", "The headers are too large or too many.", headers_limit),
        Reply(503, 14, "DEPENDENCY_UNAVAILABLE", "The service is not available. Try again.", {"dependency": "server"},
              retry=True),
        Reply(504, 4, "DEADLINE_EXCEEDED", "The answer did not come in time.", {}),
    ]  # fmt: skip


# Statuses that Envoy answers before it has read the headers.
UNREAD = (408, 431)
OUR_FAULT = Reply(500, 13, "INTERNAL", "Something went wrong on our side.", {})
CALLERS_FAULT = Reply(
    400,
    3,
    "MALFORMED",
    "The request is not acceptable HTTP: %RESPONSE_CODE_DETAILS%.",
    {"cause": "%RESPONSE_CODE_DETAILS%"},
)


def replies_to_connect(settings: Settings) -> list[Reply]:
    """The answers that a call of Connect can get. Those without a status of their own are told as 400 or 500."""
    malformed = Reply(400, CALLERS_FAULT.code, CALLERS_FAULT.reason, "The request is not acceptable.", {})
    return [*_replies(settings, READ_BYTES), OUR_FAULT, malformed]


def local_reply_config(settings: Settings, body_bytes: int) -> Config:
    """Mappers, of which the first match applies: Lua's answers, the transcoder's, each status, and everything else.

    `body_bytes` is the largest JSON body that any call accepts. Native gRPC matches only the last mapper: there Envoy
    answers with grpc-status and puts the body into grpc-message.
    """
    # Some replies never pass the filters that set these headers on all others.
    always = [*headers(security_headers(settings) | POLICY), header("cache-control", "no-store")]
    replies = _replies(settings, body_bytes)
    return {
        "mappers": [
            _answered_by_lua(always),
            *_unread([reply for reply in replies if reply.status in UNREAD], always),
            _refused_by_transcoder(always),
            _of_connect(always),
            _away_for_event_source(always),
            *(_mapper(reply, status_is("EQ", reply.status), always) for reply in replies),
            *(_mapper(reply, status_is("GE", reply.status), always) for reply in (OUR_FAULT, CALLERS_FAULT)),
            _grpc_timeout(),
        ],
    }


def _answered_by_lua(always: list[Config]) -> Config:
    """The reply whose whole body Lua has written."""
    return {
        "filter": details_match("response.code_details == 'lua_response'"),
        "body_format_override": {
            "text_format_source": {"inline_string": TEXT},
            "content_type": "application/json",
        },
        "headers_to_add": always,
    }


def _unread(replies: list[Reply], always: list[Config]) -> Iterator[Config]:
    """Replies to headers that could not be read: the cors filter never saw them, so the page that sent them is unknown.

    Every page may read such a reply, because it contains only what is wrong with the request.
    """
    opened = {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "x-request-id",
        "x-request-id": UNREAD_ID,
    }
    unread = {"header_filter": {"header": {"name": ":path", "present_match": True, "invert_match": True}}}
    for reply in (*replies, CALLERS_FAULT):
        comparison = "GE" if reply is CALLERS_FAULT else "EQ"
        matching: Config = {"and_filter": {"filters": [status_is(comparison, reply.status), unread]}}
        yield _mapper(reply, matching, [*always, *headers(opened)], UNREAD_ID)


def _refused_by_transcoder(always: list[Config]) -> Config:
    """The reply to a request that the transcoder refused. The header makes Lua word it as the server would."""
    refused = details_match("response.code == 400 && response.code_details.contains('grpc_json_transcode_failure')")
    return {
        "filter": {"and_filter": {"filters": [refused, _not_grpc()]}},
        "body_format_override": {
            "text_format_source": {"inline_string": TEXT},
            "content_type": "application/json",
        },
        "headers_to_add": [*always, header(LOCAL_REPLY, ASKED)],
    }


def _of_connect(always: list[Config]) -> Config:
    """The reply to a call of Connect. The header makes Lua word it as Connect has errors, by the status."""
    return {
        "filter": {"header_filter": {"header": {"name": CALL, "present_match": True}}},
        "body_format_override": {
            "text_format_source": {"inline_string": TEXT},
            "content_type": "application/json",
        },
        "headers_to_add": [*always, header(LOCAL_REPLY, ASKED)],
    }


def _away_for_event_source(always: list[Config]) -> Config:
    """The reply to an EventSource, which gives up at any status but 200 (HTML standard, 9.2.3) and should retry."""
    asks = {"header_filter": {"header": {"name": "accept", "string_match": {"exact": "text/event-stream"}}}}
    return {
        "filter": {"and_filter": {"filters": [status_is("EQ", 503), asks]}},
        "status_code": 200,
        "body_format_override": {
            "text_format_source": {"inline_string": f"retry: {RETRY_AFTER * 1000}\n\n"},
            "content_type": "text/event-stream",
        },
        "headers_to_add": always,
    }


def _grpc_timeout() -> Config:
    """The reply to a timeout. Otherwise Envoy makes it UNAVAILABLE, and clients repeat calls that may have run."""
    return {"filter": status_is("EQ", 504), "headers_to_add": [header("grpc-status", "4")]}


def _mapper(reply: Reply, matching: Config, always: list[Config], request_id: str = REQUEST_ID) -> Config:
    retry = [header("retry-after", str(RETRY_AFTER))] if reply.retry else []
    return {
        "filter": {"and_filter": {"filters": [matching, _not_grpc()]}},
        "body_format_override": {"json_format": _body(reply, request_id), "content_type": "application/json"},
        "headers_to_add": [*always, *retry],
    }


def _not_grpc() -> Config:
    """Requests that are not gRPC. Transcoded ones have its content type, but also their original path."""
    native = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    other = native | {"invert_match": True, "treat_missing_header_as_empty": True}
    transcoded = {"name": "x-envoy-original-path", "present_match": True}
    return {"or_filter": {"filters": [{"header_filter": {"header": rule}} for rule in (other, transcoded)]}}


def _body(reply: Reply, request_id: str) -> Config:
    details: list[Config] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reply.reason,
            "domain": "plinth",
            "metadata": reply.metadata,
        }
    ]
    if reply.retry:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RETRY_AFTER}s"})
    details.append({"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": request_id})
    return {"code": reply.code, "message": reply.message, "details": details}
