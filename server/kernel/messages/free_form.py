"""Free-form fields: JSON whose shape the caller chooses, bounded so that every reader can show what was stored.

A bound applies to a field as a whole, also to a list or a map. It is a rule of the message that declares the field
(`free_form` in plinth/policy/v1/policy.proto). Bytes are those of JSON in UTF-8 without white space, as it is stored.
Levels are those of JSON: an object of texts has one level.

Depth: protobuf parsers (C++, Java, Python) and Envoy's transcoder read 100 nested messages. A level of JSON takes up to
three, and the deepest wrapper, a list of audit entries with `before` and `after`, takes another nine. Measured with
objects in objects: lists of audit entries fail from 31 levels on, lists of pages from 33.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple, cast

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from server.extensions import FREE_FORM
from server.kernel.messages.fields import FieldValue, descriptor_of, has_behavior
from server.kernel.messages.structs import LIST_VALUE, STRUCT, FreeForm, is_list, is_struct, json_text
from server.kernel.problems import Violation

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
"""The bounds without the option."""
MOST_BYTES = 256 * 1024
MOST_DEPTH = 24
"""The largest bounds that an option may set. 24 levels take 72 messages, which leaves 28 for the answer around them."""
VALUE = Value.DESCRIPTOR.full_name
KINDS = frozenset((STRUCT, VALUE, LIST_VALUE))

# The largest ratio: a one-digit number with its comma takes 2 bytes of JSON and 11 in protobuf.
WIRE_BYTES_PER_JSON_BYTE = 6
# A control character takes 1 byte in protobuf and 6 bytes of JSON.
JSON_BYTES_PER_WIRE_BYTE = 6
# The smallest size of a level in protobuf, that of a list in a list.
WIRE_BYTES_PER_LEVEL = 4
# The bytes that begin an object or a list in a Value. Text may contain them too, so counting them gives an upper bound.
STRUCT_TAG, LIST_TAG = (
    bytes([Value.DESCRIPTOR.fields_by_name[name].number << 3 | 2]) for name in ("struct_value", "list_value")
)
_CONTAINERS = frozenset(("struct_value", "list_value"))


class Bounds(NamedTuple):
    """The bounds of a free-form field."""

    max_bytes: int
    max_depth: int


DEFAULT = Bounds(MAX_BYTES, MAX_DEPTH)


class _Field(NamedTuple):
    """A free-form field, or a field of one or more messages that contain free-form fields."""

    name: str
    bounds: Bounds | None
    """None for a message that contains such fields."""
    is_repeated: bool
    is_map: bool


# At start-up ---------------------------------------------------------------------------------------------------------


def bounds_of(field: FieldDescriptor) -> Bounds | None:
    """The bounds of a free-form field; None for a field that is not free-form."""
    kind = _map_value(field).message_type
    if kind is None or kind.full_name not in KINDS:
        return None
    option = field.GetOptions().Extensions[FREE_FORM]
    return Bounds(option.max_bytes or MAX_BYTES, option.max_depth or MAX_DEPTH)


def faults(message: Descriptor, seen: set[str] | None = None) -> Iterator[str]:
    """Options in a message, or below it, that contradict their field or exceed what can be shown."""
    seen = set() if seen is None else seen
    if message.full_name in seen or message.full_name in KINDS:
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield from _field_faults(f"{message.full_name}.{field.name}", field)
        if field.message_type is not None:
            yield from faults(field.message_type, seen)


def _field_faults(name: str, field: FieldDescriptor) -> Iterator[str]:
    if not field.GetOptions().HasExtension(FREE_FORM):
        return
    bounds, option = bounds_of(field), field.GetOptions().Extensions[FREE_FORM]
    if bounds is None:
        yield f"{name} has bounds of free-form fields, but is not free-form"
    elif option.max_bytes < 0 or option.max_depth < 0 or not (option.max_bytes or option.max_depth):
        yield f"{name} bounds nothing: max_bytes or max_depth is a number above 0"
    elif bounds.max_bytes > MOST_BYTES or bounds.max_depth > MOST_DEPTH:
        yield f"{name} may hold more than can be shown: at most {MOST_BYTES} bytes and {MOST_DEPTH} levels"


def _map_value(field: FieldDescriptor) -> FieldDescriptor:
    """The value field of a map's entries; any other field itself."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else field


@lru_cache(maxsize=4096)
def _plan(descriptor: Descriptor) -> tuple[_Field, ...]:
    """The fields of a message to check. Output-only fields are not taken from a caller."""
    planned = ((field, bounds_of(field)) for field in descriptor.fields if not _is_output_only(field))
    return tuple(
        _Field(field.name, bounds, field.is_repeated, _map_value(field) is not field)
        for field, bounds in planned
        if bounds is not None or _leads_to_free_form(_map_value(field).message_type)
    )


def _leads_to_free_form(message: Descriptor | None) -> bool:
    """Whether a message, or one below it, has a free-form field that a caller can set."""
    seen: set[str] = set()
    waiting = [message]
    while waiting:
        current = waiting.pop()
        if current is None or current.full_name in seen:
            continue
        seen.add(current.full_name)
        fields = [field for field in current.fields if not _is_output_only(field)]
        if any(bounds_of(field) is not None for field in fields):
            return True
        waiting += [_map_value(field).message_type for field in fields]
    return False


def _is_output_only(field: FieldDescriptor) -> bool:
    return has_behavior(field, field_behavior_pb2.OUTPUT_ONLY)


# Per call ------------------------------------------------------------------------------------------------------------


def violations(message: Message, path: str = "") -> list[Violation]:
    """The violated bounds of the free-form fields in a message and below it."""
    found: list[Violation] = []
    for field in _plan(descriptor_of(message)):
        if not (field.is_repeated or message.HasField(field.name)):
            continue
        value = getattr(message, field.name)
        here = f"{path}.{field.name}" if path else field.name
        if field.bounds is None:
            for place, part in _parts(field, value):
                found += violations(part, f"{here}{place}")
        else:
            parts = [part for _, part in _parts(field, value)]
            broken = _broken(parts, field.bounds)
            if broken is not None:
                found.append(Violation(here, *broken))
    return found


def _parts(field: _Field, value: FieldValue) -> Iterable[tuple[str, FieldValue]]:
    """The messages of a field, each with its index in it: a key, a number, or nothing."""
    if field.is_map:
        return [(f"[{key}]", part) for key, part in value.items()]
    return [(f"[{place}]", part) for place, part in enumerate(value)] if field.is_repeated else [("", value)]


def _broken(parts: list[FreeForm], bounds: Bounds) -> tuple[str, str] | None:
    """The fault of a field's values, and the id of the rule. The cheapest check comes first."""
    wires = [part.SerializeToString() for part in parts]
    size = sum(map(len, wires))
    if size > bounds.max_bytes * WIRE_BYTES_PER_JSON_BYTE:
        return _too_large(bounds)
    has_many = (wire.count(STRUCT_TAG) + wire.count(LIST_TAG) >= bounds.max_depth for wire in wires)
    if any(many and _is_deeper(part, bounds.max_depth) for part, many in zip(parts, has_many, strict=True)):
        return f"nests deeper than {bounds.max_depth} levels", "free_form.max_depth"
    # An empty object takes no byte in protobuf and two in JSON.
    is_near = (size + len(parts)) * JSON_BYTES_PER_WIRE_BYTE > bounds.max_bytes
    if is_near and sum(len(json_text(part).encode()) for part in parts) > bounds.max_bytes:
        return _too_large(bounds)
    return None


def _too_large(bounds: Bounds) -> tuple[str, str]:
    return f"is larger than {bounds.max_bytes} bytes of JSON", "free_form.max_bytes"


def _is_deeper(part: FreeForm, levels: int) -> bool:
    """Whether a Struct, a ListValue or a Value nests deeper than `levels`, which is at least 1."""
    if part.ByteSize() < levels * WIRE_BYTES_PER_LEVEL:
        return False
    if is_struct(part):
        return _are_deeper(part.fields.values(), levels - 1)
    if is_list(part):
        return _are_deeper(part.values, levels - 1)
    return _are_deeper((cast("Value", part),), levels)


def _are_deeper(values: Iterable[Value], levels: int) -> bool:
    """Whether one of these Values nests deeper. Values too short for that are skipped."""
    for value in values:
        kind = value.WhichOneof("kind")
        if kind not in _CONTAINERS:
            continue
        if not levels:
            return True
        inner = getattr(value, kind)
        if inner.ByteSize() >= levels * WIRE_BYTES_PER_LEVEL:
            below = inner.values if kind == "list_value" else inner.fields.values()
            if _are_deeper(below, levels - 1):
                return True
    return False
