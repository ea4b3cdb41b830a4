"""The rules of a field (protovalidate) as keywords of JSON Schema, as far as JSON Schema can say them."""

from collections.abc import Mapping

from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2 as pb
from google.protobuf.message import Message

from server.extensions import RULES
from server.json_values import JsonObject

_BOUNDS = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
_FORMATS = {"uuid": "uuid", "email": "email", "uri": "uri", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6"}
# The patterns of plinth/types/v1/rules.proto, which say there what they mean.
_SHARED: Mapping[str, JsonObject] = {
    "plinth.types.v1.slug": {"pattern": "^([a-z0-9]+(-[a-z0-9]+)*)?$"},
    "plinth.types.v1.code": {"pattern": "^([a-z][a-z0-9_-]*)?$"},
    "plinth.types.v1.hex_color": {"pattern": "^(#[0-9a-fA-F]{6})?$"},
    "plinth.types.v1.http_url": {"pattern": "^(https?://[^\\s]+)?$"},
    "plinth.types.v1.full_date": {"pattern": "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"},
    "plinth.types.v1.currency_code": {"pattern": "^([A-Z]{3})?$"},
    "plinth.types.v1.owner": {"pattern": "^(-|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$"},
}


def rules_of(field: pb.FieldDescriptorProto) -> validate_pb2.FieldRules:
    """The rules of a field; empty if it has none."""
    return field.options.Extensions[RULES]


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
        found |= _SHARED.get(field.full_name, {})
    known = own.WhichOneof("well_known")
    # A format would refuse the empty text, which means "not set".
    if known in _FORMATS and not may_be_empty:
        found["format"] = _FORMATS[known]
    return found


def _present(own: Message, names: Mapping[str, str]) -> JsonObject:
    """The rules that are set, as keywords."""
    set_here = {field.name: value for field, value in own.ListFields()}
    return {keyword: set_here[name] for name, keyword in names.items() if name in set_here}
