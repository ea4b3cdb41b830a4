"""The OpenAPI document: valid by its standard, with every binding in it, and true of what the stack answers."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import reduce
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from server import app
from server.kernel.policy import Access, Binding, MethodPolicy
from server.parts import VERSION
from tests.clients import Rest
from tests.contract import wall
from tests.contract.doors import rest_parts
from tests.contract.wall import House
from tests.stack import PATIENCE, Stack

HERE = "urn:openapi"
# Bytes of the document per operation, so that 600 RPCs stay within a page that loads.
LARGEST_OPERATION = 5_000
READS = [
    (method, binding)
    for method in app.policies().values()
    if method.access is Access.PERMISSION and method.read_only and not method.on_loop
    for binding in method.bindings
    if binding.verb == "GET"
]
ERRORS = {"400", "401", "403", "404", "409", "412", "413", "415", "416", "422", "429", "500", "503", "504"}


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(app.reference().openapi())
    return made


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    return wall.furnished(stack)


def operations(openapi: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, verb and operation."""
    for path, verbs in openapi["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def operation_of(openapi: dict[str, Any], method: MethodPolicy, binding: Binding) -> dict[str, Any]:
    found = [
        operation
        for path, verb, operation in operations(openapi)
        if operation["x-rpc"] == method.path and verb == binding.verb.lower() and shape(path) == shape(binding.path)
    ]
    assert len(found) == 1, (method.path, binding)
    return found[0]


def resolved(openapi: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or the component that it refers to."""
    if "$ref" not in part:
        return part
    _, *names = part["$ref"].split("/")
    return reduce(lambda found, name: found[name], names, openapi)


def shape(path: str) -> str:
    """A path without the names of its variables."""
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def validator(openapi: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of a schema in the document."""
    whole = Resource.from_contents(openapi, default_specification=DRAFT202012)
    registry = Registry().with_resource(HERE, whole)
    anchored = json.loads(json.dumps(schema).replace('"#/', f'"{HERE}#/'))
    return Draft202012Validator(anchored, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)


def absent(openapi: dict[str, Any], schema: dict[str, Any], value: Any, path: str = "$") -> Iterator[str]:
    """The fields that an answer lacks although they are not marked as optional."""
    if "$ref" in schema:
        schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for item in value:
            yield from absent(openapi, schema["items"], item, f"{path}[]")
    elif "properties" in schema:
        for name, field in schema["properties"].items():
            if name in value:
                yield from absent(openapi, field, value[name], f"{path}.{name}")
            elif "x-optional" not in field:
                yield f"{path}.{name}"
    elif isinstance(schema.get("additionalProperties"), dict):
        for item in value.values():
            yield from absent(openapi, schema["additionalProperties"], item, f"{path}.*")


@pytest.mark.heavy
def test_it_is_valid(openapi: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(openapi).iter_errors()] == []
    assert openapi["info"]["version"] == VERSION


def test_every_binding_is_in_it_and_nothing_else(openapi: dict[str, Any]) -> None:
    bound = {
        (method.path, binding.verb.lower(), shape(binding.path))
        for method in app.policies().values()
        for binding in method.bindings
    }
    assert {(each["x-rpc"], verb, shape(path)) for path, verb, each in operations(openapi)} == bound
    names = [operation["operationId"] for _, _, operation in operations(openapi)]
    assert len(names) == len(set(names))


def test_operations_of_a_service_are_told_apart_in_lists(openapi: dict[str, Any]) -> None:
    named = Counter(
        (operation["tags"][0], operation["summary"])
        for verbs in openapi["paths"].values()
        for operation in verbs.values()
    )
    assert [name for name, count in named.items() if count > 1] == []
    assert {("tenancy.RoleService", "Update role"), ("tenancy.RoleService", "Update role (PUT)")} <= named.keys()


def test_every_operation_says_who_may_call_and_what_may_go_wrong(openapi: dict[str, Any]) -> None:
    for _, _, operation in operations(openapi):
        method = app.policies()[operation["x-rpc"]]
        assert operation["description"], operation["operationId"]
        assert (operation["security"] == []) == (method.access in (Access.PUBLIC, Access.PROVIDER_SIGNATURE)), (
            method.path
        )
        expected = method.permission if method.access in (Access.PERMISSION, Access.PLATFORM) else None
        assert operation.get("x-permission") == expected
        assert operation.get("x-emits", "") == method.emits
        failures = {status for status in operation["responses"] if status >= "400"}
        assert {"429", "503", "504"} <= failures <= ERRORS
        assert ("403" in failures) or method.access in (Access.PUBLIC, Access.SIGNED_IN)
        assert str(method.success_status) in operation["responses"], method.path


def test_a_command_prints_what_is_served(stack: Stack) -> None:
    command = [sys.executable, "-m", "server", "openapi"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    for path in ("openapi.json", "api-docs"):
        answer = Rest(stack).get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == json.loads(done.stdout)
    assert answer.json()["info"]["version"] == VERSION
    again = Rest(stack).get("openapi.json", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_it_stays_small(openapi: dict[str, Any]) -> None:

    count = sum(1 for _ in operations(openapi))
    assert len(json.dumps(openapi)) / count < LARGEST_OPERATION


def test_rules_are_told(openapi: dict[str, Any]) -> None:
    page = openapi["components"]["schemas"]["sites.Page"]["properties"]
    assert page["title"]["maxLength"] == 300
    assert page["id"]["readOnly"]
    trips = openapi["paths"]["/api/v1/trips"]["post"]["requestBody"]
    assert trips["content"]["application/json"]["schema"]["allOf"][1] == {"required": ["title", "startDate", "endDate"]}


def test_links_lead_to_operations_and_fill_their_paths(openapi: dict[str, Any]) -> None:
    paths = {operation["operationId"]: path for path, _, operation in operations(openapi)}
    links = [
        link
        for _, _, operation in operations(openapi)
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    for link in links:
        assert set(link["parameters"]) == set(re.findall(r"\{(\w+)\}", paths[link["operationId"]])), link
    created = openapi["paths"]["/api/v1/trips"]["post"]["responses"]["201"]["links"]
    assert {"GetTrip", "UpdateTrip", "DeleteTrip", "CancelTrip"} <= created.keys()
    assert created["GetTrip"] == {
        "operationId": "TripService.GetTrip",
        "parameters": {"tripId": "$response.body#/id"},
    }
    listed = openapi["paths"]["/api/v1/trips"]["get"]["responses"]["200"]["links"]
    assert listed["GetTrip"]["parameters"] == {"tripId": "$response.body#/trips/0/id"}


def test_examples_are_what_their_schemas_allow(openapi: dict[str, Any]) -> None:
    tried = 0
    for _, _, operation in operations(openapi):
        parts = [resolved(openapi, each) for each in operation["parameters"]]
        parts += operation.get("requestBody", {}).get("content", {}).values()
        for part in parts:
            if "example" in part:
                tried += 1
                errors = list(validator(openapi, part["schema"]).iter_errors(part["example"]))
                assert [(operation["operationId"], error.json_path, error.message) for error in errors] == []
    assert tried > 200


def test_what_is_sent_is_closed_and_what_is_answered_stays_open(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    assert schemas["travel.TripInput"]["additionalProperties"] is False
    assert schemas["travel.TripInput"]["properties"]["feedback"]["type"] == ["string", "null"]
    assert schemas["travel.TripInput"]["properties"]["title"]["type"] == "string"
    assert "additionalProperties" not in schemas["travel.Trip"]
    change = validator(openapi, {"$ref": "#/components/schemas/sites.BatchWriteSectionsRequest.OperationInput"})
    assert change.is_valid({})
    assert not change.is_valid({"delete": None, "update": None})


def test_every_answer_tells_its_reasons_and_headers(openapi: dict[str, Any]) -> None:
    for _, _, operation in operations(openapi):
        for status, response in operation["responses"].items():
            known = resolved(openapi, response)
            assert "X-Request-Id" in known["headers"]
            assert ("Retry-After" in known["headers"]) == (status in {"429", "503"})
            if status >= "400":
                _, narrowed = known["content"]["application/json"]["schema"]["allOf"]
                reasons = narrowed["properties"]["details"]["contains"]["properties"]["reason"]["enum"]
                assert set(reasons) <= set(openapi["components"]["schemas"]["Reason"]["enum"])
    assert "Location" in openapi["paths"]["/api/v1/trips"]["post"]["responses"]["201"]["headers"]
    assert "Location" not in openapi["paths"]["/api/v1/auth/signup"]["post"]["responses"]["201"]["headers"]
    login = openapi["paths"]["/api/v1/auth/login"]["post"]["responses"]["401"]
    assert login == {"$ref": "#/components/responses/401.CREDENTIALS_INVALID"}


@pytest.mark.parametrize(("method", "binding"), READS, ids=lambda one: getattr(one, "path", None))
def test_answers_are_as_it_says(openapi: dict[str, Any], house: House, method: MethodPolicy, binding: Binding) -> None:
    path, query, _ = rest_parts(binding, house.request(method))
    response = house.tenant.rest.get(path, query)
    operation = operation_of(openapi, method, binding)
    assert str(response.status_code) in operation["responses"], response.text
    known = resolved(openapi, operation["responses"][str(response.status_code)])
    tells_etag = "ETag" in known.get("headers", {})
    assert ("etag" in response.headers, "304" in operation["responses"]) == (tells_etag, tells_etag)
    content = known["content"].get("application/json")
    if content is None:
        assert "*/*" in known["content"]
        return
    errors = list(validator(openapi, content["schema"]).iter_errors(response.json()))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []
    if response.status_code != 200:
        return
    assert set(absent(openapi, content["schema"], response.json())) == set()
    # What is not described would pass, since more may come with a later version.
    described = openapi["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["properties"]
    assert response.json().keys() <= described.keys()


def test_parameters_are_those_of_the_stack(openapi: dict[str, Any], house: House) -> None:
    """An undeclared one is refused, so that each that is declared is known."""
    for path, verb, operation in operations(openapi):
        parameters = [resolved(openapi, each) for each in operation["parameters"]]
        names = [each["name"] for each in parameters if each["in"] == "query"]
        if path == "/api/v1/trips" and verb == "get":
            assert {"pageSize", "filter", "orderBy", "userId"} <= set(names)
            values = {"pageSize": 1, "skip": 0, "includeTotal": "true", "orderBy": "title", "filter": 'title = "x"'}
            answer = house.tenant.rest.get(path, {name: values[name] for name in names if name in values})
            assert answer.status_code == 200, answer.text
            return
    pytest.fail("trips are not in the document")
