"""Messages and enums as schemas (JSON Schema 2020-12, as OpenAPI 3.1 uses it), in the JSON of proto3."""

from collections.abc import Iterator, Mapping

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2 as pb

from server.json_values import JsonObject
from server.reference.contract import Field, Message, Source
from server.reference.rules import keywords, of_items, rules_of

_Kind = pb.FieldDescriptorProto
_INT64 = (_Kind.TYPE_INT64, _Kind.TYPE_UINT64, _Kind.TYPE_SINT64, _Kind.TYPE_FIXED64, _Kind.TYPE_SFIXED64)
_INT32 = (_Kind.TYPE_INT32, _Kind.TYPE_UINT32, _Kind.TYPE_SINT32, _Kind.TYPE_FIXED32, _Kind.TYPE_SFIXED32)
_INT64_SCHEMA: JsonObject = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_INT32_SCHEMA: JsonObject = {"type": "integer", "format": "int32"}
_SCALARS: Mapping[int, JsonObject] = {
    **dict.fromkeys(_INT64, _INT64_SCHEMA),
    **dict.fromkeys(_INT32, _INT32_SCHEMA),
    _Kind.TYPE_DOUBLE: {"type": "number"},
    _Kind.TYPE_FLOAT: {"type": "number"},
    _Kind.TYPE_BOOL: {"type": "boolean"},
    _Kind.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
WELL_KNOWN: Mapping[str, JsonObject] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["1.5s"]},
    "google.protobuf.FieldMask": {"type": "string", "description": "Fields, separated by commas."},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
}


class Schemas:
    """The schemas of a contract. Each that is asked for is a component, and so is what it refers to."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.components: dict[str, JsonObject] = {}

    def reference(self, name: str) -> JsonObject:
        """A reference to a message or an enum."""
        if name in WELL_KNOWN:
            return dict(WELL_KNOWN[name])
        component = component_name(name)
        if component not in self.components:
            # Entered first, since messages may refer to themselves.
            self.components[component] = {}
            self.components[component] = self._enum(name) if name in self._source.enums else self._message(name)
        return {"$ref": f"#/components/schemas/{component}"}

    def object_of(self, message: Message, fields: tuple[Field, ...]) -> JsonObject:
        """A schema of some fields of a message, with those that are required."""
        found: JsonObject = {"type": "object", "properties": {field.name: self.of(field) for field in fields}}
        if message.comment:
            found["description"] = message.comment
        required = [field.name for field in fields if has(field, field_behavior_pb2.REQUIRED)]
        return found | ({"required": required} if required else {})

    def of(self, field: Field) -> JsonObject:
        """The schema of a field."""
        entry = self._source.messages.get(field.type_name)
        if entry is not None and entry.descriptor.options.map_entry:
            found: JsonObject = {"type": "object", "additionalProperties": self.of(entry.fields[1])}
        elif field.is_repeated:
            found = {"type": "array", "items": self._one(field) | of_items(rules_of(field.descriptor))}
        else:
            found = self._one(field)
        return found | keywords(rules_of(field.descriptor)) | _annotations(field)

    def _one(self, field: Field) -> JsonObject:
        kind = field.descriptor.type
        if kind in (_Kind.TYPE_MESSAGE, _Kind.TYPE_ENUM):
            return self.reference(field.type_name)
        return dict(_SCALARS.get(kind, {"type": "string"}))

    def _message(self, name: str) -> JsonObject:
        message = self._source.messages[name]
        found = self.object_of(message, message.fields)
        # An update names only what changes, so an operation says what a creation needs.
        found.pop("required", None)
        return found

    def _enum(self, name: str) -> JsonObject:
        enum = self._source.enums[name]
        lines = [f"- `{value.name}`: {value.comment}" for value in enum.values[1:] if value.comment]
        text = "\n".join([enum.comment, *lines]).strip()
        return {"type": "string", "enum": [value.name for value in enum.values], "description": text}


def component_name(name: str) -> str:
    """`plinth.sites.v1.Page.Status` as `sites.Page.Status`."""
    parts = [part for part in name.removeprefix("plinth.").split(".") if part != "v1"]
    return ".".join(parts)


def has(field: Field, behavior: int) -> bool:
    """Whether a field has a behaviour (AIP-203)."""
    return behavior in field.descriptor.options.Extensions[field_behavior_pb2.field_behavior]


def _annotations(field: Field) -> JsonObject:
    found: JsonObject = {}
    sentences = list(_sentences(field))
    if sentences:
        found["description"] = " ".join(sentences)
    if has(field, field_behavior_pb2.OUTPUT_ONLY):
        found["readOnly"] = True
    if has(field, field_behavior_pb2.INPUT_ONLY):
        found["writeOnly"] = True
    if field.descriptor.options.deprecated:
        found["deprecated"] = True
    return found


def _sentences(field: Field) -> Iterator[str]:
    if field.comment:
        yield field.comment
    if has(field, field_behavior_pb2.IMMUTABLE):
        yield "It keeps the value that it is created with."
