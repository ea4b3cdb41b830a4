"""Examples of fields, in the JSON of proto3: what the .proto declares, or else what follows from a type or a rule."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from server.json_values import JsonObject, JsonValue
from server.kernel.messages.fields import enum_of, has_behavior, message_type_of
from server.reference.rules import OF_64_BITS, is_map, rules_of

ID = "01938f2a-7c4e-7b12-9d3a-5e6f70819a2b"
OPAQUE = ("page_token", "etag", "last_event_id", "refresh_token", "access_token", "ticket")
"""Strings that a caller sends as they were answered, so that none can be named beforehand."""
_PAGING: Mapping[str, JsonValue] = {"page_size": 25, "skip": 0}
_FORMATS: Mapping[str, str] = {
    "uuid": ID,
    "tuuid": ID.replace("-", ""),
    "email": "ada@example.com",
    "hostname": "www.example.com",
    "ip": "203.0.113.7",
    "ipv4": "203.0.113.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.com/",
}
_SHARED: Mapping[str, str] = {
    "slug": "opening-hours",
    "code": "night_shift",
    "hex_color": "#1f4e79",
    "http_url": "https://example.com/logo.svg",
    "full_date": "2026-11-27",
    "currency_code": "EUR",
    "owner": ID,
}
"""By the names of the rules in plinth/types/v1/rules.proto."""
_MASK = "google.protobuf.FieldMask"
_MESSAGES: Mapping[str, JsonValue] = {
    "google.protobuf.Timestamp": "2026-11-27T09:30:00Z",
    "google.protobuf.Duration": "3600s",
    "google.protobuf.Struct": {"note": "free-form"},
    "google.protobuf.Value": "free-form",
    "google.protobuf.ListValue": ["free-form"],
    "google.protobuf.Empty": {},
    "google.type.Date": {"year": 2026, "month": 11, "day": 27},
    "google.type.Money": {"currencyCode": "EUR", "units": "120", "nanos": 500_000_000},
}


def example_of(field: FieldDescriptor) -> JsonValue:
    """An example of what a caller may set a field to; None where neither its rules nor its type tell one."""
    return _of(field, ())


def examples_of(fields: Iterable[FieldDescriptor]) -> JsonObject:
    """An object with an example of each of these fields that a caller may set and that has one."""
    return _object(fields, ())


def is_settable(field: FieldDescriptor) -> bool:
    """Whether a caller may set a field."""
    return not has_behavior(field, field_behavior_pb2.OUTPUT_ONLY)


def _of(field: FieldDescriptor, above: tuple[str, ...]) -> JsonValue:
    rules = rules_of(field)
    if is_map(field):
        entry = message_type_of(field).fields_by_name
        key = _one(entry["key"], rules.map.keys, above)
        value = _one(entry["value"], rules.map.values, above)
        return None if key is None or value is None else {str(key): value}
    if field.is_repeated:
        item = _one(field, rules.repeated.items, above)
        return None if item is None else [item]
    return _one(field, rules, above)


def _one(field: FieldDescriptor, rules: validate_pb2.FieldRules, above: tuple[str, ...]) -> JsonValue:
    """An example of one value."""
    declared = _declared(field, rules)
    if declared is not None:
        return declared
    if field.message_type is not None:
        return _mask(field) if message_type_of(field).full_name == _MASK else _message(message_type_of(field), above)
    if field.enum_type is not None:
        return _enum(enum_of(field), list(getattr(rules.enum, "in")))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_STRING:
        return ID if field.name.endswith("_id") and field.name not in OPAQUE else _string(rules.string)
    return _PAGING.get(field.name)


def _declared(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> JsonValue:
    """The first `example` of the rules (protovalidate)."""
    kind = rules.WhichOneof("type")
    own: Any = getattr(rules, kind) if kind is not None else None
    examples = list(getattr(own, "example", ()))
    if not examples:
        return None
    return _as_json(field, examples[0])


def _as_json(field: FieldDescriptor, value: Any) -> JsonValue:
    if isinstance(value, Message):
        written: JsonValue = json.loads(MessageToJson(value))
        return written
    if field.enum_type is not None:
        return enum_of(field).values_by_number[value].name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    # JSON has integers of 64 bits as strings.
    return str(value) if field.type in OF_64_BITS else value


def _message(message: Descriptor, above: tuple[str, ...]) -> JsonValue:
    if message.full_name in _MESSAGES:
        return _MESSAGES[message.full_name]
    if message.full_name in above or message.full_name.startswith("google."):
        return None
    return _object(message.fields, (*above, message.full_name)) or None


def _object(fields: Iterable[FieldDescriptor], above: tuple[str, ...]) -> JsonObject:
    """Of the fields of a oneof, the first."""
    found: JsonObject = {}
    chosen: set[str] = set()
    for field in fields:
        one_of = field.containing_oneof.full_name if field.containing_oneof is not None else field.full_name
        value = _of(field, above) if is_settable(field) and one_of not in chosen else None
        if value is not None:
            found[field.json_name] = value
            chosen.add(one_of)
    return found


def _mask(field: FieldDescriptor) -> JsonValue:
    """The first field that a caller may set of the resource in the same request."""
    request = field.containing_type
    fields = request.fields if request is not None else ()
    beside = [message_type_of(other) for other in fields if other.message_type is not None]
    names = [each.json_name for resource in beside for each in resource.fields if is_settable(each)]
    return names[0] if names else None


def _enum(enum: EnumDescriptor, allowed: list[int]) -> JsonValue:
    """The first value that means something."""
    numbers = allowed or [value.number for value in enum.values if value.number]
    return enum.values_by_number[numbers[0]].name if numbers else None


def _string(rules: validate_pb2.StringRules) -> JsonValue:
    given = list(getattr(rules, "in"))
    if rules.const or given:
        return rules.const or next(filter(None, given), None)
    for rule, _ in rules.ListFields():
        if rule.is_extension and rule.name in _SHARED:
            return _SHARED[rule.name]
    return _FORMATS.get(rules.WhichOneof("well_known") or "")
