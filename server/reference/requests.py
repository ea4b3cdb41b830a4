"""What a call sends: parameters of the path, the query and headers, and the body."""

from collections.abc import Iterator, Sequence

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from server.json_values import JsonObject, JsonValue
from server.kernel.messages.fields import fields_that_are, has_behavior, message_type_of
from server.kernel.policy import Binding, Kind, MethodPolicy
from server.kernel.steps.headers import has_header
from server.reference.examples import example_of, examples_of
from server.reference.headers import request_headers
from server.reference.inputs import Inputs
from server.reference.naming import variables
from server.reference.rules import rules_of
from server.reference.schemas import WELL_KNOWN

# The step `authorize` puts the id in place of a subdomain.
TENANT_IN_PATH: JsonObject = {
    "description": "The tenant: its id or its subdomain.",
    "schema": {
        "type": "string",
        "minLength": 3,
        "maxLength": 63,
        "pattern": "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$",
    },
}
FIELD_MASK = "google.protobuf.FieldMask"


class Requests:
    """Describes requests."""

    def __init__(self, schemas: Inputs) -> None:
        self._schemas = schemas

    def parameters(self, method: MethodPolicy, binding: Binding) -> list[JsonObject]:
        """The parameters of a binding."""
        return [*self._parameters(method, binding), *request_headers(method)]

    def _parameters(self, method: MethodPolicy, binding: Binding) -> Iterator[JsonObject]:
        request, in_path = method.descriptor.input_type, variables(binding)
        for name in in_path:
            field = request.fields_by_name[name]
            parameter = self._parameter(field, field.json_name, "path", required=True)
            yield parameter | (TENANT_IN_PATH if name == "tenant_id" else {})
        if binding.body != "*":
            taken = {*in_path, binding.body}
            yield from self._query([field for field in request.fields if field.name not in taken], "")

    def _query(self, fields: Sequence[FieldDescriptor], above: str) -> Iterator[JsonObject]:
        """The parameters of fields. Those of a message in one are named after it: `range.startTime`."""
        for field in fields:
            below = field.message_type
            if below is None or below.full_name in WELL_KNOWN or field.is_repeated:
                # With a body, the mask of an update is the set of its keys.
                if below is None or below.full_name != FIELD_MASK:
                    required = not above and self._schemas.is_needed(field) and not has_header(field)
                    yield self._parameter(field, above + field.json_name, "query", required=required)
            else:
                yield from self._query(below.fields, f"{above}{field.json_name}.")

    def _parameter(self, field: FieldDescriptor, name: str, place: str, *, required: bool) -> JsonObject:
        schema = self._schemas.of(field)
        # The example of a parameter stands beside its schema, where tools look for it.
        schema.pop("examples", None)
        found: JsonObject = {"name": name, "in": place, "schema": schema}
        description, example = schema.pop("description", ""), example_of(field)
        if description:
            found["description"] = description
        if example is not None:
            found["example"] = example
        return found | ({"required": True} if required else {})

    def body(self, method: MethodPolicy, binding: Binding) -> JsonObject | None:
        """The body of a binding, or None."""
        request, raw = method.descriptor.input_type, method.raw or method.upload
        if not binding.body:
            return None
        if raw is not None:
            kinds = sorted(raw.content_types) or ["*/*"]
            return {"required": True, "content": {kind: {"schema": {}} for kind in kinds}}
        if binding.body == "*":
            taken = variables(binding)
            fields = [field for field in request.fields if field.name not in taken]
            schema = self._schemas.object_of(request, fields)
            return {"required": "required" in schema, "content": _json(schema, examples_of(fields))}
        resource = message_type_of(request.fields_by_name[binding.body])
        schema = self._schemas.reference(resource)
        needed = _needed(resource) if method.kind is Kind.CREATE else []
        if needed:
            schema = {"allOf": [schema, {"required": needed}]}
        # An empty body counts as `{}`.
        return {"required": bool(needed), "content": _json(schema, examples_of(_sent(method, resource)))}


def _sent(method: MethodPolicy, resource: Descriptor) -> list[FieldDescriptor]:
    """The fields that an example of a body has.

    What is immutable has no other value in an update. An id that may be left out is, so that a copied example does not
    name what is not there.
    """
    is_new = method.kind is not Kind.UPDATE
    return [
        each
        for each in resource.fields
        if (is_new or not has_behavior(each, field_behavior_pb2.IMMUTABLE)) and not _may_name_another(each)
    ]


def _may_name_another(field: FieldDescriptor) -> bool:
    is_optional = rules_of(field).ignore == validate_pb2.IGNORE_IF_ZERO_VALUE
    return field.name.endswith("_id") and is_optional and not has_behavior(field, field_behavior_pb2.REQUIRED)


def _json(schema: JsonObject, example: JsonObject) -> JsonValue:
    content: JsonObject = {"schema": schema}
    return {"application/json": content | ({"example": example} if example else {})}


def _needed(resource: Descriptor) -> list[str]:
    """The fields that a creation needs."""
    return [field.json_name for field in fields_that_are(resource, field_behavior_pb2.REQUIRED)]
