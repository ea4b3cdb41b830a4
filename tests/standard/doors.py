"""The two doors to a resource, REST and gRPC, with one interface: a test says what holds, and it holds at both.

Resources are dicts with JSON names at both doors. What is refused raises Refused, after the door has checked what every
error owes: the status of its reason, ErrorInfo of our domain, and the request id of the response.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import grpc
import httpx
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.policy import VARIABLE, Kind, MethodPolicy
from tests.clients import Problem, Session, Tenant, problem, rpc_problem
from tests.standard.resources import INSTANCES, Described

Resource = dict[str, Any]
NO_CONTENT = 204

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
    "LIMIT_REACHED": (grpc.StatusCode.FAILED_PRECONDITION, 409),
    "USER_REQUIRED": (grpc.StatusCode.PERMISSION_DENIED, 403),
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
    parent: str

    @property
    def carried(self) -> Resource:
        """What the body of a new one says of its parent."""

    def at(self, tenant: Tenant) -> Self:
        """The same door to another tenant's."""

    def below(self, parent: str) -> Self:
        """The same door to what belongs to another parent."""

    def for_(self, session: Session, parent: str = "") -> Self:
        """The same door for another member, with this parent or one of their own."""

    def of(self, kind: Described) -> Self:
        """The same door to another resource."""

    def do(self, rpc: str, fields: Resource | None = None, **metadata: str) -> Resource:
        """Any RPC of the service; fields are those of its request as in the .proto, resources as in JSON."""

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


class Parents:
    """The parent of what a member makes in a tenant: one for all of a kind, unless a door is told another."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Described], str] = {}

    def of(self, tenant: Tenant, kind: Described) -> str:
        """The id of the parent in a tenant; empty for a resource without one."""
        parent = kind.resource.parent
        if parent is None:
            return ""
        known = (tenant.access_token, kind)
        if known not in self._made:
            self._made[known] = new_parent(tenant, kind)
        return self._made[known]


def new_parent(tenant: Tenant, kind: Described) -> str:
    """The id of a new parent for a resource."""
    parent = kind.resource.parent
    assert parent is not None
    instance = INSTANCES[parent.resource.message.DESCRIPTOR.full_name]
    return str((instance.afresh or instance.make)(tenant)[parent.field])


PARENTS = Parents()


class Opened:
    """What both doors have in common."""

    def __init__(self, tenant: Tenant, kind: Described, parent: str = "") -> None:
        self.tenant = tenant
        self.kind = kind
        self.parent = parent or PARENTS.of(tenant, kind)

    def at(self, tenant: Tenant) -> Self:
        """The same door to another tenant's."""
        return type(self)(tenant, self.kind)

    def below(self, parent: str) -> Self:
        """The same door to what belongs to another parent."""
        return type(self)(self.tenant, self.kind, parent)

    def for_(self, session: Session, parent: str = "") -> Self:
        """The same door for another member, with this parent or one of their own."""
        return type(self)(replace(self.tenant, session=session), self.kind, parent)

    def of(self, kind: Described) -> Self:
        """The same door to another resource."""
        return type(self)(self.tenant, kind)

    def message(self, method: MethodPolicy, fields: Resource) -> Message:
        """The request of an RPC, with what is in its path over REST beside the fields."""
        made = GetMessageClass(method.descriptor.input_type)()
        parent = self.kind.resource.parent
        above = {"tenant_id": self.tenant.id, parent.field if parent else "": self.parent}
        known = {name: value for name, value in above.items() if name in made.DESCRIPTOR.fields_by_name}
        # What is named in a list of all parents is an option.
        carried = known if self.kind.parent_in_path or method.kind is Kind.REORDER else {}
        tenant = {name: value for name, value in known.items() if name == "tenant_id"}
        return json_format.ParseDict({**tenant, **carried, **fields}, made)

    @property
    def carried(self) -> Resource:
        """What the body of a new one says of its parent."""
        parent = self.kind.resource.parent
        return {camel(parent.field): self.parent} if parent and not self.kind.parent_in_path else {}


class RestDoor(Opened):
    """REST."""

    @property
    def path(self) -> str:
        """Where they are."""
        path = self.kind.standard[Kind.CREATE].bindings[0].path
        parent = self.kind.resource.parent
        known = {"tenant_id": self.tenant.id, parent.field if parent else "": self.parent}
        return VARIABLE.sub(lambda match: known[match[0].strip("{}")], path)

    def named(self, path: str) -> str:
        """As in the JSON that was sent: the resource is the body."""
        return camel(path.removeprefix(f"{self.kind.singular}."))

    def create(self, **body: Any) -> Resource:
        """POST."""
        return self._ok(self.tenant.rest.post(self.path, self.kind.body() | self.carried | body), 201)

    def get(self, resource_id: str) -> Resource:
        """GET one."""
        return self._ok(self.tenant.rest.get(f"{self.path}/{resource_id}"))

    def listing(self, **options: Any) -> Listing:
        """GET all."""
        params = {camel(name): str(value).lower() if value is True else value for name, value in options.items()}
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

    def do(self, rpc: str, fields: Resource | None = None, **metadata: str) -> Resource:
        """Its first binding."""
        method = self.kind.methods[rpc]
        binding = method.bindings[0]
        left: Resource = json_format.MessageToDict(self.message(method, fields or {}))
        path = VARIABLE.sub(lambda match: str(left.pop(camel(match[0].strip("{}")))), binding.path)
        body, query = (left, {}) if binding.body == "*" else (left.pop(camel(binding.body), None), left)
        headers = {name.replace("_", "-"): value for name, value in metadata.items()}
        answer = self.tenant.rest.request(binding.verb, path, params=query, json=body, headers=headers)
        if method.success_status == NO_CONTENT and answer.status_code == NO_CONTENT:
            return {}
        return self._ok(answer, method.success_status)

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


class GrpcDoor(Opened):
    """The generated stubs."""

    @property
    def stub(self) -> Any:
        """That of the service."""
        return self.tenant.stubs[self.kind.service.descriptor.full_name]

    def named(self, path: str) -> str:
        """As in the .proto."""
        return snake(path)

    def create(self, **body: Any) -> Resource:
        """Create."""
        message = self._message(self.kind.body() | self.carried | body)
        return self._call(Kind.CREATE, **{self.kind.singular: message})

    def get(self, resource_id: str) -> Resource:
        """Get."""
        return self._call(Kind.GET, **self._id(resource_id))

    def listing(self, **options: Any) -> Listing:
        """List."""
        body = self._call(Kind.LIST, **options)
        return Listing(body[self.kind.plural], body["nextPageToken"], body.get("totalSize"))

    def update(self, resource_id: str, changes: Resource, **options: Any) -> Resource:
        """Update, with the mask that the changes amount to unless options have one."""
        options.setdefault("update_mask", {"paths": [snake(name) for name in changes]})
        return self._call(
            Kind.UPDATE, **self._id(resource_id), **{self.kind.singular: self._message(changes)}, **options
        )

    def delete(self, resource_id: str, etag: str = "") -> None:
        """Delete."""
        self._call(Kind.DELETE, **self._id(resource_id), etag=etag)

    def undelete(self, resource_id: str) -> Resource:
        """Undelete."""
        return self._call(Kind.UNDELETE, **self._id(resource_id))

    def batch_get(self, ids: list[str]) -> list[Resource]:
        """BatchGet."""
        found: list[Resource] = self._call(Kind.BATCH_GET, ids=ids)[self.kind.plural]
        return found

    def _id(self, resource_id: str) -> dict[str, Any]:
        return {f"{self.kind.singular}_id": resource_id}

    def _message(self, body: Resource) -> Any:
        return json_format.ParseDict(body, self.kind.message())

    def fields(self, **fields: Any) -> dict[str, Any]:
        """The fields of a request, with what is in the path over REST."""
        parent = self.kind.resource.parent
        above = {parent.field: self.parent} if parent and self.kind.parent_in_path else {}
        return {"tenant_id": self.tenant.id, **above, **fields}

    def do(self, rpc: str, fields: Resource | None = None, **metadata: str) -> Resource:
        """The RPC."""
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        return self._ask(rpc, self.message(self.kind.methods[rpc], fields or {}), pairs)

    def _call(self, kind: Kind, **fields: Any) -> Resource:
        return self._ask(self.kind.standard[kind].name, self.kind.request(kind, **self.fields(**fields)))

    def _ask(self, rpc: str, request: Message, metadata: tuple[tuple[str, str], ...] = ()) -> Resource:
        try:
            answer, call = getattr(self.stub, rpc).with_call(request, metadata=metadata)
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


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
