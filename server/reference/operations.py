"""RPCs as operations of OpenAPI: one for each binding, with its parameters, its body, its answers and who may call."""

from server.json_values import JsonObject
from server.kernel.guard.applied_limits import rate_class_of
from server.kernel.policy import HTTP_BODY, Access, Binding, MethodPolicy
from server.reference.errors import Errors
from server.reference.headers import EVERYWHERE, named, success_headers
from server.reference.inputs import Inputs
from server.reference.links import Links
from server.reference.naming import operation_id, summary_of, tag_of
from server.reference.requests import Requests
from server.reference.schemas import Schemas
from server.reference.security import security, who

NO_CONTENT = 204


class Operations:
    """Writes operations."""

    def __init__(self, inputs: Inputs, schemas: Schemas, errors: Errors, links: Links) -> None:
        self._requests = Requests(inputs)
        self._schemas = schemas
        self._errors = errors
        self._links = links

    def of(self, method: MethodPolicy, binding: Binding) -> JsonObject:
        """The operation of a binding."""
        comment = self._schemas.comment(method.descriptor.full_name)
        body, rate_class = self._requests.body(method, binding), rate_class_of(method)
        found: JsonObject = {
            "operationId": operation_id(method, binding),
            "tags": [tag_of(method.descriptor.containing_service.full_name)],
            "summary": summary_of(method, binding),
            "description": "\n\n".join(filter(None, (comment, f"{who(method)} Rate class `{rate_class}`."))),
            "parameters": self._requests.parameters(method, binding),
            "responses": self._answers(method, binding, comment, has_body=body is not None),
            "security": security(method),
            "x-rpc": method.path,
            "x-rate-class": rate_class,
        }
        if body is not None:
            found["requestBody"] = body
        if method.access in (Access.PERMISSION, Access.PLATFORM):
            found["x-permission"] = method.permission
        if method.emits:
            found["x-emits"] = method.emits
        if method.descriptor.GetOptions().deprecated:
            found["deprecated"] = True
        return found

    def _answers(self, method: MethodPolicy, binding: Binding, comment: str, *, has_body: bool) -> JsonObject:
        success = self._success(method)
        links = self._links.of(method, binding)
        if links:
            success["links"] = links
        found: JsonObject = {str(method.success_status): success}
        if binding.verb == "GET" and method.answers_etag:
            found["304"] = {
                "description": "Nothing has changed since the ETag in If-None-Match.",
                "headers": named([*EVERYWHERE, "ETag"]),
            }
        if method.is_file:
            partial = success | {"description": "The part that `Range` asks for."}
            partial["headers"] = named([*success_headers(method), "Content-Range"])
            found["206"] = partial
        return found | self._errors.responses(method, binding, comment, has_body=has_body)

    def _success(self, method: MethodPolicy) -> JsonObject:
        answer, headers = method.descriptor.output_type, success_headers(method)
        if method.success_status == NO_CONTENT:
            return {"description": "Done.", "headers": headers}
        if answer.full_name == HTTP_BODY:
            is_events = method.streaming and method.name.startswith("Stream")
            content: JsonObject = {"text/event-stream": {"schema": {"type": "string"}}} if is_events else {"*/*": {}}
        else:
            content = {"application/json": {"schema": self._schemas.reference(answer)}}
        description = self._schemas.comment(answer.full_name) or "Done."
        return {"description": description, "headers": headers, "content": content}
