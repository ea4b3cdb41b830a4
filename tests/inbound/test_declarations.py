"""What a domain declares of raw bodies and signatures, and how start-up refuses contradictions."""

from collections.abc import Callable
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from plinth.policy.v1 import policy_pb2

from server.kernel.inbound import InboundCall, InboundSignature, Sender
from server.kernel.inbound.signatures import verifiers
from server.kernel.policy import MethodPolicy, PolicyError, read_policies
from tests.inbound import contract

Plant = Callable[[Any], None]


def faults_of(rpc: str, plant: Callable[[Any, Any], None]) -> list[str]:
    """The faults when the policy and the binding of an RPC are changed."""
    files = descriptor_pb2.FileDescriptorSet.FromString(contract.descriptors())
    method = next(each for each in files.file[-1].service[0].method if each.name == rpc)
    options: Any = method.options
    plant(options.Extensions[policy_pb2.policy], options.Extensions[annotations_pb2.http])
    pool = DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    service: Any = pool.FindServiceByName(contract.SERVICE.full_name)
    with pytest.raises(PolicyError) as refused:
        read_policies([service])
    return [fault.partition(": ")[2] for fault in refused.value.faults]


def cleared(policy: Any, _http: Any) -> None:
    policy.ClearField("raw")


def in_raw(**facts: Any) -> Callable[[Any, Any], None]:
    def plant(policy: Any, _http: Any) -> None:
        for name, value in facts.items():
            if isinstance(value, list):
                getattr(policy.raw, name)[:] = value
            else:
                setattr(policy.raw, name, value)

    return plant


def whole(_policy: Any, http: Any) -> None:
    http.body = "*"


def waiting(policy: Any, _http: Any) -> None:
    policy.pool = policy_pb2.POOL_WAITING


FAULTS: list[tuple[str, Callable[[Any, Any], None], str]] = [
    ("TakeReport", cleared, "the body `body` is a google.api.HttpBody: declare `raw` with its `max_bytes`"),
    ("TakeReport", in_raw(max_bytes=0), "declares `raw` without `max_bytes`: say how many bytes it takes"),
    ("TakeReport", in_raw(max_inflated_bytes=1), "raw.max_inflated_bytes is less than raw.max_bytes"),
    (
        "TakeImage",
        in_raw(any_origin=True),
        "raw.any_origin is for RPCs that are `public` or have a `provider_signature`",
    ),
    ("ReceiveHook", in_raw(exposed_headers=["x-a"]), "raw.exposed_headers is for pages of any origin"),
    ("TakeReport", in_raw(exposed_headers=["X-A"]), "raw.exposed_headers has `X-A`: write the name of a header"),
    ("TakeImage", in_raw(content_types=["Image/png; q=1"]), "raw.content_types has `Image/png; q=1`"),
    ("TakeImage", whole, "declares `raw`: every `body` of its bindings has to name one field"),
    ("MakeHook", in_raw(max_bytes=1), "declares `raw`: every `body` of its bindings has to name one field"),
    ("TakeImage", waiting, "declares `raw`, which is for unary RPCs that do not wait"),
    ("ReceiveHook", waiting, "what a provider signs is unary and does not wait"),
]


@pytest.mark.parametrize(("rpc", "plant", "fault"), FAULTS, ids=[fault for _, _, fault in FAULTS])
def test_contradictions_keep_the_server_from_starting(rpc: str, plant: Callable[[Any, Any], None], fault: str) -> None:
    assert [each for each in faults_of(rpc, plant) if each.startswith(fault)] != []


def policies() -> list[MethodPolicy]:
    return list(read_policies([contract.SERVICE]).values())


def adapter(name: str) -> InboundSignature:
    def verify(_: InboundCall) -> Sender:
        raise AssertionError("nobody calls")

    return InboundSignature(name, verify)


def test_each_signature_has_one_adapter_and_each_adapter_a_use() -> None:
    assert verifiers({"hooks": [adapter("acme")]}, policies()).keys() == {"acme"}
    with pytest.raises(PolicyError) as refused:
        verifiers({"hooks": [adapter("acmee"), adapter("acmee")]}, policies())
    unused, twice, missing = refused.value.faults
    assert unused.startswith("the module `hooks` declares the signature `acmee`, which no RPC names: name it in")
    assert twice == "the module `hooks` declares the signature `acmee`, which is declared already"
    assert missing == (
        f"/{contract.SERVICE.full_name}/ReceiveHook names the provider_signature `acme`, which no module declares: add "
        f"an InboundSignature of that name to `inbound` in server/domains/hooks/module.py"
    )
