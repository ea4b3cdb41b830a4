"""RPCs as operations of OpenAPI: one for each binding, with its parameters, its body, its answers and who may call."""

import re
from collections.abc import Iterator, Sequence

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from server.json_values import JsonObject
from server.kernel.messages.fields import fields_that_are, has_behavior, message_type_of
from server.kernel.policy import HTTP_BODY, Access, Binding, Kind, MethodPolicy
from server.reference import errors
from server.reference.schemas import WELL_KNOWN, Schemas

FIELD_MASK = "google.protobuf.FieldMask"
VARIABLE = re.compile(r"\{([^={}]+)(?:=[^{}]*)?\}")
BOUNDARY = re.compile(r"(?<!^)(?=[A-Z])")
BEARER, TICKET = "bearer", "ticket"
NO_CONTENT, WITH_LOCATION = 204, (201, 202)
ETAG: JsonObject = {"description": "The version of the resource.", "schema": {"type": "string"}}
LOCATION: JsonObject = {"description": "Where it is.", "schema": {"type": "string"}}
IF_MATCH: JsonObject = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag that was read. The call is refused with 412 if the resource has changed since.",
    "schema": {"type": "string"},
}
IF_NONE_MATCH: JsonObject = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag that was read. The answer is 304 without a body if nothing has changed since.",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY: JsonObject = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes it safe to send the call again: with the same key and the same request, it is done once.",
    "schema": {"type": "string", "maxLength": 255},
}
LAST_EVENT_ID: JsonObject = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The last event that was received. The stream continues after it.",
    "schema": {"type": "string", "maxLength": 64},
}


class Operations:
    """Writes operations."""

    def __init__(self, schemas: Schemas, reasons: dict[str, errors.Reason]) -> None:
        self._schemas = schemas
        self._reasons = reasons

    def of(self, method: MethodPolicy, binding: Binding, number: int) -> JsonObject:
        """The operation of a binding, which has this place among those of its RPC."""
        service, comment = method.descriptor.containing_service, self._schemas.comment(method.descriptor.full_name)
        body = self._body(method, binding)
        found: JsonObject = {
            "operationId": f"{service.name}.{method.name}" + (f".{number}" if number else ""),
            "tags": [tag_of(service.full_name)],
            "summary": _in_words(method.name),
            "description": "\n\n".join(filter(None, (comment, _who(method)))),
            "parameters": [*self._parameters(method, binding), *_headers(method)],
            "responses": self._answers(method, binding, comment, has_body=body is not None),
            "security": _security(method),
            "x-rpc": method.path,
        }
        if body is not None:
            found["requestBody"] = body
        if method.access in (Access.PERMISSION, Access.PLATFORM):
            found["x-permission"] = method.permission
        if method.descriptor.GetOptions().deprecated:
            found["deprecated"] = True
        return found

    # Requests ------------------------------------------------------------------------------------------------------

    def _parameters(self, method: MethodPolicy, binding: Binding) -> Iterator[JsonObject]:
        request, variables = method.descriptor.input_type, _variables(binding)
        for name in variables:
            field = request.fields_by_name[name]
            yield _parameter(field.json_name, "path", self._schemas.of(field), required=True)
        if binding.body != "*":
            taken = {*variables, binding.body}
            yield from self._query([field for field in request.fields if field.name not in taken], "")

    def _query(self, fields: Sequence[FieldDescriptor], above: str) -> Iterator[JsonObject]:
        """The parameters of fields. Those of a message in one are named after it: `range.startTime`."""
        for field in fields:
            below = field.message_type
            if below is None or below.full_name in WELL_KNOWN or field.is_repeated:
                # With a body, the mask of an update is the set of its keys.
                if below is None or below.full_name != FIELD_MASK:
                    required = has_behavior(field, field_behavior_pb2.REQUIRED)
                    yield _parameter(above + field.json_name, "query", self._schemas.of(field), required=required)
            else:
                yield from self._query(below.fields, f"{above}{field.json_name}.")

    def _body(self, method: MethodPolicy, binding: Binding) -> JsonObject | None:
        request, raw = method.descriptor.input_type, method.raw or method.upload
        if not binding.body:
            return None
        if raw is not None:
            kinds = sorted(raw.content_types) or ["*/*"]
            return {"required": True, "content": {kind: {"schema": {}} for kind in kinds}}
        if binding.body == "*":
            variables = _variables(binding)
            fields = [field for field in request.fields if field.name not in variables]
            schema = self._schemas.object_of(request, fields)
            return {"required": "required" in schema, "content": {"application/json": {"schema": schema}}}
        resource = message_type_of(request.fields_by_name[binding.body])
        schema = self._schemas.reference(resource)
        needed = _needed(resource) if method.kind is Kind.CREATE else []
        if needed:
            schema = {"allOf": [schema, {"required": needed}]}
        return {"required": True, "content": {"application/json": {"schema": schema}}}

    # Answers -------------------------------------------------------------------------------------------------------

    def _answers(self, method: MethodPolicy, binding: Binding, comment: str, *, has_body: bool) -> JsonObject:
        found: JsonObject = {str(method.success_status): self._success(method)}
        if binding.verb == "GET" and method.answers_etag:
            found["304"] = {"description": "Nothing has changed since the ETag in If-None-Match."}
        return found | errors.responses(self._reasons, method, comment, has_body=has_body)

    def _success(self, method: MethodPolicy) -> JsonObject:
        status, answer = method.success_status, method.descriptor.output_type
        if status == NO_CONTENT:
            return {"description": "Done."}
        if answer.full_name == HTTP_BODY:
            kind = "text/event-stream" if method.name.startswith("Stream") else "*/*"
            content: JsonObject = {kind: {"schema": {"type": "string"}}}
        else:
            content = {"application/json": {"schema": self._schemas.reference(answer)}}
        found: JsonObject = {"description": self._schemas.comment(answer.full_name) or "Done.", "content": content}
        headers = {"Location": LOCATION} if status in WITH_LOCATION else {}
        if method.answers_etag:
            headers["ETag"] = ETAG
        return found | ({"headers": headers} if headers else {})


def tag_of(service: str) -> str:
    """`plinth.sites.v1.PageService` as `sites.PageService`."""
    _, domain, *_, name = service.split(".")
    return f"{domain}.{name}"


def _variables(binding: Binding) -> list[str]:
    """The request fields in the path."""
    return [variable[1] for variable in VARIABLE.finditer(binding.path)]


def _needed(resource: Descriptor) -> list[str]:
    """The fields that a creation needs."""
    return [field.json_name for field in fields_that_are(resource, field_behavior_pb2.REQUIRED)]


def _parameter(name: str, place: str, schema: JsonObject, *, required: bool) -> JsonObject:
    description = schema.pop("description", "")
    found: JsonObject = {"name": name, "in": place, "schema": schema}
    if description:
        found["description"] = description
    return found | ({"required": True} if required else {})


def _headers(method: MethodPolicy) -> Iterator[JsonObject]:
    if method.kind in (Kind.UPDATE, Kind.DELETE):
        yield IF_MATCH
    if not method.read_only:
        yield IDEMPOTENCY_KEY
    if method.streaming:
        yield LAST_EVENT_ID
    elif method.read_only and method.answers_etag:
        yield IF_NONE_MATCH


def _security(method: MethodPolicy) -> list[JsonObject]:
    if method.access in (Access.PUBLIC, Access.PROVIDER_SIGNATURE):
        return []
    found: list[JsonObject] = [{BEARER: []}]
    if method.streaming and method.descriptor.output_type.full_name == HTTP_BODY:
        found.append({TICKET: []})
    return found


def _who(method: MethodPolicy) -> str:
    sentences = {
        Access.PUBLIC: "Anyone may call it, without credentials.",
        Access.SIGNED_IN: "Anyone who is signed in may call it.",
        Access.PERMISSION: f"Needs the permission `{method.permission}`.",
        Access.PLATFORM: f"For platform administrators with the permission `{method.permission}`.",
        Access.PROVIDER_SIGNATURE: f"For the provider `{method.permission}`, which signs its calls.",
    }
    return sentences[method.access]


def _in_words(name: str) -> str:
    """`GetPageBySlug` as `Get page by slug`."""
    return BOUNDARY.sub(" ", name).lower().capitalize()
