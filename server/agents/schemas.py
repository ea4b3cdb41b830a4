"""The arguments of tools as JSON Schema, each in one piece: not every model reads `$ref`."""

from collections.abc import Mapping

from server.agents.tools import Tool
from server.json_values import JsonObject, JsonValue
from server.reference.inputs import FREE_FORM, Inputs

PREVIEW = "preview"
"""The argument of a tool that changes something: whether to show only what would come of it."""
_REFERENCE = "$ref"
_PREVIEW_SCHEMA: Mapping[str, JsonValue] = {
    "type": "boolean",
    "default": True,
    "description": "true shows what the call would answer, and changes nothing. Show that to the person you work for "
    "before you call again with false.",
}
# Of no use to a model.
_DROPPED = ("x-optional", "readOnly", "writeOnly", "contentEncoding")
_FORMATS = ("uuid", "date-time", "date", "uri", "email")
_TENANT = "tenantId"


class ToolSchemas:
    """Makes schemas."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        """`comments` by full name."""
        self._inputs = Inputs(comments)
        self._made: dict[str, JsonObject] = {}

    def of(self, tool: Tool) -> JsonObject:
        """The schema of the arguments. Raises ValueError if a request has a field that is named like the preview."""
        if tool.name not in self._made:
            self._made[tool.name] = self._schema(tool)
        return self._made[tool.name]

    def _schema(self, tool: Tool) -> JsonObject:
        request = tool.method.descriptor.input_type
        if any(field.json_name == PREVIEW for field in request.fields):
            raise ValueError(
                f"{request.full_name} has a field `{PREVIEW}`, which tools of agents have already: rename it"
            )
        found = self._in_one_piece(self._inputs.object_of(request, list(request.fields)), ())
        # The tool says better what the comment of the request says.
        found.pop("description", None)
        properties, required = found["properties"], found.pop("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise TypeError("an object has properties")
        if tool.method.has_tenant:
            properties[_TENANT] = {"type": "string", "format": "uuid", "description": "Your tenant, if it is left out."}
        if tool.can_be_previewed:
            properties[PREVIEW] = dict(_PREVIEW_SCHEMA)
        needed: list[JsonValue] = [name for name in required if name != _TENANT or not tool.method.has_tenant]
        return found | ({"required": needed} if needed else {})

    def _in_one_piece(self, schema: Mapping[str, JsonValue], above: tuple[str, ...]) -> JsonObject:
        """The schema without references, without nulls, and without what cannot be sent."""
        name = schema.get(_REFERENCE)
        if isinstance(name, str):
            component = name.rpartition("/")[2]
            beside = {key: value for key, value in schema.items() if key != _REFERENCE}
            if component in FREE_FORM or component in above:
                # Any JSON, or a message within itself, whose fields stand above.
                kind = self._inputs.components[component].get("type")
                return {**({"type": kind} if kind else {}), **beside}
            return self._in_one_piece({**self._inputs.components[component], **beside}, (*above, component))
        choices = schema.get("anyOf")
        if isinstance(choices, list):
            others = [choice for choice in choices if choice != {"type": "null"}]
            if len(others) == 1 and isinstance(others[0], dict):
                beside = {key: value for key, value in schema.items() if key != "anyOf"}
                return self._in_one_piece({**others[0], **beside}, above)
        found = {key: self._value(key, value, above) for key, value in schema.items() if key not in _DROPPED}
        if found.get("format") == "uuid":
            # An id that is an example would be tried.
            found.pop("examples", None)
        elif found.get("format") not in _FORMATS:
            found.pop("format", None)
        return found

    def _value(self, key: str, value: JsonValue, above: tuple[str, ...]) -> JsonValue:
        if key == "properties" and isinstance(value, dict):
            return {
                name: self._in_one_piece(each, above)
                for name, each in value.items()
                if isinstance(each, dict) and not each.get("readOnly")
            }
        if key == "type" and isinstance(value, list):
            kinds = [kind for kind in value if kind != "null"]
            return kinds[0] if len(kinds) == 1 else kinds
        if isinstance(value, dict) and key not in ("examples", "default"):
            return self._in_one_piece(value, above)
        if isinstance(value, list) and key not in ("examples", "enum", "required"):
            return [self._in_one_piece(each, above) if isinstance(each, dict) else each for each in value]
        return value
