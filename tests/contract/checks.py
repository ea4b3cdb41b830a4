"""Checks over descriptors. Each takes them as arguments and yields faults, so that a broken copy can be fed to it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from plinth.policy.v1 import policy_pb2
from plinth.types.v1 import rules_pb2

from server.kernel.policy import HTTP_BODY, is_read_only

ANY = "google.protobuf.Any"
WELL_KNOWN = ("google.protobuf.", "google.api.")
SIXTY_FOUR_BITS = (
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
)
# Formats whose length the format itself bounds.
BOUNDED_FORMATS = ("uuid", "tuuid", "ipv4", "ipv6", "ip")
# Fields of messages that others define, without rules of ours: the kernel's codecs refuse what is too long.
CHECKED_BY_CODECS = ("google.type.Money.currency_code",)
# Generated code does not say what type an extension has.
PERSONAL_OPTION: Any = policy_pb2.personal
# What tells of a person, or where one is. `name` alone is that of a page or a role.
PERSONAL = re.compile(
    r"(^|_)(e?mail|phone|mobile|fax|birth(day|_date)?|gender|nationality|avatar|biography|"
    r"(first|last|middle|full|given|family|maiden|nick|display|legal|contact|user|author|customer|guest)_?name|"
    r"ip|ip_address|network|user_agent|street|city|postal_code|postcode|zip|address(es|_line)?|latitude|longitude|"
    r"iban|vat_id|tax_id|passport|ssn)(_|$)"
)
SECRET = re.compile(r"(^|_)(password|token|secret|key|credential|otp|pin)s?(_|$)")


def reachable(message: Descriptor, *, into_output: bool) -> Iterator[tuple[str, FieldDescriptor]]:
    """Every field below a message with its path; what is output only is passed over in requests."""
    yield from _reachable(message, "", (), into_output=into_output)


def _reachable(
    message: Descriptor, path: str, above: tuple[str, ...], *, into_output: bool
) -> Iterator[tuple[str, FieldDescriptor]]:
    for field in message.fields:
        if not into_output and _is_output_only(field):
            continue
        here = f"{path}.{field.name}" if path else field.name
        yield here, field
        kind = field.message_type
        if kind is not None and not kind.full_name.startswith(WELL_KNOWN) and kind.full_name not in above:
            yield from _reachable(kind, here, (*above, message.full_name), into_output=into_output)


def _is_output_only(field: FieldDescriptor) -> bool:
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.OUTPUT_ONLY in behaviors


def rules_of(field: FieldDescriptor) -> Any:
    """What protovalidate asks of a field."""
    extension: Any = validate_pb2.field
    return field.GetOptions().Extensions[extension]


def unbounded_fields(requests: Iterable[Descriptor]) -> Iterator[str]:
    """Text, bytes and lists of a request that a caller can make as long as they like."""
    for request in requests:
        for path, field in reachable(request, into_output=False):
            rules = rules_of(field)
            if field.is_repeated and not _is_map(field):
                if not rules.repeated.max_items:
                    yield f"{request.full_name}: {path} has no max_items"
                rules = rules.repeated.items
            elif _is_map(field) and not rules.map.max_pairs:
                yield f"{request.full_name}: {path} has no max_pairs"
            if not (_is_bounded(field, rules) or _owner(field) in CHECKED_BY_CODECS):
                yield f"{request.full_name}: {path} has no max_len"


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _is_bounded(field: FieldDescriptor, rules: Any) -> bool:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bool(rules.bytes.max_len or rules.bytes.len)
    if field.type != FieldDescriptor.TYPE_STRING:
        return True
    text = rules.string
    given = getattr(text, "in")
    exact = text.max_len or text.max_bytes or text.len or given or text.const
    return bool(exact or any(getattr(text, name) for name in BOUNDED_FORMATS) or _has_fixed_length(text.pattern))


def _has_fixed_length(pattern: str) -> bool:
    """`^#[0-9a-f]{6}$` bounds the length by itself: an anchored pattern in which nothing repeats endlessly."""
    return pattern.startswith("^") and pattern.endswith("$") and not re.search(r"[*+]|,\}|\\[sSwWdD]\*", pattern)


def sixty_four_bit_fields(messages: Iterable[Descriptor]) -> Iterator[str]:
    """int64 is a string in JSON, which a browser does not add up."""
    for message in messages:
        for field in message.fields:
            if field.type in SIXTY_FOUR_BITS:
                yield f"{message.full_name}.{field.name} is of 64 bits: use int32 or double"


def open_any(responses: Iterable[Descriptor]) -> Iterator[str]:
    """An unknown type in an Any turns the response into 502."""
    for response in responses:
        if response.full_name == HTTP_BODY:
            # Sent as the bytes it holds; the transcoder does not look at its extensions.
            continue
        for path, field in reachable(response, into_output=True):
            if field.message_type is not None and field.message_type.full_name == ANY:
                yield f"{response.full_name}: {path} is an open Any"


def unbounded_answers(methods: Iterable[MethodDescriptor], allowed: Mapping[str, str]) -> Iterator[str]:
    """What an answer repeats without a page token and without a bound: once enough is written, the read fails."""
    for method in methods:
        output = method.output_type
        if output.full_name == HTTP_BODY:
            # A stream of bytes.
            continue
        for path, field in reachable(output, into_output=True):
            is_paged = "next_page_token" in output.fields_by_name and "." not in path
            is_bounded = bool(rules_of(field).repeated.max_items or rules_of(field).map.max_pairs)
            if field.is_repeated and not (is_paged or is_bounded or _owner(field) in allowed):
                yield f"{method.full_name} answers any number of {_owner(field)}"


def misnamed_enums(enums: Iterable[EnumDescriptor]) -> Iterator[str]:
    """The zero of an enum means that nobody said."""
    for enum in enums:
        first = enum.values[0]
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
        if first.number != 0 or first.name != f"{prefix}_UNSPECIFIED":
            yield f"{enum.full_name} begins with {first.name}, not {prefix}_UNSPECIFIED"


def ids_that_may_hold_a_colon(requests: Iterable[Descriptor]) -> Iterator[str]:
    """Envoy reads `id:verb` as a custom verb, so ids are UUIDs."""
    for request in requests:
        for path, field in reachable(request, into_output=False):
            if not _is_id(field):
                continue
            rules = rules_of(field)
            text = rules.repeated.items.string if field.is_repeated else rules.string
            if not (text.uuid or _excludes_colon(text.pattern) or text.Extensions[rules_pb2.owner]):
                yield f"{request.full_name}: {path} may hold a colon"


def _is_id(field: FieldDescriptor) -> bool:
    named = field.name in ("id", "ids") or field.name.endswith(("_id", "_ids"))
    # Where a stream goes on is no resource, and stands in no path.
    return named and field.name != "last_event_id"


def _excludes_colon(pattern: str) -> bool:
    return (
        bool(pattern)
        and pattern.startswith("^")
        and pattern.endswith("$")
        and ":" not in pattern
        and "." not in pattern
    )


def response_bodies(methods: Iterable[MethodDescriptor]) -> Iterator[str]:
    """Envoy refuses a configuration with response_body on an ordinary field."""
    for method in methods:
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        for part in (rule, *rule.additional_bindings):
            if part.response_body:
                yield f"{method.full_name} has the response_body {part.response_body}"


def ambiguous_json_names(messages: Iterable[Descriptor]) -> Iterator[str]:
    """Two fields with one name in JSON, or one in JSON and the other in the .proto."""
    for message in messages:
        seen: dict[str, str] = {}
        for field in message.fields:
            for name in {field.name, field.json_name}:
                other = seen.setdefault(name, field.name)
                if other != field.name:
                    yield f"{message.full_name}: {other} and {field.name} are both `{name}` in JSON"


def unmarked_personal(messages: Iterable[Descriptor], allowed: Mapping[str, str]) -> Iterator[str]:
    """What an event or an audit row holds and looks personal is marked so; secrets they do not hold."""
    looking = set()
    for message in messages:
        for path, field in reachable(message, into_output=True):
            if not PERSONAL.search(field.name):
                continue
            looking.add(_owner(field))
            is_marked = field.GetOptions().Extensions[PERSONAL_OPTION] or _is_redacted(message, path)
            if not is_marked and _owner(field) not in allowed:
                yield f"{_owner(field)} looks personal, but is not marked so"
    yield from (f"{name} is an exception, but does not look personal" for name in allowed if name not in looking)


def unredacted_secrets(methods: Iterable[MethodDescriptor], allowed: Mapping[str, str]) -> Iterator[str]:
    """What a mutation takes or answers is stored with its event and its audit row: secrets are marked debug_redact."""
    for method in methods:
        if is_read_only(method):
            continue
        for message in (method.input_type, method.output_type):
            for path, field in reachable(message, into_output=True):
                if _looks_secret(field) and not _is_redacted(message, path) and _owner(field) not in allowed:
                    yield f"{method.full_name}: {message.full_name}.{path} looks like a secret without debug_redact"


def _looks_secret(field: FieldDescriptor) -> bool:
    """An id names a secret and is none, and so does the key of a map."""
    owner: Any = field.containing_type
    is_map = owner.GetOptions().map_entry
    return bool(SECRET.search(field.name)) and field.type != field.TYPE_BOOL and not is_map and not _is_id(field)


def _is_redacted(message: Descriptor, path: str) -> bool:
    """Whether the field, or one above it, is."""
    kind: Descriptor | None = message
    for name in path.split("."):
        field = kind.fields_by_name[name] if kind is not None else None
        if field is not None and field.GetOptions().debug_redact:
            return True
        kind = field.message_type if field is not None else None
    return False


def _owner(field: Any) -> str:
    return f"{field.containing_type.full_name}.{field.name}"


def unused_allowances(messages: Iterable[Descriptor], allowed: Mapping[str, str]) -> Iterator[str]:
    """An allowance for a field that is gone would let the next one of that name pass."""
    known = {_owner(field) for message in messages for field in message.fields}
    yield from (f"{name} is allowed, but there is no such field" for name in allowed if name not in known)
