"""The two doors to a resource, REST and gRPC, with one interface: a test says what holds, and it holds at both.

Resources are dicts with JSON names at both doors. What is refused raises Refused, after the door has checked what every
error owes: the status of its reason, ErrorInfo of our domain, and the request id of the response.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import httpx
from google.protobuf import json_format

from tests.clients import Problem, Tenant, problem, rpc_problem
from tests.standard.resources import Described

Resource = dict[str, Any]

# Reason to gRPC code and HTTP status, as proto/plinth/errors/v1/reason.proto and the contract have them.
STATUSES = {
    "MALFORMED": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "UNKNOWN_FIELD": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "RULE_VIOLATED": (grpc.StatusCode.INVALID_ARGUMENT, 422),
    "PAGE_TOKEN_INVALID": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "FILTER_INVALID": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "ORDER_INVALID": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "CREDENTIALS_MISSING": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "PERMISSION_MISSING": (grpc.StatusCode.PERMISSION_DENIED, 403),
    "RESOURCE_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, 404),
    "RESOURCE_TAKEN": (grpc.StatusCode.ALREADY_EXISTS, 409),
    "ETAG_MISMATCH": (grpc.StatusCode.ABORTED, 412),
    "INTERNAL": (grpc.StatusCode.INTERNAL, 500),
    "STATE_FORBIDS": (grpc.StatusCode.FAILED_PRECONDITION, 409),
}


class Refused(Exception):
    """The door said no."""

    def __init__(self, why: Problem) -> None:
        self.problem = why
        super().__init__(f"{why.reason}: {why.message} {why.metadata} {why.violations}")


class Refusal:
    """What `refusal` caught."""

    problem: Problem


@contextmanager
def refusal(reason: str) -> Iterator[Refusal]:
    """The block has to be refused for this reason; the problem is there afterwards."""
    caught = Refusal()
    try:
        yield caught
    except Refused as error:
        assert error.problem.reason == reason, error  # noqa: PT017 - it goes on to the test
        caught.problem = error.problem
    else:
        raise AssertionError(f"nothing was refused; {reason} is due")


@dataclass(frozen=True)
class Listing:
    """A page of a list."""

    items: list[Resource]
    token: str
    total: int | None

    @property
    def ids(self) -> list[str]:
        """The ids, in order."""
        return [item["id"] for item in self.items]


class Door(Protocol):
    """The standard methods on one resource of one tenant."""

    tenant: Tenant
    kind: Described

    def at(self, tenant: Tenant) -> "Door":
        """The same door to another tenant's."""

    def named(self, path: str) -> str:
        """How a problem names a field of a request, such as `page_size`, or of its resource, such as `page.slug`."""

    def create(self, **body: Any) -> Resource:
        """Create what `body` says beside the defaults."""

    def get(self, resource_id: str) -> Resource:
        """Get."""

    def listing(self, **options: Any) -> Listing:
        """List; options are the fields of the request."""

    def update(self, resource_id: str, changes: Resource, **options: Any) -> Resource:
        """Set what `changes` names; None clears."""

    def delete(self, resource_id: str, etag: str = "") -> None:
        """Delete."""

    def undelete(self, resource_id: str) -> Resource:
        """Undelete."""

    def batch_get(self, ids: list[str]) -> list[Resource]:
        """BatchGet."""


class RestDoor:
    """REST."""

    def __init__(self, tenant: Tenant, kind: Described) -> None:
        self.tenant = tenant
        self.kind = kind
        self.path = f"{tenant.path}/{kind.plural}"

    def at(self, tenant: Tenant) -> "RestDoor":
        """The same door to another tenant's."""
        return RestDoor(tenant, self.kind)

    def named(self, path: str) -> str:
        """As in the JSON that was sent: the resource is the body."""
        return _camel(path.removeprefix(f"{self.kind.singular}."))

    def create(self, **body: Any) -> Resource:
        """POST."""
        return self._ok(self.tenant.rest.post(self.path, self.kind.body() | body), 201)

    def get(self, resource_id: str) -> Resource:
        """GET one."""
        return self._ok(self.tenant.rest.get(f"{self.path}/{resource_id}"))

    def listing(self, **options: Any) -> Listing:
        """GET all."""
        params = {_camel(name): str(value).lower() if value is True else value for name, value in options.items()}
        body = self._ok(self.tenant.rest.get(self.path, params))
        return Listing(body[self.kind.plural], body["nextPageToken"], body.get("totalSize"))

    def update(self, resource_id: str, changes: Resource, **options: Any) -> Resource:
        """PATCH."""
        return self._ok(self.tenant.rest.patch(f"{self.path}/{resource_id}", changes, **options))

    def delete(self, resource_id: str, etag: str = "") -> None:
        """DELETE."""
        headers = {"if-match": etag} if etag else {}
        response = self.tenant.rest.delete(f"{self.path}/{resource_id}", headers=headers)
        self._refuse(response)
        assert (response.status_code, response.content) == (204, b"")

    def undelete(self, resource_id: str) -> Resource:
        """POST undelete."""
        return self._ok(self.tenant.rest.post(f"{self.path}/{resource_id}/undelete"))

    def batch_get(self, ids: list[str]) -> list[Resource]:
        """GET several."""
        body = self._ok(self.tenant.rest.get(f"{self.path}:batchGet", {"ids": ids}))
        found: list[Resource] = body[self.kind.plural]
        return found

    def _ok(self, response: httpx.Response, status: int = 200) -> Resource:
        self._refuse(response)
        assert response.status_code == status, response.text
        assert response.headers["x-request-id"]
        body: Resource = response.json()
        return body

    def _refuse(self, response: httpx.Response) -> None:
        if response.status_code < 400:
            return
        why = problem(response)
        code, status = STATUSES[why.reason]
        assert (why.code, response.status_code) == (code.value[0], status), why
        check_error(why, response.headers["x-request-id"])
        raise Refused(why)


class GrpcDoor:
    """The generated stubs."""

    def __init__(self, tenant: Tenant, kind: Described) -> None:
        self.tenant = tenant
        self.kind = kind
        self.stub = getattr(tenant.stubs, kind.plural)

    def at(self, tenant: Tenant) -> "GrpcDoor":
        """The same door to another tenant's."""
        return GrpcDoor(tenant, self.kind)

    def named(self, path: str) -> str:
        """As in the .proto."""
        return path

    def create(self, **body: Any) -> Resource:
        """Create."""
        return self._call("Create", **{self.kind.singular: self._message(self.kind.body() | body)})

    def get(self, resource_id: str) -> Resource:
        """Get."""
        return self._call("Get", **self._id(resource_id))

    def listing(self, **options: Any) -> Listing:
        """List."""
        body = self._call("List", plural=True, **options)
        return Listing(body[self.kind.plural], body["nextPageToken"], body.get("totalSize"))

    def update(self, resource_id: str, changes: Resource, **options: Any) -> Resource:
        """Update, with the mask that the changes amount to unless options have one."""
        options.setdefault("update_mask", {"paths": [_snake(name) for name in changes]})
        return self._call("Update", **self._id(resource_id), **{self.kind.singular: self._message(changes)}, **options)

    def delete(self, resource_id: str, etag: str = "") -> None:
        """Delete."""
        self._call("Delete", **self._id(resource_id), etag=etag)

    def undelete(self, resource_id: str) -> Resource:
        """Undelete."""
        return self._call("Undelete", **self._id(resource_id))

    def batch_get(self, ids: list[str]) -> list[Resource]:
        """BatchGet."""
        found: list[Resource] = self._call("BatchGet", plural=True, ids=ids)[self.kind.plural]
        return found

    def _id(self, resource_id: str) -> dict[str, Any]:
        return {f"{self.kind.singular}_id": resource_id}

    def _message(self, body: Resource) -> Any:
        return json_format.ParseDict(body, self.kind.message())

    def _call(self, verb: str, *, plural: bool = False, **fields: Any) -> Resource:
        request = self.kind.request(verb, plural=plural, tenant_id=self.tenant.id, **fields)
        rpc = getattr(self.stub, type(request).__name__.removesuffix("Request"))
        try:
            answer, call = rpc.with_call(request)
        except grpc.RpcError as error:
            raise self._refused(error) from error
        assert request_id(call)
        return json_format.MessageToDict(answer, always_print_fields_with_no_presence=True)

    def _refused(self, error: Any) -> Refused:
        why = rpc_problem(error)
        assert error.code() is STATUSES[why.reason][0], why
        check_error(why, request_id(error))
        return Refused(why)


def request_id(call: Any) -> str:
    """The request id of a gRPC response: of its headers, or of its trailers where there are only those."""
    headers = dict(call.initial_metadata() or ()) | dict(call.trailing_metadata() or ())
    return str(headers["x-request-id"])


def check_error(why: Problem, of_response: str) -> None:
    """What every error has."""
    assert why.domain == "plinth", why
    assert why.message, why
    assert why.request_id == of_response, why


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
