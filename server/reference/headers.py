"""Headers of requests, as parameters, and headers of answers."""

from collections.abc import Iterable, Iterator, Mapping

from server.json_values import JsonObject
from server.kernel.policy import Kind, MethodPolicy
from server.kernel.steps.headers import WHOLE_NUMBERS, header_fields
from server.kernel.steps.respond import location_of

WITH_LOCATION = (201, 202)
WITH_RETRY_AFTER = ("429", "503")
PARAMETERS: Mapping[str, JsonObject] = {
    "If-Match": {
        "name": "If-Match",
        "in": "header",
        "description": "The ETag that was read. The call is refused with 412 if the resource has changed since.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag that was read. The answer is 304 without a body if nothing has changed since.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes it safe to send the call again: with the same key and the same request, it is done once.",
        "schema": {"type": "string", "maxLength": 255, "pattern": "^[ -~]*$"},
    },
    "X-Validate-Only": {
        "name": "X-Validate-Only",
        "in": "header",
        "description": "Whether to answer the call as it would be answered, and keep nothing of it.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    "Range": {
        "name": "Range",
        "in": "header",
        "description": "The bytes that are wanted, such as `bytes=0-1023` (RFC 9110): the answer is then 206.",
        "schema": {"type": "string", "maxLength": 100},
    },
    "Last-Event-ID": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The last event that was received. The stream continues after it.",
        "schema": {"type": "string", "maxLength": 64},
    },
}
"""Headers of requests, which are components of the document."""
HEADERS: Mapping[str, JsonObject] = {
    "X-Request-Id": {
        "description": "The id of the call: the caller's `X-Request-Id` if it sent one. Logs and errors have it.",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag": {"description": "The version of the answer.", "schema": {"type": "string"}},
    "Location": {"description": "Where the resource is.", "required": True, "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds until the next call is accepted.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Accept-Ranges": {"description": "`bytes`: parts can be asked for.", "schema": {"type": "string"}},
    "Content-Range": {"description": "Which bytes these are, and of how many.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "Which credentials are taken.", "schema": {"type": "string"}},
    "Allow": {"description": "The HTTP methods of this path.", "schema": {"type": "string"}},
    "Idempotent-Replay": {
        "description": "`true` if an earlier call with the same idempotency key was answered so.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "X-Validate-Only": {
        "description": "`true` if nothing was kept of the call, as the caller asked.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "X-RateLimit-Limit": {
        "description": "Calls that the tightest of the caller's rate limits allows in its period.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-RateLimit-Remaining": {
        "description": "Calls that are left in this period.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Reset": {
        "description": "Seconds until all of the limit is there again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit": {
        "description": 'What is left (draft-ietf-httpapi-ratelimit-headers), such as `"default";r=99;t=60`.',
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": 'The limit (draft-ietf-httpapi-ratelimit-headers), such as `"default";q=100;w=60`.',
        "schema": {"type": "string"},
    },
}
"""Headers of answers, which are components of the document."""
LIMITS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy")
EVERYWHERE = ("X-Request-Id", *LIMITS)


def request_headers(method: MethodPolicy) -> Iterator[JsonObject]:
    """The headers that an RPC reads beside its credentials."""
    if method.kind in (Kind.UPDATE, Kind.DELETE):
        yield _parameter("If-Match")
    if not method.read_only:
        yield _parameter("Idempotency-Key")
    if method.can_be_tried:
        yield _parameter("X-Validate-Only")
    for field, name in header_fields(method.descriptor.input_type):
        schema: JsonObject = (
            {"type": "integer", "minimum": 0} if field.cpp_type in WHOLE_NUMBERS else {"type": "string"}
        )
        yield {
            "name": name.title(),
            "in": "header",
            "description": f"Is taken as `{field.json_name}`, where that is left out.",
            "schema": schema,
        }
    if method.streaming and "last_event_id" in method.descriptor.input_type.fields_by_name:
        yield _parameter("Last-Event-ID")
    elif method.read_only and method.answers_etag:
        yield _parameter("If-None-Match")
    if method.is_file:
        yield _parameter("Range")


def success_headers(method: MethodPolicy) -> JsonObject:
    """The headers of what an RPC answers when it succeeds."""
    names = [*EVERYWHERE]
    if method.success_status in WITH_LOCATION and location_of(method) is not None:
        names.append("Location")
    if method.answers_etag:
        names.append("ETag")
    if method.is_file:
        names.append("Accept-Ranges")
    if not method.read_only:
        names.append("Idempotent-Replay")
    if method.can_be_tried:
        names.append("X-Validate-Only")
    return named(names)


def error_headers(status: str) -> JsonObject:
    """The headers of an error."""
    names = [*EVERYWHERE]
    if status == "401":
        names.append("WWW-Authenticate")
    if status in WITH_RETRY_AFTER:
        names.append("Retry-After")
    return named(names)


def named(names: Iterable[str]) -> JsonObject:
    """References to headers of answers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(name: str) -> JsonObject:
    return {"$ref": f"#/components/parameters/{name}"}
