"""Checks for Schemathesis, of what a JSON Schema cannot say. The command loads them as its hooks."""

import json
import re
from collections.abc import Mapping
from typing import Any

import protovalidate
import schemathesis
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from schemathesis.core import NOT_SET
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.specs.openapi.checks import negative_data_rejection

from server import app
from server.kernel.policy import Binding, MethodPolicy

Case = schemathesis.Case[Any]
# Languages of their own, which are texts in the document; and keys that it sends with one request after another.
UNDESCRIBED = {"FILTER_INVALID", "ORDER_INVALID", "PAGE_TOKEN_INVALID", "IDEMPOTENCY_KEY_REUSED"}
# Rules of protovalidate that the document repeats. Others compare fields, or ask the database. Whether a text is an
# address, a library says.
DOCUMENTED = re.compile(r"^(?!string\.email$)(string|bytes|repeated|map|enum|bool|u?int32|float|double)\.")
BOOLEANS = {"true": True, "false": False}


@schemathesis.check
def refuses_what_is_no_message(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """What contradicts the document is refused, unless it is another spelling that the JSON of proto3 has.

    The document has one spelling of each value. Parsers take more (protobuf.dev/programming-guides/json): numbers of
    enums, numbers as strings, null for what is not set, names in snake_case.
    """
    try:
        negative_data_rejection(ctx, response, case)
    except AcceptedNegativeData:
        if not _is_message(case):
            raise


@schemathesis.check
def takes_what_the_document_allows(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """What the document allows is refused only by rules that no schema has."""
    del ctx
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if not (is_valid and response.status_code in (400, 422)):
        return
    details = json.loads(response.content)["details"]
    reasons = {detail["reason"] for detail in details if "reason" in detail}
    broken = [each for detail in details for each in detail.get("fieldViolations", ()) if _is_documented(each)]
    if broken or not (reasons & UNDESCRIBED or "RULE_VIOLATED" in reasons):
        raise RejectedPositiveData(
            operation=case.operation.label,
            message=f"The document allows this: {broken or reasons}",
            status_code=response.status_code,
            allowed_statuses=["2xx"],
        )


def _is_documented(violation: Mapping[str, str]) -> bool:
    return DOCUMENTED.match(violation["reason"]) is not None


def _is_message(case: Case) -> bool:
    """Whether protobuf's own parser takes what was sent, and it keeps the rules."""
    method, binding = _rpc_of(case)
    message = GetMessageClass(method.descriptor.input_type)()
    try:
        json_format.ParseDict(_request(case, binding), message)
        protovalidate.validate(message)
    except (json_format.ParseError, protovalidate.ValidationError, ValueError, TypeError, AttributeError):
        return False
    return True


def _rpc_of(case: Case) -> tuple[MethodPolicy, Binding]:
    operation: Mapping[str, Any] = case.operation.definition.raw
    method = app.policies()[operation["x-rpc"]]
    _, _, number = operation["operationId"].split(".", 1)[1].partition(".")
    return method, method.bindings[int(number or 0)]


def _request(case: Case, binding: Binding) -> dict[str, Any]:
    """The request as one JSON object."""
    found: dict[str, Any] = dict(case.path_parameters or {})
    for name, value in (case.query or {}).items():
        *above, last = name.split(".")
        place: dict[str, Any] = found
        for each in above:
            place = place.setdefault(each, {})
        place[last] = BOOLEANS.get(value, value) if isinstance(value, str) else value
    body: Any = {} if case.body is NOT_SET else case.body
    if not binding.body:
        return found
    return found | (body if binding.body == "*" else {binding.body: body})
