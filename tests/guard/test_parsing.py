"""Bytes that are no message are the caller's fault, and cost nothing before it is known who sent them."""

from typing import Any

import grpc
import pytest

from server import app
from server.kernel.policy import Access, MethodPolicy
from server.kernel.steps.parse import SMALL
from tests.clients import Tenant, rpc_problem

POLICIES = app.policies()
# A tag that ends nowhere; a length beyond the end.
GARBAGE = (b"\xff\xff", b"\x0a\x7fabc")
DEADLINE = 20.0


def send(tenant: Tenant, policy: MethodPolicy, raw: bytes, token: str) -> grpc.RpcError:
    """How a call with these bytes ends, which is not well."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(tenant.stack.target) as channel:
        kind: Any = channel.unary_stream if policy.streaming else channel.unary_unary
        rpc = kind(policy.path)
        with pytest.raises(grpc.RpcError) as raised:
            _ = list(rpc(raw, metadata=metadata, timeout=DEADLINE))
    return raised.value


@pytest.mark.parametrize("path", POLICIES)
def test_bytes_that_are_no_message_are_malformed(tenant: Tenant, path: str) -> None:
    policy = POLICIES[path]
    is_known = policy.access is not Access.PUBLIC
    for raw in GARBAGE:
        why = rpc_problem(send(tenant, policy, raw, tenant.access_token if is_known else ""))
        assert (why.code, why.reason) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "MALFORMED"), why
        assert policy.descriptor.input_type.full_name in why.message


def test_a_text_that_is_not_utf8_is_malformed(tenant: Tenant) -> None:
    policy = POLICIES["/plinth.sites.v1.PageService/GetPage"]
    why = rpc_problem(send(tenant, policy, b"\x0a\x02\xff\xfe", tenant.access_token))
    assert why.reason == "MALFORMED"


@pytest.mark.parametrize("path", [path for path, policy in POLICIES.items() if policy.access is not Access.PUBLIC])
def test_a_strangers_bytes_are_not_looked_at(tenant: Tenant, path: str) -> None:
    error: Any = send(tenant, POLICIES[path], b"\xff" * (SMALL + 1), "")
    # What a provider signs is parsed first, since its signature is over it.
    is_signed = POLICIES[path].access is Access.PROVIDER_SIGNATURE
    early = is_signed or {"access_token", "ticket"}.intersection(POLICIES[path].descriptor.input_type.fields_by_name)
    wanted = grpc.StatusCode.INVALID_ARGUMENT if early else grpc.StatusCode.UNAUTHENTICATED
    assert error.code() is wanted


def test_a_refusal_tells_the_audit_log_which_tenant_was_meant(tenant: Tenant) -> None:
    """Small requests are parsed for the entry alone."""
    policy = POLICIES["/plinth.sites.v1.PageService/DeletePage"]
    raw = b"\x0a" + bytes([len(tenant.id)]) + tenant.id.encode()
    assert rpc_problem(send(tenant, policy, raw, "")).reason == "CREDENTIALS_MISSING"
