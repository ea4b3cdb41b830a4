"""The OpenAPI document as a collection of Postman (format 2.1), with a folder per service."""

import json
from collections.abc import Iterator

from server.json_values import JsonObject, JsonValue
from server.reference.document import Document, Operation
from server.reference.samples.request import JSON, VARIABLE, Request, parameters_of, request_of

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
BASE = "{{baseUrl}}"
DEFAULT_BASE = "http://127.0.0.1:8080"


def collection(document: Document) -> JsonObject:
    """The collection of a document. Its variables are `baseUrl` and `token`, which every guarded request sends."""
    folders: dict[str, list[JsonObject]] = {tag["name"]: [] for tag in document["tags"]}
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            request = request_of(path, verb, operation)
            folders[operation["tags"][0]].append(_item(operation, request))
    told = {tag["name"]: tag["description"] for tag in document["tags"]}
    info = document["info"]
    return {
        "info": {"name": info["title"], "description": info["description"], "version": info["version"],
                 "schema": SCHEMA},
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [
            {"key": "baseUrl", "value": DEFAULT_BASE, "type": "string"},
            {"key": "token", "value": "", "type": "string"},
        ],
        "item": [{"name": name, "description": told[name], "item": items} for name, items in folders.items()],
    }  # fmt: skip


def _item(operation: Operation, request: Request) -> JsonObject:
    found: JsonObject = {
        "method": request.verb,
        "header": list(_headers(request)),
        "url": _url(operation, request),
        "description": operation["description"],
    }
    if not request.is_guarded:
        found["auth"] = {"type": "noauth"}
    if request.content_type == JSON:
        raw = json.dumps(request.body, ensure_ascii=False, indent=2)
        found["body"] = {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
    elif request.content_type:
        found["body"] = {"mode": "file", "file": {"src": ""}}
    return {"name": operation["summary"], "request": found, "response": []}


def _headers(request: Request) -> Iterator[dict[str, str]]:
    if request.content_type:
        yield {"key": "Content-Type", "value": request.content_type}


def _url(operation: Operation, request: Request) -> JsonObject:
    """An address as Postman has it: `:pageId` for a variable, and what is not required switched off."""
    parameters = [each for each in parameters_of(operation) if each["in"] == "query"]
    query: list[JsonValue] = [
        {
            "key": each["name"],
            "value": request.query.get(each["name"], ""),
            "description": each.get("description", ""),
            "disabled": each["name"] not in request.query,
        }
        for each in parameters
    ]
    path, variables = _path(operation, request)
    found: JsonObject = {"raw": BASE + path, "host": [BASE], "path": path.strip("/").split("/")}
    return found | ({"query": query} if query else {}) | ({"variable": variables} if variables else {})


def _path(operation: Operation, request: Request) -> tuple[str, list[dict[str, str]]]:
    """The path and its variables, which for Postman are whole segments. Others are variables of the collection."""
    described = {each["name"]: each.get("description", "") for each in parameters_of(operation)}
    segments, variables = [], []
    for segment in request.path.split("/"):
        found = VARIABLE.search(segment)
        if found is None:
            segments.append(segment)
        elif found[0] == segment:
            segments.append(f":{found[1]}")
            variables.append({"key": found[1], "value": "", "description": described.get(found[1], "")})
        else:
            segments.append(segment.replace(found[0], f"{{{{{found[1]}}}}}"))
    return "/".join(segments), variables
