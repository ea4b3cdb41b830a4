"""Doors by which the writers of a load come in: REST through the gateway, or the api worker of one host."""

from collections.abc import Callable
from typing import Any, cast

import grpc
import httpx
from plinth.sites.v1 import page_pb2, page_pb2_grpc

from tests.clients import Tenant, problem, rpc_problem

CREATED, LATER = "", "later"
Door = Callable[[str, str], str]
"""Asks for a page of a slug with an idempotency key. CREATED, LATER, or what was answered instead."""
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    # Calls that a server has not begun with when it ends are cancelled by gRPC itself.
    grpc.StatusCode.CANCELLED,
)
# The first attempt may still be at work.
RUNNING = "IDEMPOTENT_CALL_RUNNING"
TIMEOUT = 20.0
# A host that is back is found at once.
OPTIONS = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.use_local_subchannel_pool", 1)]


def through_gateway(tenant: Tenant, *also: int) -> Door:
    """REST, as browsers call. `also` are further statuses after which the caller asks again."""

    def ask(slug: str, key: str) -> str:
        body, headers = {"title": slug, "slug": slug}, {"idempotency-key": key}
        try:
            answer = tenant.rest.post(f"{tenant.path}/pages", body, headers=headers)
        except httpx.TransportError:
            return LATER
        if answer.status_code == 201:
            return CREATED
        if answer.status_code in {429, 503, 504, *also} or (
            answer.status_code == 409 and problem(answer).reason == RUNNING
        ):
            return LATER
        return f"{answer.status_code} {answer.text}"

    return ask


def at_host(target: str, tenant_id: str, token: str) -> Door:
    """The api worker itself, as callers inside a deployment do."""
    channel = grpc.insecure_channel(target, options=OPTIONS)
    stub = cast("Any", page_pb2_grpc.PageServiceStub)(channel)

    def ask(slug: str, key: str) -> str:
        request = page_pb2.CreatePageRequest(tenant_id=tenant_id, page=page_pb2.Page(slug=slug, title=slug))
        metadata = [("authorization", f"Bearer {token}"), ("idempotency-key", key)]
        try:
            stub.CreatePage(request, metadata=metadata, timeout=TIMEOUT)
        except grpc.RpcError as error:
            known = rpc_problem(error)
            code = grpc.StatusCode[_name(known.code)]
            return LATER if code in PASSING or known.reason == RUNNING else f"{code} {known.message}"
        return CREATED

    return ask


def _name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)
