"""Messages and enums as schemas (JSON Schema 2020-12, as OpenAPI 3.1 uses it), in the JSON of proto3."""

from collections.abc import Iterator, Mapping, Sequence

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from server.json_values import JsonObject
from server.kernel.messages.fields import enum_of, has_behavior, message_type_of
from server.reference.examples import example_of, is_settable
from server.reference.rules import OF_64_BITS, is_map, keywords, of_items, rules_of

_Kind = FieldDescriptor
_INT32 = (_Kind.TYPE_INT32, _Kind.TYPE_UINT32, _Kind.TYPE_SINT32, _Kind.TYPE_FIXED32, _Kind.TYPE_SFIXED32)
_INT64_SCHEMA: JsonObject = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_INT32_SCHEMA: JsonObject = {"type": "integer", "format": "int32"}
_SCALARS: Mapping[int, JsonObject] = {
    **dict.fromkeys(OF_64_BITS, _INT64_SCHEMA),
    **dict.fromkeys(_INT32, _INT32_SCHEMA),
    _Kind.TYPE_DOUBLE: {"type": "number"},
    _Kind.TYPE_FLOAT: {"type": "number"},
    _Kind.TYPE_BOOL: {"type": "boolean"},
    _Kind.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
WELL_KNOWN: Mapping[str, JsonObject] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    # Some 3,000 years at most: a third of what the type holds.
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?(0|[1-9][0-9]{0,10})(\.[0-9]{1,9})?s$",
        "examples": ["1.5s"],
    },
    "google.protobuf.FieldMask": {"type": "string", "description": "Fields, separated by commas."},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
}


class Schemas:
    """The schemas of what is answered. Each that is asked for is a component, and so is what it refers to."""

    suffix = ""
    """What follows the names of the components of messages."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        """`comments` by full name."""
        self._comments = comments
        self.components: dict[str, JsonObject] = {}

    def comment(self, full_name: str) -> str:
        """The comment of a message, field or enum; empty without one."""
        return self._comments.get(full_name, "")

    def reference(self, message: Descriptor) -> JsonObject:
        """A reference to a message."""
        if message.full_name in WELL_KNOWN:
            return dict(WELL_KNOWN[message.full_name])
        component = component_name(message.full_name) + self.suffix
        if component not in self.components:
            # Entered first, since messages may refer to themselves.
            self.components[component] = {}
            self.components[component] = self._message(message)
        return reference_to(component)

    def object_of(self, message: Descriptor, fields: Sequence[FieldDescriptor]) -> JsonObject:
        """A schema of some fields of a message, with those that are required."""
        properties: JsonObject = {field.json_name: self.of(field) | _presence(field) for field in fields}
        found: JsonObject = {"type": "object", "properties": properties}
        comment = self.comment(message.full_name)
        if comment:
            found["description"] = comment
        required = [field.json_name for field in fields if self.is_needed(field)]
        return found | ({"required": required} if required else {})

    def is_needed(self, field: FieldDescriptor) -> bool:
        """Whether a message has to have this field."""
        return has_behavior(field, field_behavior_pb2.REQUIRED)

    def of(self, field: FieldDescriptor) -> JsonObject:
        """The schema of a field."""
        if is_map(field):
            value = message_type_of(field).fields_by_name["value"]
            found: JsonObject = {"type": "object", "additionalProperties": self.of(value)}
        elif field.is_repeated:
            rules = rules_of(field)
            found = {"type": "array", "items": self._one(field) | of_items(rules) | _but(field, rules.repeated.items)}
        else:
            found = self._one(field) | _but(field, rules_of(field))
        return found | keywords(rules_of(field)) | self._annotations(field)

    def _one(self, field: FieldDescriptor) -> JsonObject:
        if field.message_type is not None:
            return self.reference(message_type_of(field))
        if field.enum_type is not None:
            return self._enum_reference(enum_of(field))
        return dict(_SCALARS.get(field.type, {"type": "string"}))

    def _message(self, message: Descriptor) -> JsonObject:
        found = self.object_of(message, message.fields)
        if not self.is_whole(message):
            found.pop("required", None)
        return found

    def is_whole(self, message: Descriptor) -> bool:
        """Whether what a message has to have is there wherever it stands. Answers leave out messages that are unset."""
        return message.name.endswith("Request")

    def _enum_reference(self, enum: EnumDescriptor) -> JsonObject:
        component = component_name(enum.full_name)
        if component not in self.components:
            names = [value.name for value in enum.values]
            comments = {name: self.comment(f"{enum.full_name}.{name}") for name in names}
            lines = [f"- `{name}`: {comments[name]}" for name in names[1:] if comments[name]]
            text = "\n".join([self.comment(enum.full_name), *lines]).strip()
            self.components[component] = {"type": "string", "enum": names, "description": text}
        return reference_to(component)

    def _annotations(self, field: FieldDescriptor) -> JsonObject:
        found: JsonObject = {}
        sentences = list(self._sentences(field))
        if sentences:
            found["description"] = " ".join(sentences)
        if has_behavior(field, field_behavior_pb2.OUTPUT_ONLY):
            found["readOnly"] = True
        # Answers have every list, if only an empty one.
        if has_behavior(field, field_behavior_pb2.INPUT_ONLY) and not field.is_repeated:
            found["writeOnly"] = True
        if field.GetOptions().deprecated:
            found["deprecated"] = True
        example = example_of(field) if _shows_example(field) else None
        if example is not None:
            found["examples"] = [example]
        return found

    def _sentences(self, field: FieldDescriptor) -> Iterator[str]:
        comment = self.comment(field.full_name)
        if comment:
            yield comment
        if has_behavior(field, field_behavior_pb2.IMMUTABLE):
            yield "It keeps the value that it is created with."


def _shows_example(field: FieldDescriptor) -> bool:
    """Whether an example says more than the type: not where the schema of a message or an enum has it already."""
    return is_settable(field) and (field.message_type is None or is_map(field)) and field.enum_type is None


def _presence(field: FieldDescriptor) -> JsonObject:
    """Whether an answer leaves the field out while it is not set. Other fields are always in it."""
    return {"x-optional": True} if field.has_presence else {}


def component_name(name: str) -> str:
    """`plinth.sites.v1.Page.Status` as `sites.Page.Status`."""
    parts = [part for part in name.removeprefix("plinth.").split(".") if part != "v1"]
    return ".".join(parts)


def reference_to(component: str) -> JsonObject:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{component}"}


def _but(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> JsonObject:
    """The values of an enum that a field does not take."""
    if field.enum_type is None or not rules.enum.not_in:
        return {}
    values = enum_of(field).values_by_number
    return {"not": {"enum": [values[number].name for number in rules.enum.not_in]}}
