"""The rules of a field (protovalidate) as keywords of JSON Schema, as far as JSON Schema can say them."""

import re
from collections.abc import Mapping

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from server.json_values import JsonObject
from server.kernel.messages.fields import option_of

_Kind = FieldDescriptor
OF_64_BITS = (_Kind.TYPE_INT64, _Kind.TYPE_UINT64, _Kind.TYPE_SINT64, _Kind.TYPE_FIXED64, _Kind.TYPE_SFIXED64)
"""The types of integers that JSON has as strings."""
_BOUNDS = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
_FORMATS = {"uuid": "uuid", "email": "email", "uri": "uri", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6"}
_MATCHES = re.compile(r"this\.matches\('(.*)'\)")


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The rules of a field; none are set if it has none."""
    rules: validate_pb2.FieldRules = option_of(field, validate_pb2.field)
    return rules


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map, which protobuf has as a list of entries."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def keywords(rules: validate_pb2.FieldRules) -> JsonObject:
    """The keywords for a value, or for a whole list."""
    kind = rules.WhichOneof("type")
    if kind is None:
        return {}
    if kind == "string":
        return _string(rules.string, may_be_empty=rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE)
    if kind == "repeated":
        return _present(rules.repeated, {"min_items": "minItems", "max_items": "maxItems", "unique": "uniqueItems"})
    if kind == "map":
        return _present(rules.map, {"min_pairs": "minProperties", "max_pairs": "maxProperties"})
    numbers: Mapping[str, Message] = {
        "int32": rules.int32,
        "uint32": rules.uint32,
        "double": rules.double,
        "float": rules.float,
    }
    return _present(numbers[kind], _BOUNDS) if kind in numbers else {}


def of_items(rules: validate_pb2.FieldRules) -> JsonObject:
    """The keywords for each item of a list."""
    return keywords(rules.repeated.items) if rules.WhichOneof("type") == "repeated" else {}


def _string(own: validate_pb2.StringRules, *, may_be_empty: bool) -> JsonObject:
    found = _present(own, {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"})
    if getattr(own, "in"):
        found["enum"] = list(getattr(own, "in"))
    for field, _ in own.ListFields():
        if field.is_extension:
            found |= _shared(field)
    known = own.WhichOneof("well_known")
    if known in _FORMATS and not may_be_empty:
        found["format"] = _FORMATS[known]
    elif known in _FORMATS:
        # The empty text means "not set". A format would refuse it.
        found["anyOf"] = [{"format": _FORMATS[known]}, {"const": ""}]
    return found


def _shared(rule: FieldDescriptor) -> JsonObject:
    """The pattern of a rule that several resources share (plinth/types/v1/rules.proto), if it is a single one."""
    expressions = [each.expression for each in option_of(rule, validate_pb2.predefined).cel]
    pattern = _MATCHES.fullmatch(expressions[0]) if len(expressions) == 1 else None
    # A string of CEL escapes backslashes.
    return {"pattern": pattern[1].replace("\\\\", "\\")} if pattern is not None else {}


def _present(own: Message, names: Mapping[str, str]) -> JsonObject:
    """The rules that are set, as keywords."""
    set_here = {field.name: value for field, value in own.ListFields()}
    return {keyword: set_here[name] for name, keyword in names.items() if name in set_here}
