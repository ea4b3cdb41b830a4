"""Schemas of the content of sections: a part of JSON Schema (2020-12), without references and patterns.

A text with `"contentMediaType": "text/html"` is cleaned on its way in. A text with the format `uri-reference` is an
address that a visitor may follow. All other texts are plain, whatever they look like.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import jsonschema_rs

from server.json_values import JsonObject, JsonValue
from server.kernel.problems import Violation
from server.kernel.rich_text import clean_html

MOST_NODES = 500
MOST_LEVELS = 8
MOST_FAULTS = 20
LONGEST_MESSAGE, FIRST, LAST = 200, 80, 100
"""Characters of a message that is told whole, and those that are told of the ends of a longer one."""
HTML = "text/html"
FORMATS = ("uri-reference", "email", "color", "date", "time", "date-time", "uuid")
# As the URL of a navigation item: relative ones are of the site.
_ADDRESS = re.compile(r"((https?://|mailto:|tel:|/|#)[^\x00-\x20<>\"]*)?")
_COLOR = re.compile(r"(#([0-9A-Fa-f]{3,4}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8}))?")
_COUNT: JsonObject = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_NUMBER: JsonObject = {"type": "number"}
_WORDS: JsonObject = {"type": "string", "maxLength": 2000}
_ANY: JsonObject = {}
_CHOICES: JsonObject = {"type": "array", "minItems": 1, "maxItems": 200}
_META: JsonObject = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["object", "array", "string", "number", "integer", "boolean"]},
                **dict.fromkeys(("title", "description", "$comment"), _WORDS),
                **dict.fromkeys(("default", "const"), _ANY),
                **dict.fromkeys(("examples", "enum"), _CHOICES),
                **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _COUNT),
                **dict.fromkeys(("minProperties", "maxProperties"), _COUNT),
                **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
                "uniqueItems": {"type": "boolean"},
                "format": {"enum": list(FORMATS)},
                "contentMediaType": {"const": HTML},
                "items": {"$ref": "#/$defs/node"},
                "properties": {"type": "object", "additionalProperties": {"$ref": "#/$defs/node"}},
                "required": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                "additionalProperties": {"type": "boolean"},
            },
        }
    },
}
_meta = jsonschema_rs.Draft202012Validator(_META)


class Fault(NamedTuple):
    """What is wrong in a value."""

    path: str
    """Where, such as `items[0].url`; empty for the whole."""
    description: str
    keyword: str

    def within(self, path: str) -> Violation:
        """As a violation, of a field at this path."""
        place = f"{path}.{self.path}" if self.path else path
        return Violation(place, self.description, f"schema.{self.keyword}")


def schema_faults(schema: JsonObject) -> list[Fault]:
    """What a schema may not have."""
    if schema.get("type") != "object":
        return [Fault("type", "is `object`: the content of a section is one", "type")]
    faults = list(_faults(_meta, schema))
    if faults:
        return faults
    nodes = list(_nodes(schema, 1))
    if len(nodes) > MOST_NODES or max(nodes) > MOST_LEVELS:
        return [Fault("", f"has more than {MOST_NODES} parts, or more than {MOST_LEVELS} levels", "size")]
    return []


class ContentSchema:
    """A schema, compiled."""

    def __init__(self, schema: JsonObject) -> None:
        """The schema has no faults."""
        self._schema = schema
        self._validator = jsonschema_rs.Draft202012Validator(
            schema, validate_formats=True, formats={"uri-reference": is_address, "color": _is_color}
        )

    def cleaned(self, content: JsonObject) -> JsonObject:
        """The content with its rich text cleaned."""
        return cast("JsonObject", _cleaned(self._schema, content))

    def faults(self, content: JsonObject) -> list[Fault]:
        """In what the content breaks the schema, at most 20 times."""
        return list(_faults(self._validator, content))


def _faults(validator: jsonschema_rs.Draft202012Validator, value: JsonValue) -> Iterator[Fault]:
    for number, error in enumerate(validator.iter_errors(value)):
        if number == MOST_FAULTS:
            return
        keyword = str(error.schema_path[-1]) if error.schema_path else ""
        yield Fault(_path(error.instance_path), _words(error.message), keyword)


def _words(message: str) -> str:
    """A message of the library, which begins with the value. A long value is cut."""
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:FIRST]} ... {message[-LAST:]}"


def _path(parts: list[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _nodes(schema: JsonObject, level: int) -> Iterator[int]:
    """The level of each part."""
    yield level
    for child in _children(schema):
        yield from _nodes(child, level + 1)


def _children(schema: JsonObject) -> Iterator[JsonObject]:
    yield from _properties(schema).values()
    if "items" in schema:
        yield cast("JsonObject", schema["items"])


def _properties(schema: JsonObject) -> Mapping[str, JsonObject]:
    return cast("Mapping[str, JsonObject]", schema.get("properties", {}))


def _cleaned(schema: JsonObject, value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return clean_html(value) if schema.get("contentMediaType") == HTML else value
    if isinstance(value, dict):
        known = _properties(schema)
        return {name: _cleaned(known[name], each) if name in known else each for name, each in value.items()}
    if isinstance(value, list) and "items" in schema:
        items = cast("JsonObject", schema["items"])
        return [_cleaned(items, each) for each in value]
    return value


def is_address(value: str) -> bool:
    """Whether a visitor may follow it."""
    return _ADDRESS.fullmatch(value) is not None


def _is_color(value: str) -> bool:
    return _COLOR.fullmatch(value) is not None
