"""Which errors an operation may answer, from its policy, its request and the reasons that its comment names."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf import descriptor_pb2 as pb
from plinth.policy.v1 import policy_pb2

from server.extensions import POLICY, RULES
from server.json_values import JsonObject
from server.reference.contract import Method, Source

REASONS = "plinth.errors.v1.Reason"
PREFIX = "REASON_"
_STATUS = re.compile(r"^[A-Z_]+, (\d{3})")
_NAMED = re.compile(r"\b[A-Z][A-Z_]{3,}\b")
ERROR, REASON = "Error", "Reason"
_CREDENTIALS = ("CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "TOKEN_EXPIRED", "SESSION_ENDED", "API_KEY_ENDED")
_ALWAYS = ("RATE_LIMITED", "ADDRESS_BLOCKED", "DEPENDENCY_UNAVAILABLE", "OVERLOADED", "DEADLINE_EXCEEDED", "INTERNAL")
_BODY = ("MALFORMED", "CONTENT_TYPE_UNSUPPORTED", "TOO_LARGE")
_WRITES = ("IDEMPOTENCY_KEY_REUSED", "IDEMPOTENT_CALL_RUNNING", "CONFLICT")


class Reason(NamedTuple):
    """A reason that an error names."""

    name: str
    status: str
    """The HTTP status."""
    comment: str


def reasons(source: Source) -> dict[str, Reason]:
    """Every reason by name, without its prefix."""
    found = {}
    for value in source.enums[REASONS].values:
        status = _STATUS.match(value.comment)
        if status is not None:
            name = value.name.removeprefix(PREFIX)
            found[name] = Reason(name, status[1], value.comment)
    return found


def reason_schema(known: dict[str, Reason]) -> JsonObject:
    """The component that says what each reason means."""
    lines = [f"- `{reason.name}`: {reason.comment}" for reason in known.values()]
    return {"type": "string", "enum": list(known), "description": "\n".join(["Why a call was refused.", *lines])}


def responses(source: Source, known: dict[str, Reason], method: Method, *, has_body: bool) -> JsonObject:
    """The error responses of an operation, by status. What a reason means is said once, in the component of reasons."""
    by_status: dict[str, list[Reason]] = {}
    names = dict.fromkeys(
        (*_of_policy(method), *_of_request(source, method, has_body=has_body), *_named(known, method))
    )
    for name in names:
        by_status.setdefault(known[name].status, []).append(known[name])
    return {
        status: {
            "description": ", ".join(f"`{reason.name}`" for reason in found),
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ERROR}"}}},
        }
        for status, found in sorted(by_status.items())
    }


def _of_policy(method: Method) -> Iterator[str]:
    policy = method.descriptor.options.Extensions[POLICY]
    yield from _ALWAYS
    if not policy.public:
        yield from _CREDENTIALS
    if policy.permission:
        yield "TENANT_MISSING"
    if policy.permission or policy.platform:
        yield "PERMISSION_MISSING"
    if policy.emits:
        yield from _WRITES
    if policy.providers:
        yield from ("PROVIDER_NOT_CONFIGURED", "PROVIDER_CREDENTIALS_REJECTED", "PROVIDER_REFUSED")
    if policy.pool == policy_pb2.POOL_WAITING:
        yield "LIMIT_REACHED"


def _of_request(source: Source, method: Method, *, has_body: bool) -> Iterator[str]:
    message = source.messages[method.request]
    names = {field.descriptor.name for field in message.fields}
    yield "UNKNOWN_FIELD"
    if has_body:
        yield from _BODY
    if _has_rules(source, message.descriptor, ()):
        yield "RULE_VIOLATED"
    if any(name.endswith("_id") for name in names):
        yield "RESOURCE_NOT_FOUND"
    if "page_token" in names:
        yield "PAGE_TOKEN_INVALID"
    if "filter" in names:
        yield "FILTER_INVALID"
    if "order_by" in names:
        yield "ORDER_INVALID"
    if method.name.startswith(("Update", "Delete")):
        yield "ETAG_MISMATCH"


def _has_rules(source: Source, message: pb.DescriptorProto, above: tuple[str, ...]) -> bool:
    for field in message.field:
        if field.options.HasExtension(RULES):
            return True
        below = source.messages.get(field.type_name.lstrip("."))
        if below and below.name not in above and _has_rules(source, below.descriptor, (*above, below.name)):
            return True
    return False


def _named(known: dict[str, Reason], method: Method) -> Iterator[str]:
    """The reasons in the comment. Codes of gRPC stand for the reason that usually has them."""
    usual = {
        "NOT_FOUND": "RESOURCE_NOT_FOUND",
        "ALREADY_EXISTS": "RESOURCE_TAKEN",
        "FAILED_PRECONDITION": "STATE_FORBIDS",
    }
    for word in _NAMED.findall(method.comment):
        name = usual.get(word, word)
        if name in known:
            yield name
