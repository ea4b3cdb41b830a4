"""The changes of a mutation, as an audit entry shows them: field by field, before and after, without secrets.

Fields marked `debug_redact` are left out. Fields marked `personal` (plinth/policy/v1/policy.proto), or with such a
field below them, are kept apart, because an erasure must be able to remove them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
from typing import NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from plinth.policy.v1 import policy_pb2

from server.json_values import JsonValue
from server.kernel.messages.fields import FieldValue, descriptor_of, option_of
from server.kernel.messages.redact import redacted
from server.kernel.messages.structs import STRUCT, TIMESTAMP, plain_struct

# Left out: they change with every write.
SELF_EVIDENT = ("etag", "update_time")
LONGEST_VALUE = 4096
"""Characters of JSON. A longer value is replaced by its length and its SHA-256."""
LONGEST_CHANGES = 256 * 1024
"""Characters of JSON per entry. Beyond them, every value is replaced by its length and its SHA-256."""
# Made once: json.dumps makes an encoder per call unless all its arguments are defaults.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class Changes(NamedTuple):
    """JSON objects that map a field, by its REST name, to `before` and `after`. Empty text if nothing changed."""

    plain: str
    personal: str


NOTHING = Changes("", "")


class _Field(NamedTuple):
    number: int
    json_name: str
    is_personal: bool
    kind: str
    """`enum`, `struct`, `time`, `message`, `bytes` or empty; prefixed with `*` if repeated."""
    enum: EnumDescriptor | None


def changes_of(before: Message | None, after: Message | None, longest: int = LONGEST_VALUE) -> Changes:
    """The differences between two messages of one type. None stands for a resource that does not exist.

    A value with more than `longest` characters of JSON is replaced by its length and its SHA-256.
    """
    message = after if after is not None else before
    if message is None:
        return NOTHING
    old, new = _fields_of(before), _fields_of(after)
    plain: list[str] = []
    personal: list[str] = []
    for field in _plan(descriptor_of(message)):
        was, now = old.get(field.number), new.get(field.number)
        if was == now:
            continue
        sides = ((side, value) for side, value in (("after", now), ("before", was)) if value is not None)
        change = ",".join([f'"{side}":{_shown(field, value, longest)}' for side, value in sides])
        (personal if field.is_personal else plain).append(f'"{field.json_name}":{{{change}}}')
    return Changes(_object(plain), _object(personal))


def _object(members: list[str]) -> str:
    return f"{{{','.join(members)}}}" if members else ""


def _fields_of(message: Message | None) -> dict[int, FieldValue]:
    if message is None:
        return {}
    return {field.number: value for field, value in redacted(message).ListFields()}


@lru_cache(maxsize=1024)
def _plan(descriptor: Descriptor) -> tuple[_Field, ...]:
    """The fields sorted by name, so that equal changes give equal texts."""
    told = (
        _Field(field.number, field.json_name, _is_personal(field, ()), _kind(field), field.enum_type)
        for field in descriptor.fields
        if field.name not in SELF_EVIDENT
    )
    return tuple(sorted(told, key=attrgetter("json_name")))


def _is_personal(field: FieldDescriptor, above: tuple[str, ...]) -> bool:
    """Whether a field, or one below it, is personal."""
    if option_of(field, policy_pb2.personal):
        return True
    below = field.message_type
    if below is None or below.full_name in above:
        return False
    return any(_is_personal(part, (*above, below.full_name)) for part in below.fields)


def _kind(field: FieldDescriptor) -> str:
    repeated = "*" if field.is_repeated else ""
    if field.message_type is not None:
        return repeated + {STRUCT: "struct", TIMESTAMP: "time"}.get(field.message_type.full_name, "message")
    if field.enum_type is not None:
        return f"{repeated}enum"
    return f"{repeated}bytes" if field.type == FieldDescriptor.TYPE_BYTES else repeated


def changes_of_all(pairs: Sequence[tuple[Message | None, Message | None]]) -> list[Changes]:
    """The changes of one call, within the bounds of one entry."""
    found = [changes_of(*pair) for pair in pairs]
    if sum(len(plain) + len(personal) for plain, personal in found) <= LONGEST_CHANGES:
        return found
    return [changes_of(*pair, longest=0) for pair in pairs]


def _shown(field: _Field, value: FieldValue, longest: int) -> str:
    """The value of a field as JSON text, or its length and SHA-256 if it is too long."""
    plain = value if type(value) is str else _plain(field, value)
    text = encode_basestring(plain) if type(plain) is str else _encode(plain)
    if len(text) <= longest:
        return text
    return f'{{"length":{len(text)},"sha256":"{hashlib.sha256(text.encode()).hexdigest()}"}}'


def _plain(field: _Field, value: FieldValue) -> JsonValue:
    """The value of a field as plain JSON."""
    if field.kind == "*message":
        return _many(value)
    convert = _CONVERTERS.get(field.kind.removeprefix("*"))
    if convert is None:
        return list(value) if field.kind else value
    return [convert(field, part) for part in value] if field.kind.startswith("*") else convert(field, value)


def _enum_name(field: _Field, number: int) -> JsonValue:
    known = field.enum.values_by_number.get(number) if field.enum else None
    return known.name if known else number


_CONVERTERS: dict[str, Callable[[_Field, FieldValue], JsonValue]] = {
    "enum": _enum_name,
    "time": lambda _, value: value.ToJsonString(),
    "struct": lambda _, value: plain_struct(value),
    "message": lambda _, value: json_format.MessageToDict(value),
    "bytes": lambda _, value: value.hex(),
}


def _many(value: FieldValue) -> JsonValue:
    """A list of messages, or a map."""
    if hasattr(value, "items"):
        return {
            str(key): json_format.MessageToDict(part) if isinstance(part, Message) else part
            for key, part in value.items()
        }
    return [json_format.MessageToDict(part) for part in value]
