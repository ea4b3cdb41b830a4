"""The OpenAPI 3.1 document of the contract."""

from collections.abc import Iterable, Mapping

from server.json_values import JsonObject
from server.kernel.policy import MethodPolicy
from server.reference.errors import ERROR, REASON, Errors, reason_schema, reasons
from server.reference.headers import HEADERS, PARAMETERS
from server.reference.inputs import Inputs
from server.reference.links import Links
from server.reference.naming import shown, tag_of
from server.reference.operations import Operations
from server.reference.schemas import Schemas
from server.reference.security import SCHEMES

TITLE = "Plinth"
INTRODUCTION = """\
Every resource is served over gRPC and over REST. This document describes REST. It is made from the .proto files.

- **Credentials**: `Authorization: Bearer <access token or API key>`, or `x-api-key`. The tenant of a call is that of
  the token. Each operation names the permission that it needs (`x-permission`).
- **Errors** are `google.rpc.Status` as JSON. `details` has an `ErrorInfo` whose `reason` is for programs, and a
  `BadRequest` that names each field that breaks a rule.
- **Lists** take `pageSize`, `pageToken`, `filter` (AIP-160) and `orderBy`.
- **Updates** change the fields that the body names; `null` clears one. `If-Match` keeps a call from overwriting what
  its caller has not seen.
- **Writes** take an `Idempotency-Key`, with which they may be sent again. With `X-Validate-Only: true`, a call that
  acts in its transaction alone is answered as it would be, and nothing is kept.
- **Enums** are answered by their whole names (`STATUS_PUBLISHED`); requests may leave the prefix out (`published`).
- **Every answer** has `X-Request-Id`, which logs and errors name, and tells the limit of its rate class and what is
  left of it (`RateLimit`, `RateLimit-Policy`, `X-RateLimit-*`).
- **Limits**: each operation names its rate class (`x-rate-class`). A deployment sets the calls that each class allows,
  and answers tell them in `RateLimit-Policy`. A call above them is answered with 429 and `Retry-After`.
"""
_ERROR: JsonObject = {
    "type": "object",
    "description": "An error: google.rpc.Status.",
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"type": "integer", "description": "The number of google.rpc.Code."},
        "message": {"type": "string", "description": "What is wrong, in words."},
        "details": {
            "type": "array",
            "description": "google.rpc.ErrorInfo with the reason, RequestInfo, and where they apply BadRequest, "
            "RetryInfo and ResourceInfo.",
            "items": {
                "type": "object",
                "required": ["@type"],
                "properties": {
                    "@type": {"type": "string"},
                    "reason": {"$ref": f"#/components/schemas/{REASON}"},
                    "domain": {"type": "string"},
                    "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
        },
    },
}
_LICENSE: JsonObject = {"name": "Apache-2.0", "identifier": "Apache-2.0"}


def document(methods: Iterable[MethodPolicy], comments: Mapping[str, str], version: str) -> JsonObject:
    """The document of these RPCs. `comments` are those of the contract by full name; `version` is that of Plinth."""
    every = list(methods)
    schemas, inputs, known = Schemas(comments), Inputs(comments), reasons(comments)
    errors = Errors(known)
    operations = Operations(inputs, schemas, errors, Links(every))
    paths: dict[str, JsonObject] = {}
    services: dict[str, None] = {}
    for method in every:
        for binding in method.bindings:
            services[method.descriptor.containing_service.full_name] = None
            path = paths.setdefault(shown(method, binding.path), {})
            path[binding.verb.lower()] = operations.of(method, binding)
    described = schemas.components | inputs.components
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version, "description": INTRODUCTION, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag_of(name), "description": schemas.comment(name)} for name in services],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {ERROR: _ERROR, REASON: reason_schema(known)} | dict(sorted(described.items())),
            "responses": dict(sorted(errors.components.items())),
            "parameters": dict(PARAMETERS),
            "headers": dict(HEADERS),
            "securitySchemes": dict(SCHEMES),
        },
    }
