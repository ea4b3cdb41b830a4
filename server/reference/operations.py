"""RPCs as operations of OpenAPI: one for each binding, with its parameters, its body, its answers and who may call."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.descriptor_pb2 import MethodOptions
from plinth.policy.v1 import policy_pb2

from server.extensions import POLICY
from server.json_values import JsonObject
from server.reference import errors
from server.reference.contract import Field, Message, Method, Source
from server.reference.schemas import WELL_KNOWN, Schemas, has

VERBS = ("get", "put", "post", "delete", "patch")
HTTP_BODY, EMPTY = "google.api.HttpBody", "google.protobuf.Empty"
FIELD_MASK = "google.protobuf.FieldMask"
VARIABLE = re.compile(r"\{([^={}]+)(?:=[^{}]*)?\}")
BOUNDARY = re.compile(r"(?<!^)(?=[A-Z])")
BEARER, TICKET = "bearer", "ticket"
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


class Binding(NamedTuple):
    """One verb and path of an RPC."""

    verb: str
    path: str
    body: str
    """`*`, the name of a request field, or empty for no body."""
    number: int
    """0 for the first one."""

    @property
    def variables(self) -> list[str]:
        """The request fields in the path, as in the .proto."""
        return [variable[1] for variable in VARIABLE.finditer(self.path)]


def bindings(method: Method) -> Iterator[Binding]:
    """The bindings of an RPC, the first one first."""
    rule = method.descriptor.options.Extensions[annotations_pb2.http]
    for number, one in enumerate((rule, *rule.additional_bindings)):
        verb = one.WhichOneof("pattern")
        if verb in VERBS:
            yield Binding(verb, str(getattr(one, verb)), one.body, number)


class Operations:
    """Writes operations."""

    def __init__(self, source: Source, schemas: Schemas) -> None:
        self._source = source
        self._schemas = schemas
        self.reasons = errors.reasons(source)

    def of(self, method: Method, binding: Binding) -> JsonObject:
        """The operation of a binding."""
        policy = method.descriptor.options.Extensions[POLICY]
        request = self._source.messages[method.request]
        sentence, _, _ = method.comment.partition(". ")
        body = self._body(method, binding, request)
        found: JsonObject = {
            "operationId": f"{method.service.rpartition('.')[2]}.{method.name}"
            + (f".{binding.number}" * bool(binding.number)),
            "tags": [tag_of(method.service)],
            "summary": _in_words(method.name),
            "description": "\n\n".join(filter(None, (method.comment or sentence, _who(policy)))),
            "parameters": [*self._parameters(binding, request), *_headers(method, policy)],
            "responses": self._answers(method, binding, policy, has_body=body is not None),
            "security": _security(method, policy),
            "x-rpc": f"/{method.service}/{method.name}",
        }
        if body is not None:
            found["requestBody"] = body
        if policy.permission or policy.platform:
            found["x-permission"] = policy.permission or policy.platform
        if method.descriptor.options.deprecated:
            found["deprecated"] = True
        return found

    # Requests ------------------------------------------------------------------------------------------------------

    def _parameters(self, binding: Binding, request: Message) -> Iterator[JsonObject]:
        for name in binding.variables:
            field = request.field(name)
            if field is not None:
                yield _parameter(field.name, "path", self._schemas.of(field), required=True)
        if binding.body != "*":
            taken = {*binding.variables, binding.body}
            fields = tuple(field for field in request.fields if field.descriptor.name not in taken)
            yield from self._query(fields, "")

    def _query(self, fields: tuple[Field, ...], above: str) -> Iterator[JsonObject]:
        """The parameters of fields. Those of a message in one are named after it: `range.startTime`."""
        for field in fields:
            below = self._source.messages.get(field.type_name)
            if below is None or field.type_name in WELL_KNOWN or field.is_repeated:
                # With a body, the mask of an update is the set of its keys.
                if field.type_name != FIELD_MASK:
                    required = has(field, field_behavior_pb2.REQUIRED)
                    yield _parameter(above + field.name, "query", self._schemas.of(field), required=required)
            else:
                yield from self._query(below.fields, f"{above}{field.name}.")

    def _body(self, method: Method, binding: Binding, request: Message) -> JsonObject | None:
        if not binding.body:
            return None
        if binding.body == "*":
            fields = tuple(field for field in request.fields if field.descriptor.name not in binding.variables)
            schema = self._schemas.object_of(request, fields)
            return {"required": "required" in schema, "content": {"application/json": {"schema": schema}}}
        field = request.field(binding.body)
        if field is None or field.type_name == HTTP_BODY:
            return {"required": True, "content": {"*/*": {"schema": {}}}}
        schema = self._schemas.reference(field.type_name)
        needed = self._needed(method, field)
        if needed:
            schema = {"allOf": [schema, {"required": needed}]}
        return {"required": True, "content": {"application/json": {"schema": schema}}}

    def _needed(self, method: Method, field: Field) -> list[str]:
        """The fields that a creation needs."""
        if not method.name.startswith("Create"):
            return []
        message = self._source.messages[field.type_name]
        return [each.name for each in message.fields if has(each, field_behavior_pb2.REQUIRED)]

    # Answers -------------------------------------------------------------------------------------------------------

    def _answers(self, method: Method, binding: Binding, policy: policy_pb2.Policy, *, has_body: bool) -> JsonObject:
        status = _success(method, policy)
        found: JsonObject = {status: self._success(method, status)}
        if binding.verb == "get" and not method.descriptor.server_streaming:
            found["304"] = {"description": "Nothing has changed since the ETag in If-None-Match."}
        return found | errors.responses(self._source, self.reasons, method, has_body=has_body)

    def _success(self, method: Method, status: str) -> JsonObject:
        if status == "204":
            return {"description": "Done."}
        headers: JsonObject = {}
        if status in ("201", "202"):
            headers["Location"] = {"description": "Where it is.", "schema": {"type": "string"}}
        message = self._source.messages[method.response]
        if message.field("etag") is not None:
            headers["ETag"] = {"description": "The version of the resource.", "schema": {"type": "string"}}
        if method.response == HTTP_BODY:
            kind = "text/event-stream" if method.name.startswith("Stream") else "*/*"
            content: JsonObject = {kind: {"schema": {"type": "string"}}}
        else:
            content = {"application/json": {"schema": self._schemas.reference(method.response)}}
        found: JsonObject = {"description": message.comment or "Done.", "content": content}
        return found | ({"headers": headers} if headers else {})


def tag_of(service: str) -> str:
    """`plinth.sites.v1.PageService` as `sites.PageService`."""
    _, domain, *_, name = service.split(".")
    return f"{domain}.{name}"


def _parameter(name: str, place: str, schema: JsonObject, *, required: bool) -> JsonObject:
    description = schema.pop("description", "")
    found: JsonObject = {"name": name, "in": place, "schema": schema}
    if description:
        found["description"] = description
    return found | ({"required": True} if required else {})


def _headers(method: Method, policy: policy_pb2.Policy) -> Iterator[JsonObject]:
    if method.name.startswith(("Update", "Delete")):
        yield IF_MATCH
    if policy.emits:
        yield IDEMPOTENCY_KEY
    if method.descriptor.server_streaming:
        yield LAST_EVENT_ID
    elif method.name.startswith(("Get", "List")):
        yield IF_NONE_MATCH


def _security(method: Method, policy: policy_pb2.Policy) -> list[JsonObject]:
    if policy.public or policy.provider_signature:
        return []
    found: list[JsonObject] = [{BEARER: []}]
    if method.descriptor.server_streaming and method.response == HTTP_BODY:
        found.append({TICKET: []})
    return found


def _success(method: Method, policy: policy_pb2.Policy) -> str:
    declared: Mapping[int, str] = {
        policy_pb2.SUCCESS_OK: "200",
        policy_pb2.SUCCESS_CREATED: "201",
        policy_pb2.SUCCESS_NO_CONTENT: "204",
        policy_pb2.SUCCESS_ACCEPTED: "202",
    }
    if policy.success in declared:
        return declared[policy.success]
    if method.response == EMPTY:
        return "204"
    is_read = method.descriptor.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    return "201" if method.name.startswith("Create") and not is_read else "200"


def _who(policy: policy_pb2.Policy) -> str:
    if policy.public:
        return "Anyone may call it, without credentials."
    if policy.signed_in:
        return "Anyone who is signed in may call it."
    if policy.platform:
        return f"For platform administrators with the permission `{policy.platform}`."
    if policy.provider_signature:
        return f"For the provider `{policy.provider_signature}`, which signs its calls."
    return f"Needs the permission `{policy.permission}`."


def _in_words(name: str) -> str:
    """`GetPageBySlug` as `Get page by slug`."""
    return BOUNDARY.sub(" ", name).lower().capitalize()
