"""The OpenAPI document as what is made from it reads it: samples, collections, pages."""

import json
from typing import NotRequired, TypedDict

from server.json_values import JsonObject, JsonValue


class Media(TypedDict):
    """A body of one type."""

    schema: JsonObject
    example: NotRequired[JsonValue]


Parameter = TypedDict(
    "Parameter",
    {
        "$ref": NotRequired[str],
        "name": str,
        "in": str,
        "description": NotRequired[str],
        "example": NotRequired[JsonValue],
        "required": NotRequired[bool],
    },
)
"""A parameter, or a reference to one that operations share: a header, which a call may leave out."""


Body = TypedDict(
    "Body",
    {
        "$ref": NotRequired[str],
        "description": NotRequired[str],
        "content": NotRequired[dict[str, Media]],
        "headers": NotRequired[dict[str, JsonObject]],
    },
)
"""The body of a request or an answer, by its types, or a reference to one that operations share."""


Operation = TypedDict(
    "Operation",
    {
        "operationId": str,
        "summary": str,
        "description": str,
        "tags": list[str],
        "parameters": list[Parameter],
        "requestBody": NotRequired[Body],
        "responses": dict[str, Body],
        "security": list[JsonObject],
        "x-code-samples": NotRequired[list[JsonObject]],
    },
)
"""One binding of an RPC."""


class Info(TypedDict):
    """What the document is about."""

    title: str
    version: str
    description: str


class Tag(TypedDict):
    """A service."""

    name: str
    description: str


class Components(TypedDict):
    """What operations share."""

    schemas: dict[str, JsonObject]
    responses: dict[str, JsonObject]


class Document(TypedDict):
    """The document."""

    info: Info
    tags: list[Tag]
    paths: dict[str, dict[str, Operation]]
    components: Components


def compact(value: JsonObject | Document) -> bytes:
    """A document as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
