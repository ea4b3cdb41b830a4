"""Which errors an operation may answer, from its policy, its request and the reasons that its comment names."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor
from plinth.errors.v1 import reason_pb2

from server.extensions import RULES
from server.json_values import JsonObject
from server.kernel.policy import Access, Binding, Kind, MethodPolicy
from server.reference.examples import is_settable
from server.reference.headers import error_headers
from server.reference.naming import variables
from server.reference.security import needs_credentials

_MAKING = (Kind.CREATE, Kind.UNDELETE, Kind.BATCH_CREATE, Kind.BATCH_WRITE)
"""After which there are more of a resource, of which a tenant, a parent or an owner may have only so many."""
PREFIX = "REASON_"
_STATUS = re.compile(r"^[A-Z_]+, (\d{3})")
_NAMED = re.compile(r"\b[A-Z][A-Z_]{3,}\b")
ERROR, REASON = "Error", "Reason"
MEANINGS = "x-enumDescriptions"
"""What each value of an enumeration means, by value, as several tools read it."""
_CREDENTIALS = ("CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "TOKEN_EXPIRED", "SESSION_ENDED", "API_KEY_ENDED")
_ALWAYS = ("RATE_LIMITED", "ADDRESS_BLOCKED", "DEPENDENCY_UNAVAILABLE", "OVERLOADED", "DEADLINE_EXCEEDED", "INTERNAL")
_BODY = ("CONTENT_TYPE_UNSUPPORTED", "TOO_LARGE")
_WRITES = ("IDEMPOTENCY_KEY_REUSED", "IDEMPOTENT_CALL_RUNNING", "CONFLICT")


class Reason(NamedTuple):
    """A reason that an error names."""

    name: str
    status: str
    """The HTTP status."""
    comment: str


def reasons(comments: Mapping[str, str]) -> dict[str, Reason]:
    """Every reason by name, without its prefix. `comments` by full name."""
    enum, found = reason_pb2.DESCRIPTOR.enum_types_by_name["Reason"], {}
    for value in enum.values:
        comment = comments.get(f"{enum.full_name}.{value.name}", "")
        status = _STATUS.match(comment)
        if status is not None:
            name = value.name.removeprefix(PREFIX)
            found[name] = Reason(name, status[1], comment)
    return found


def reason_schema(known: dict[str, Reason]) -> JsonObject:
    """The component that says what each reason means."""
    lines = [f"- `{reason.name}`: {reason.comment}" for reason in known.values()]
    return {
        "type": "string",
        "enum": list(known),
        "description": "\n".join(["Why a call was refused.", *lines]),
        MEANINGS: {reason.name: reason.comment for reason in known.values()},
    }


class Errors:
    """The error responses of operations. Each that is asked for is a component, which like operations share."""

    def __init__(self, known: dict[str, Reason]) -> None:
        self._known = known
        self.components: dict[str, JsonObject] = {}

    def responses(self, method: MethodPolicy, binding: Binding, comment: str, *, has_body: bool) -> JsonObject:
        """References to the errors of an operation, by status. `comment` is that of the RPC."""
        by_status: dict[str, list[str]] = {}
        names = (*_of_policy(method), *_of_request(method, binding, has_body=has_body), *_named(self._known, comment))
        for name in dict.fromkeys(names):
            by_status.setdefault(self._known[name].status, []).append(name)
        return {status: self._reference(status, sorted(found)) for status, found in sorted(by_status.items())}

    def _reference(self, status: str, names: list[str]) -> JsonObject:
        component = ".".join([status, *names])
        self.components.setdefault(component, _response(status, names))
        return {"$ref": f"#/components/responses/{component}"}


def _response(status: str, names: list[str]) -> JsonObject:
    """What a reason means is said once, in the component of reasons."""
    one_of_them: JsonObject = {"required": ["reason"], "properties": {"reason": {"enum": names}}}
    narrowed: JsonObject = {"properties": {"details": {"contains": one_of_them}}}
    schema: JsonObject = {"allOf": [{"$ref": f"#/components/schemas/{ERROR}"}, narrowed]}
    return {
        "description": ", ".join(f"`{name}`" for name in names),
        "headers": error_headers(status),
        "content": {"application/json": {"schema": schema}},
    }


def _of_policy(method: MethodPolicy) -> Iterator[str]:
    yield from _ALWAYS
    if needs_credentials(method):
        yield from _CREDENTIALS
    if method.access is Access.PERMISSION:
        yield "TENANT_MISSING"
    if method.access in (Access.PERMISSION, Access.PLATFORM):
        yield "PERMISSION_MISSING"
    if not method.read_only:
        yield from _WRITES
    if method.can_be_tried:
        yield "TRIAL_IMPOSSIBLE"
    if method.is_file:
        yield "RANGE_NOT_SATISFIABLE"
    if method.providers:
        yield from ("PROVIDER_NOT_CONFIGURED", "PROVIDER_CREDENTIALS_REJECTED", "PROVIDER_REFUSED")
    if method.waits or method.kind in _MAKING:
        yield "LIMIT_REACHED"


def _of_request(method: MethodPolicy, binding: Binding, *, has_body: bool) -> Iterator[str]:
    names = method.descriptor.input_type.fields_by_name
    yield from ("MALFORMED", "UNKNOWN_FIELD")
    if variables(binding):
        yield "ROUTE_NOT_FOUND"
    if has_body:
        yield from _BODY
    if _has_rules(method.descriptor.input_type, ()):
        yield "RULE_VIOLATED"
    if _names_something(method.descriptor.input_type, ()):
        yield "RESOURCE_NOT_FOUND"
    if "page_token" in names:
        yield "PAGE_TOKEN_INVALID"
    if "filter" in names:
        yield "FILTER_INVALID"
    if "order_by" in names:
        yield "ORDER_INVALID"
    if method.kind in (Kind.UPDATE, Kind.DELETE) or method.has_etag:
        yield "ETAG_MISMATCH"


def _names_something(message: Descriptor, above: tuple[str, ...]) -> bool:
    """Whether a request has the id of a resource, at its top or in what it brings."""
    for field in filter(is_settable, message.fields):
        if field.name.endswith(("_id", "_ids")) or field.name == "ids":
            return True
        below = field.message_type
        if below is not None and below.full_name not in above and _names_something(below, (*above, below.full_name)):
            return True
    return False


def _has_rules(message: Descriptor, above: tuple[str, ...]) -> bool:
    for field in message.fields:
        if field.GetOptions().HasExtension(RULES):
            return True
        below = field.message_type
        if below is not None and below.full_name not in above and _has_rules(below, (*above, below.full_name)):
            return True
    return False


def _named(known: dict[str, Reason], comment: str) -> Iterator[str]:
    """The reasons in the comment. Codes of gRPC stand for the reason that usually has them."""
    usual = {
        "UNAUTHENTICATED": "CREDENTIALS_INVALID",
        "NOT_FOUND": "RESOURCE_NOT_FOUND",
        "ALREADY_EXISTS": "RESOURCE_TAKEN",
        "FAILED_PRECONDITION": "STATE_FORBIDS",
    }
    for word in _NAMED.findall(comment):
        name = usual.get(word, word)
        if name in known:
            yield name
