"""Whatever callers choose, no process remembers all of it: thousands of each kind leave memory as it was.

A kind that is remembered without a bound takes several times what is allowed here: texts are as long as they may be,
and a prepared statement takes PostgreSQL 30 KB on each connection.
"""

import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice, product
from typing import Any
from urllib.parse import quote, urlencode

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server.kernel.call import Principal
from server.kernel.guard.tokens import AccessTokens
from tests.clients import Tenant, new_tenant
from tests.domains.platform import new_platform_admin
from tests.guard.flood import Request, flood
from tests.stack import Stack

# On a machine that does much else, some of them take half a minute each.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]

MANY = 5_000
# Brings connections, threads and what is compiled once into being.
FIRST = 400
MEGABYTE = 1 << 20
# PostgreSQL is the sum of its processes, some of which come and go.
ALLOWED = {"postgres": 64, "redis": 24}
ALLOWED_ELSE = 16
# May be as long as a path or a header allows with ease.
LONG = 3_000

Kind = Callable[[Tenant, int], Request]


@pytest.fixture(scope="module")
def tenant() -> Iterator[Tenant]:
    # One worker, which meets everything, with little memory of its own for answers.
    # It waits as long for PostgreSQL as a machine takes that does much else.
    few: dict[str, Any] = {"api_workers": 1, "api_threads": 4, "slow_threads": 1, "database_pool_size": 4}
    stack = Stack(**few, cache_bytes=4 * MEGABYTE, trusted_proxies=1, database_connect_timeout=20)
    try:
        yield new_tenant(stack.start())
    finally:
        stack.remove()


def memory(stack: Stack) -> dict[str, float]:
    """Megabytes that each process has for itself; of Envoy what it uses, since it gives little back of what it had."""
    found = {}
    for name, pid in stack.processes().items():
        process = psutil.Process(pid)
        family = [process, *(process.children(recursive=True) if name == "postgres" else ())]
        found[name] = sum(_own_bytes(one) for one in family) / MEGABYTE
    return found | {"envoy": _allocated(stack) / MEGABYTE}


def _allocated(stack: Stack) -> int:
    transport = httpx.HTTPTransport(uds=str(stack.settings.socket("envoy-admin")))
    with httpx.Client(transport=transport, base_url="http://admin") as client:
        return int(client.get("/memory").json()["allocated"])


def _own_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.NoSuchProcess:
        # One of PostgreSQL's that has ended meanwhile.
        return 0


def check_growth(stack: Stack, before: dict[str, float]) -> None:
    """Nobody has grown by more than is allowed, and everybody is who they were."""
    grown = {name: after - before[name] for name, after in memory(stack).items()}
    too_much = {name: f"{more:.1f} MB" for name, more in grown.items() if more > ALLOWED.get(name, ALLOWED_ELSE)}
    assert not too_much, grown


# Kinds ---------------------------------------------------------------------------------------------------------------


def long_text(number: int, length: int = LONG) -> str:
    """A text that no other number has, from which nothing can be shared."""
    return f"{number:06d}{random.Random(number).randbytes(length // 2).hex()}"[:length]  # noqa: S311 - no secret


def as_owner(tenant: Tenant) -> dict[str, str]:
    return {"authorization": f"Bearer {tenant.access_token}"}


def listing(tenant: Tenant, **query: Any) -> Request:
    return Request(f"{tenant.path}/pages?{urlencode(query)}", headers=as_owner(tenant))


COMPARISONS = [f"{field}{operator}" for field in ("title", "slug") for operator in ("=", "!=", "<", ">", ":")]
SHAPES = list(product(COMPARISONS, repeat=4))


def filters(tenant: Tenant, number: int) -> Request:
    """Each of a shape of its own, with values of its own."""
    return listing(tenant, filter=" ".join(f'{comparison}"{long_text(number, 100)}"' for comparison in SHAPES[number]))


def orders(tenant: Tenant, number: int) -> Request:
    """Every order there is, and many ways to write each."""
    fields = ["create_time", "updateTime", "slug", "title"]
    chosen = random.Random(number)  # noqa: S311 - no secret
    chosen.shuffle(fields)
    terms = [f"{field}{chosen.choice(('', ' desc', ' asc'))}" for field in fields[: chosen.randint(1, 4)]]
    return listing(tenant, orderBy=("," + " " * (number % 20)).join(terms), pageSize=1 + number % 200)


def page_tokens(tenant: Tenant, number: int) -> Request:
    return listing(tenant, pageToken=long_text(number, 1900))


def ids(tenant: Tenant, number: int) -> Request:
    """Each stands under a tag of its own."""
    return Request(f"{tenant.path}/pages/{long_text(number)}", headers=as_owner(tenant))


def tenants(tenant: Tenant, number: int) -> Request:
    name = long_text(number) if number % 2 else str(uuid.uuid4())
    return Request(f"/api/v1/tenants/{name}/pages", headers=as_owner(tenant))


def tenants_of_an_administrator(tenant: Tenant, number: int) -> Request:
    """Who administers the platform may name any tenant."""
    own = {"authorization": f"Bearer {administrator(tenant.stack).access_token}"}
    return Request(f"/api/v1/tenants/{long_text(number, 4000)}/pages", headers=own)


administrator = cache(new_platform_admin)


def body_keys(tenant: Tenant, number: int) -> Request:
    """Below a field that is free in form, any key may stand; beside it, none that the message lacks."""
    keys = {"settings": {long_text(number, 400): 1}} if number % 2 else {long_text(number): 1}
    return Request.of_json("PATCH", f"{tenant.path}/pages/{uuid.uuid4()}", keys, as_owner(tenant))


def query_parameters(tenant: Tenant, number: int) -> Request:
    return listing(tenant, **{long_text(number): "x"})


def paths(tenant: Tenant, number: int) -> Request:
    del tenant
    return Request(f"/{long_text(number)}")


def rpc_methods(tenant: Tenant, number: int) -> Request:
    """Over gRPC-Web: of a service that is there, and of one that is not."""
    del tenant
    service = "plinth.sites.v1.PageService" if number % 2 else long_text(number, 500)
    headers = {"content-type": "application/grpc-web+proto"}
    return Request(f"/{service}/{long_text(number, 500)}", "POST", headers, b"\0\0\0\0\0")


def false_tokens(tenant: Tenant, number: int) -> Request:
    return Request(f"{tenant.path}/pages", headers={"authorization": f"Bearer {long_text(number)}"})


def false_api_keys(tenant: Tenant, number: int) -> Request:
    return Request(f"{tenant.path}/pages", headers={"x-api-key": f"sn_live_{long_text(number, 43)}"})


def access_token(tenant: Tenant, number: int) -> str:
    """A valid one of the owner's session, like no other."""
    tokens, principal = issuing(tenant)
    return tokens.issue(replace(principal, roles=(long_text(number, 200),)))


@cache
def issuing(tenant: Tenant) -> tuple[AccessTokens, Principal]:
    """What issues the tokens of a stack, and whom the owner's token stands for."""
    settings = tenant.stack.settings
    tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=3600)
    return tokens, tokens.verify(tenant.access_token)


def logins(tenant: Tenant, number: int) -> Request:
    del tenant
    body = {"email": f"{long_text(number, 60)}@example.com", "password": "x", "tenant": long_text(number, 60)}
    return Request.of_json("POST", "/api/v1/auth/login", body)


def headers(tenant: Tenant, number: int) -> Request:
    """Addresses, valid tokens, and whatever else of a request's head is looked at or passed on."""
    text = long_text(number, 200)
    chosen = {
        "authorization": f"Bearer {access_token(tenant, number)}",
        "x-forwarded-for": str(uuid.UUID(int=number)) if number % 5 == 0 else f"10.{number % 250}.{number // 250}.7",
        "user-agent": text,
        "origin": f"https://{text[:60]}.example.com",
        "x-request-id": text[:100],
        "if-none-match": f'"{text}"',
        "idempotency-key": text,
        "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01",
        "accept-language": text,
        f"x-{text[:50]}": text,
    }
    return Request(f"{tenant.path}/pages", headers=chosen)


def streams(tenant: Tenant, number: int) -> Request:
    """Of the realtime process: with tokens that are none, or after events that are none."""
    if number % 2:
        query = {"access_token": tenant.access_token, "lastEventId": long_text(number, 60)}
        return Request(f"{tenant.path}/pages/stream?{urlencode(query)}")
    return Request(f"{tenant.path}/pages/stream?access_token={quote(long_text(number))}")


KINDS: tuple[Kind, ...] = (
    filters,
    orders,
    page_tokens,
    ids,
    tenants,
    tenants_of_an_administrator,
    body_keys,
    query_parameters,
    paths,
    rpc_methods,
    false_tokens,
    false_api_keys,
    logins,
    headers,
    streams,
)


def of(kind: Kind, tenant: Tenant, numbers: Iterable[int]) -> list[Request]:
    return [kind(tenant, number) for number in numbers]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_callers_choose_is_not_kept(tenant: Tenant, kind: Kind) -> None:
    flood(tenant.stack, of(kind, tenant, range(FIRST)))
    requests = of(kind, tenant, range(FIRST, FIRST + MANY))
    before = memory(tenant.stack)
    statuses = flood(tenant.stack, requests)
    assert statuses.total() == MANY
    assert not statuses.failures, f"{statuses.failures}\n{tenant.stack.output}"
    check_growth(tenant.stack, before)


def test_shapes_that_come_again_and_again_are_kept_up_to_a_bound(tenant: Tenant) -> None:
    """Connections prepare them by name, and PostgreSQL keeps what is prepared until it is told to close it."""
    flood(tenant.stack, of(filters, tenant, range(FIRST)))
    requests = [filters(tenant, number) for number in range(FIRST, FIRST + MANY // 4) for _ in range(6)]
    before = memory(tenant.stack)
    assert flood(tenant.stack, requests).keys() == {200}
    check_growth(tenant.stack, before)


def test_names_of_services_that_somebody_watches_are_not_kept(tenant: Tenant) -> None:
    def watch(numbers: Iterable[int]) -> None:
        waiting = iter(numbers)
        # The gateway ends a connection on which more than 500 streams are broken off.
        while some := list(islice(waiting, 250)):
            with grpc.insecure_channel(tenant.stack.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                for number in some:
                    answers = stub.Watch(health_pb2.HealthCheckRequest(service=long_text(number, 2 * LONG)), timeout=30)
                    assert next(answers).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
                    answers.cancel()

    watch(range(FIRST))
    before = memory(tenant.stack)
    watch(range(FIRST, FIRST + MANY))
    check_growth(tenant.stack, before)


def test_symbols_that_reflection_is_asked_for_are_not_kept(tenant: Tenant) -> None:
    def ask(stub: Any, numbers: Iterable[int]) -> None:
        asked = (
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"plinth.x{long_text(number, 4 * LONG)}")
            for number in numbers
        )
        assert all(answer.HasField("error_response") for answer in stub.ServerReflectionInfo(asked, timeout=60))

    with grpc.insecure_channel(tenant.stack.target) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        ask(stub, range(FIRST))
        before = memory(tenant.stack)
        ask(stub, range(FIRST, FIRST + MANY))
    check_growth(tenant.stack, before)
