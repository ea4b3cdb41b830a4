"""The document as the viewer of the reference page takes it.

The viewer resolves each reference anew, and walks through what it names. Most of its way led through errors and
headers: with 600 operations it opened after 3.2 s. Here an error stands in its place, with its reasons and what they
mean, and the headers of every answer are told once, in the introduction.
"""

from collections.abc import Mapping
from typing import cast

from server.json_values import JsonObject, JsonValue
from server.reference.document import Body, Document, Operation
from server.reference.errors import MEANINGS, REASON
from server.reference.headers import EVERYWHERE, HEADERS, WITH_RETRY_AFTER
from server.reference.inputs import ANY_JSON, WITHOUT_NUL

_RETRY_AFTER = "Retry-After"
_BODY = "The body is an [error](/docs/guides/errors) with the reason:"


def for_viewer(document: Document) -> Document:
    """The document with short errors. The values of free-form JSON are any: the viewer follows references for ever."""
    components = document["components"]
    meanings = cast("Mapping[str, str]", components["schemas"][REASON][MEANINGS])
    schemas = {name: _readable(schema) for name, schema in components["schemas"].items()} | {ANY_JSON: {}}
    errors = {f"#/components/responses/{name}": _short(name, meanings) for name in components["responses"]}
    paths = {
        path: {verb: _plain(operation, errors) for verb, operation in verbs.items()}
        for path, verbs in document["paths"].items()
    }
    return {**document, "paths": paths, "components": {**components, "schemas": schemas, "responses": {}}}


def _readable(schema: JsonValue) -> JsonObject:
    """A schema whose texts do not each say that they hold no NUL."""
    found = _told(schema)
    return found if isinstance(found, dict) else {}


def _told(part: JsonValue) -> JsonValue:
    if isinstance(part, list):
        return [_told(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {name: _told(each) for name, each in part.items() if (name, each) != ("pattern", WITHOUT_NUL)}


def _plain(operation: Operation, errors: Mapping[str, Body]) -> Operation:
    """An operation with its errors in place, and only the headers that not every answer has."""
    responses = {
        status: errors[response["$ref"]] if "$ref" in response else _own_headers(response)
        for status, response in operation["responses"].items()
    }
    return {**operation, "responses": responses}


def _own_headers(response: Body) -> Body:
    if "headers" not in response:
        return response
    return {**response, "headers": {name: each for name, each in response["headers"].items() if name not in EVERYWHERE}}


def _short(name: str, meanings: Mapping[str, str]) -> Body:
    """An error by the name of its component, which is its status and its reasons."""
    status, *reasons = name.split(".")
    lines = (f"- `{reason}`: {meanings[reason]}" for reason in reasons)
    short: Body = {"description": "\n".join([_BODY, "", *lines])}
    if status in WITH_RETRY_AFTER:
        short["headers"] = {_RETRY_AFTER: HEADERS[_RETRY_AFTER]}
    return short
