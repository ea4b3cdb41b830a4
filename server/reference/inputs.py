"""Messages as callers send them: nothing beside their fields, null for what is not set, and one field of a oneof."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from google.api import resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator

from server.json_values import JsonObject, JsonValue
from server.reference.schemas import Schemas, reference_to

ANY_JSON = "FreeForm.Value"
"""The component of a value in free-form JSON, which may hold others."""
_FREE, _LIST = "FreeForm", "FreeForm.List"
_LARGEST = 2**53 - 1
# PostgreSQL stores none.
WITHOUT_NUL = r"^[^\u0000]*$"
RULED = {"pattern", "format", "enum", "const", "anyOf"}
"""Keywords of texts that hold no NUL anyway."""
FREE_FORM: Mapping[str, JsonObject] = {
    _FREE: {
        "type": "object",
        "description": "Free-form JSON. Keys are not empty, keys and texts hold no NUL, and numbers are those that "
        "every reader of JSON keeps.",
        "propertyNames": {"minLength": 1, "pattern": WITHOUT_NUL},
        "additionalProperties": reference_to(ANY_JSON),
    },
    _LIST: {"type": "array", "items": reference_to(ANY_JSON)},
    ANY_JSON: {
        "anyOf": [
            {"type": ["null", "boolean"]},
            {"type": "string", "pattern": WITHOUT_NUL},
            {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST},
            reference_to(_LIST),
            reference_to(_FREE),
        ]
    },
}
_NAMES = {
    "google.protobuf.Struct": _FREE,
    "google.protobuf.Value": ANY_JSON,
    "google.protobuf.ListValue": _LIST,
}


class Inputs(Schemas):
    """The schemas of what is sent. Those of messages are components of their own, since answers may gain fields."""

    suffix = "Input"

    def __init__(self, comments: Mapping[str, str]) -> None:
        super().__init__(comments)
        self._validator = Validator()
        self._broken: dict[str, frozenset[str]] = {}

    def reference(self, message: Descriptor) -> JsonObject:
        """A reference to a message."""
        if message.full_name in _NAMES:
            self.components |= FREE_FORM
            return reference_to(_NAMES[message.full_name])
        return super().reference(message)

    def object_of(self, message: Descriptor, fields: Sequence[FieldDescriptor]) -> JsonObject:
        """A schema of some fields of a message, with those that are required."""
        found = super().object_of(message, fields)
        required = [field.json_name for field in fields if self.is_needed(field)]
        properties: JsonObject = {field.json_name: self._or_null(field) for field in fields}
        found["properties"], found["additionalProperties"] = properties, False
        found |= _one_of(message, fields)
        return found | ({"required": required} if required else {})

    def is_whole(self, message: Descriptor) -> bool:
        """All but resources: an update names only what changes, so an operation says what a creation needs."""
        return not message.GetOptions().Extensions[resource_pb2.resource].type

    def is_needed(self, field: FieldDescriptor) -> bool:
        """Whether a request without this field breaks a rule."""
        return super().is_needed(field) or field.name in self._broken_without(field.containing_type)

    def _broken_without(self, message: Descriptor | None) -> frozenset[str]:
        """The fields whose rules refuse what they are when nobody sets them."""
        if message is None:
            return frozenset()
        if message.full_name not in self._broken:
            found = self._validator.collect_violations(GetMessageClass(message)())
            paths = [violation.proto.field.elements for violation in found if violation.proto.field is not None]
            self._broken[message.full_name] = frozenset(path[0].field_name for path in paths if path)
        return self._broken[message.full_name]

    def _or_null(self, field: FieldDescriptor) -> JsonValue:
        schema = _without_nul(self.of(field))
        if self.is_needed(field):
            return schema
        if isinstance(schema.get("type"), str) and "enum" not in schema:
            return schema | {"type": [schema["type"], "null"]}
        about = {
            name: schema.pop(name) for name in ("description", "readOnly", "writeOnly", "examples") if name in schema
        }
        return about | {"anyOf": [schema, {"type": "null"}]}


def _without_nul(schema: JsonObject) -> JsonObject:
    """A text without rules of its own, or a list of such texts, with the rule that every text keeps."""
    items = schema.get("items")
    if isinstance(items, dict):
        return {**schema, "items": _without_nul(items)}
    is_plain = schema.get("type") == "string" and not RULED & schema.keys()
    return {**schema, "pattern": WITHOUT_NUL} if is_plain else schema


def _one_of(message: Descriptor, fields: Sequence[FieldDescriptor]) -> JsonObject:
    """That of a oneof, one field is set."""
    choices = [each for each in message.oneofs if len(each.fields) > 1]
    if len(choices) == 1 and len(choices[0].fields) == len(fields):
        return {"maxProperties": 1}
    pairs = [[first.json_name, second.json_name] for each in choices for first, second in combinations(each.fields, 2)]
    return {"allOf": [{"not": {"required": pair}} for pair in pairs]} if pairs else {}
