"""Values that a schema accepts: its own example where it has one, and otherwise one that its type and rules suggest."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# By format. Ids and addresses are those that standards keep for examples.
_FORMATS: Mapping[str, str] = {
    "uuid": "0190b3c8-0000-7000-8000-000000000000",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://www.example.com/",
    "hostname": "www.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "int64": "1",
}
# For a pattern, the first of these that matches it.
_TEXTS = (
    *("example", "Example", "2026-01-31", "12:00", "EUR", "DE", "en", "#336699", "1.5s", "1", "a.b.c", "example.com"),
    *("https://www.example.com/", "/example", "192.0.2.1", "page.*", "0190b3c8-0000-7000-8000-000000000000"),
)
_NAMES: Mapping[str, str] = {
    "email": "ada@example.com",
    "password": "Correct-horse-9",
    "title": "Hello",
    "name": "Acme",
}
# A short body has these where they are, required or not.
_TELLING = ("title", "name")
Schema = Mapping[str, Any]


class Examples:
    """Examples of the schemas of a document."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        """`components` are the schemas that references name."""
        self._components = components

    def of(self, schema: Schema, name: str = "") -> Any:
        """A value for what has this schema and name, as JSON."""
        return self._value(schema, name, ())

    def body(self, schema: Schema) -> dict[str, Any]:
        """A short object: the fields that are required and those that tell what it is, or else the first one."""
        required, fields = self._writable(schema, ())
        chosen = [name for name in fields if name in required or name in _TELLING] or list(fields)[:1]
        return {name: self._value(fields[name], name, ()) for name in chosen}

    def _value(self, schema: Schema, name: str, above: tuple[str, ...]) -> Any:
        given = next(self._given(schema), None)
        if given is not None:
            return given
        if "$ref" in schema:
            component = component_of(schema)
            return {} if component in above else self._value(self._components[component], name, (*above, component))
        if "enum" in schema:
            return next((each for each in schema["enum"] if not each.endswith("_UNSPECIFIED")), schema["enum"][0])
        kind = schema.get("type")
        if kind == "array":
            return [self._value(schema["items"], name.removesuffix("s"), above)]
        if kind == "object" or "allOf" in schema:
            return self._object(schema, above)
        return _scalar(schema, name)

    def _given(self, schema: Schema) -> Iterator[Any]:
        yield from schema.get("examples", ())
        for keyword in ("example", "default", "const"):
            if keyword in schema:
                yield schema[keyword]

    def _object(self, schema: Schema, above: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(schema.get("additionalProperties"), Mapping):
            return {"key": self._value(schema["additionalProperties"], "", above)}
        _, fields = self._writable(schema, above)
        return {
            name: self._value(below, name, above) for name, below in fields.items() if not self._recurs(below, above)
        }

    def _recurs(self, schema: Schema, above: tuple[str, ...]) -> bool:
        inner = schema.get("items", schema)
        return "$ref" in inner and component_of(inner) in above

    def _writable(self, schema: Schema, above: tuple[str, ...]) -> tuple[set[str], dict[str, Schema]]:
        """The names that are required, and the fields that a caller may write."""
        required: set[str] = set(schema.get("required", ()))
        fields = {name: each for name, each in schema.get("properties", {}).items() if not each.get("readOnly")}
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema and component_of(schema) not in above:
            parts.append(self._components[component_of(schema)])
        for part in parts:
            more, others = self._writable(part, above)
            required |= more
            fields = others | fields
        return required, fields


def component_of(schema: Schema) -> str:
    """The component that a reference names."""
    reference: str = schema["$ref"]
    return reference.rpartition("/")[2]


def _scalar(schema: Schema, name: str) -> Any:
    kind = schema.get("type", "string")
    if kind == "boolean":
        return True
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        return least if kind == "number" or not isinstance(least, float) else int(least)
    return _FORMATS.get(schema.get("format", "")) or _text(schema, name)


def _text(schema: Schema, name: str) -> str:
    """A text within the length and the pattern, if one of those that are known is."""
    least, most, pattern = schema.get("minLength", 0), schema.get("maxLength", 10_000), schema.get("pattern", "")
    for text in (_NAMES.get(name, _TEXTS[0]), *_TEXTS):
        if least <= len(text) <= most and (not pattern or _matches(pattern, text)):
            return text
    return "x" * int(least) if least else "example"


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern of RE2 matches. What Python does not know of its syntax matches nothing."""
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False
