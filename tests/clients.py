"""Clients of a stack, as tests want them: REST through the gateway, generated gRPC stubs, and errors taken apart.

Every test makes its own user or tenant here, so tests need no cleaning and run beside each other. Connections are
shared by everything in a process that talks to the same stack.
"""

import atexit
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib import import_module
from typing import Any, ClassVar, Self, cast

import grpc
import httpx
import psycopg
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from server.embedded.postgres import ADMINISTRATOR
from server.modules import services
from tests.stack import Stack

TIMEOUT = 30.0
STATUS_DETAILS = "grpc-status-details-bin"


# REST ----------------------------------------------------------------------------------------------------------------


class Rest:
    """REST of one stack, with a bearer token or without one. Paths start at `/`, or below `/api/v1/` without it."""

    def __init__(self, stack: Stack, token: str | None = None) -> None:
        self._client = _http_client(stack.url)
        self._token = token

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Any request; options are those of httpx."""
        own = {"authorization": f"Bearer {self._token}"} if self._token else {}
        where = path if path.startswith(("/", "http")) else f"/api/v1/{path}"
        return self._client.request(method, where, headers=own | dict(headers or {}), **options)

    def get(self, path: str, params: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        """A GET; params become the query."""
        return self.request("GET", path, params=params, **options)

    def head(self, path: str, **options: Any) -> httpx.Response:
        """A HEAD."""
        return self.request("HEAD", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """A POST of JSON; without a body when there is none."""
        return self._send("POST", path, json, options)

    def patch(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """A PATCH of JSON."""
        return self._send("PATCH", path, json, options)

    def put(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """A PUT of JSON."""
        return self._send("PUT", path, json, options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        """A DELETE."""
        return self.request("DELETE", path, **options)

    def _send(self, method: str, path: str, json: Any, options: dict[str, Any]) -> httpx.Response:
        return self.request(method, path, **({"json": json} if json is not None else {}), **options)


@cache
def _http_client(url: str) -> httpx.Client:
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
    client = httpx.Client(base_url=url, timeout=TIMEOUT, limits=limits, trust_env=False)
    # All callers share it: a cookie of one must not come with the call of another.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    atexit.register(client.close)
    return client


# gRPC ----------------------------------------------------------------------------------------------------------------

# Full names of services to the modules of their files, without `_pb2`.
FILES = {
    str(service.descriptor.full_name): service.descriptor.file.name.removesuffix(".proto").replace("/", ".")
    for service in services()
}


class Stubs:
    """The generated stubs, each call with the metadata given. Any because protoc writes no types for them.

    `stubs["plinth.fleet.v1.VehicleService"]` is that of any service; those that many tests use have short names too.
    """

    SHORT: ClassVar[Mapping[str, str]] = {
        "auth": "plinth.identity.v1.AuthService",
        "tenants": "plinth.tenancy.v1.TenantService",
        "branding": "plinth.tenancy.v1.BrandingService",
        "pages": "plinth.sites.v1.PageService",
        "health": "plinth.operations.v1.HealthService",
        "api_keys": "plinth.identity.v1.ApiKeyService",
        "roles": "plinth.tenancy.v1.RoleService",
        "members": "plinth.tenancy.v1.MembershipService",
        "rate_limits": "plinth.tenancy.v1.RateLimitsService",
        "ip_blocks": "plinth.operations.v1.IpBlockService",
        "cache": "plinth.operations.v1.CacheService",
        "audit": "plinth.audit.v1.AuditService",
        "webhooks": "plinth.webhooks.v1.WebhookService",
    }

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._made: dict[str, Any] = {}

    def __getitem__(self, service: str) -> Any:
        if service not in self._made:
            module = import_module(f"{FILES[service]}_pb2_grpc")
            self._made[service] = getattr(module, f"{service.rpartition('.')[2]}Stub")(self._channel)
        return self._made[service]

    def __getattr__(self, name: str) -> Any:
        try:
            return self[self.SHORT[name]]
        except KeyError:
            raise AttributeError(name) from None


def stubs(stack: Stack, token: str | None = None, **metadata: str) -> Stubs:
    """Stubs through the gateway, as a service uses them."""
    pairs = [("authorization", f"Bearer {token}")] if token else []
    pairs += [(name.replace("_", "-"), value) for name, value in metadata.items()]
    channel = grpc.intercept_channel(_channel(stack.target), _WithMetadata(tuple(pairs)))
    return Stubs(channel)


@cache
def _channel(target: str) -> grpc.Channel:
    channel = grpc.insecure_channel(target)
    atexit.register(channel.close)
    return channel


class _WithMetadata(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds metadata, and a deadline for calls that bring none, so that no test hangs."""

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._pairs = pairs

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._details(client_call_details, TIMEOUT), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._details(client_call_details, None), request)

    def _details(self, details: Any, timeout: float | None) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), *self._pairs), timeout=details.timeout or timeout)


# Errors --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """An error, the same for REST and gRPC."""

    code: int
    """The number of google.rpc.Code."""
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: dict[str, list[str]] = field(default_factory=dict)
    """Field path to the descriptions of what is wrong with it."""
    rules: tuple[str, ...] = ()
    """The ids of the rules that are violated, in the order of the violations."""
    request_id: str = ""
    resource_type: str = ""
    retry_after: float | None = None

    @staticmethod
    def of(status: status_pb2.Status) -> "Problem":
        """Take a google.rpc.Status apart."""
        problem = Problem(status.code, status.message)
        for packed in status.details:
            problem = _with_detail(problem, packed)
        return problem


def problem(response: httpx.Response) -> Problem:
    """What a REST error says. Its body has to be the JSON of google.rpc.Status, nothing else."""
    assert response.status_code >= 400, f"{response.status_code} is no error: {response.text}"
    assert response.headers["content-type"].startswith("application/json"), response.headers
    return Problem.of(json_format.Parse(response.content, status_pb2.Status()))


def reason(response: httpx.Response) -> tuple[int, str]:
    """Status and reason of an error."""
    return response.status_code, problem(response).reason


def rpc_problem(error: grpc.RpcError) -> Problem:
    """What a gRPC error says, from grpc-status-details-bin."""
    call = cast("grpc.Call", error)
    details = dict(call.trailing_metadata() or ()).get(STATUS_DETAILS)
    if details is None:
        return Problem(call.code().value[0], call.details() or "")
    status = status_pb2.Status.FromString(cast("bytes", details))
    assert status.code == call.code().value[0], "the details contradict the status"
    return Problem.of(status)


def refused(call: Callable[[], object]) -> Problem:
    """The problem of an RPC that has to fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return rpc_problem(caught.value)


def _with_detail(known: Problem, packed: Any) -> Problem:
    kinds: dict[Any, Callable[[Any], dict[str, Any]]] = {
        error_details_pb2.ErrorInfo: lambda info: {
            "reason": info.reason,
            "domain": info.domain,
            "metadata": dict(info.metadata),
        },
        error_details_pb2.BadRequest: _violations,
        error_details_pb2.RequestInfo: lambda info: {"request_id": info.request_id},
        error_details_pb2.ResourceInfo: lambda info: {"resource_type": info.resource_type},
        error_details_pb2.RetryInfo: lambda info: {"retry_after": info.retry_delay.ToTimedelta().total_seconds()},
    }
    for kind, read in kinds.items():
        detail = kind()
        if packed.Unpack(detail):
            return replace(known, **read(detail))
    raise AssertionError(f"unknown detail {packed.type_url}")


def _violations(detail: Any) -> dict[str, Any]:
    by_field: dict[str, list[str]] = {}
    for violation in detail.field_violations:
        by_field.setdefault(violation.field, []).append(violation.description)
    return {"violations": by_field, "rules": tuple(violation.reason for violation in detail.field_violations)}


# Users and tenants ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """Somebody who signed up."""

    email: str
    password: str
    id: str


@dataclass(frozen=True)
class Session:
    """Tokens."""

    access_token: str
    refresh_token: str
    tenant_id: str
    roles: tuple[str, ...]

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """From the answer of a login, a refresh or a switch."""
        assert response.status_code == 200, response.text
        body = response.json()
        return cls(body["accessToken"], body["refreshToken"], body["tenantId"], tuple(body["roles"]))


@dataclass(frozen=True)
class Tenant:
    """A tenant of one's own, with the session of its owner."""

    stack: Stack
    id: str
    subdomain: str
    owner: Account
    session: Session

    @property
    def access_token(self) -> str:
        """The owner's access token; it carries the tenant."""
        return self.session.access_token

    @property
    def refresh_token(self) -> str:
        """The owner's refresh token."""
        return self.session.refresh_token

    @property
    def path(self) -> str:
        """Where the tenant is, for Rest."""
        return f"/api/v1/tenants/{self.id}"

    @property
    def rest(self) -> Rest:
        """REST as the owner."""
        return Rest(self.stack, self.access_token)

    @property
    def stubs(self) -> Stubs:
        """gRPC as the owner."""
        return stubs(self.stack, self.access_token)


def unique(prefix: str) -> str:
    """A label that nobody else has."""
    return f"{prefix}-{secrets.token_hex(6)}"


def new_address() -> str:
    """An address that nobody else has."""
    return f"{unique('user')}@example.com"


def new_password() -> str:
    """A password that keeps the rules."""
    return f"Qx7!{secrets.token_hex(8)}"


def sign_up(stack: Stack, **facts: str) -> Account:
    """Somebody new; facts are fields of the request, such as `tenant`."""
    account = Account(facts.pop("email", new_address()), facts.pop("password", new_password()), "")
    body = {"email": account.email, "password": account.password, **facts}
    response = Rest(stack).post("auth/signup", body)
    assert response.status_code == 201, response.text
    return replace(account, id=response.json()["user"]["id"])


def log_in(stack: Stack, account: Account, tenant: str = "") -> Session:
    """A new session, in the tenant of this subdomain, or the last one."""
    body = {"email": account.email, "password": account.password, "tenant": tenant}
    return Session.of(Rest(stack).post("auth/login", body))


def switch_tenant(stack: Stack, session: Session, tenant_id: str) -> Session:
    """The same session in another tenant."""
    return Session.of(Rest(stack, session.access_token).post("auth/switch-tenant", {"tenantId": tenant_id}))


def new_tenant(stack: Stack, owner: Account | None = None, **facts: Any) -> Tenant:
    """A new tenant of a new owner; facts are fields of the tenant, as in JSON."""
    account = owner or sign_up(stack)
    session = log_in(stack, account)
    body = {"subdomain": unique("t"), "name": "Acme", **facts}
    response = Rest(stack, session.access_token).post("tenants", body)
    assert response.status_code == 201, response.text
    tenant_id = response.json()["id"]
    return Tenant(stack, tenant_id, body["subdomain"], account, switch_tenant(stack, session, tenant_id))


def another_tenant(tenant: Tenant, **facts: Any) -> Tenant:
    """A further tenant of the same owner. Cheap: nobody signs up or logs in, and the session goes on in it."""
    body = {"subdomain": unique("t"), "name": "Acme", **facts}
    response = tenant.rest.post("tenants", body)
    assert response.status_code == 201, response.text
    session = switch_tenant(tenant.stack, tenant.session, response.json()["id"])
    return replace(tenant, id=response.json()["id"], subdomain=body["subdomain"], session=session)


def new_member(tenant: Tenant, *roles: str) -> tuple[Account, Session]:
    """Somebody new in the tenant with these roles. By SQL: there is no invitation yet."""
    account = sign_up(tenant.stack)
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, %s)",
            (tenant.id, account.id, list(roles)),
        )
    return account, log_in(tenant.stack, account)


# The database --------------------------------------------------------------------------------------------------------


@contextmanager
def database(stack: Stack) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """The stack's embedded PostgreSQL as its superuser, whom no wall stops; committed at the end."""
    with psycopg.connect(
        host=str(stack.settings.socket_dir),
        user=ADMINISTRATOR,
        dbname="plinth",
        row_factory=psycopg.rows.dict_row,
    ) as connection:
        yield connection


def rows(stack: Stack, sql: str, *values: Any) -> list[dict[str, Any]]:
    """What a query finds, whoever's it is."""
    with database(stack) as connection:
        return connection.execute(cast("Any", sql), values).fetchall()
