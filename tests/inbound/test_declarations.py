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
    methods = [method for service in files.file[-1].service for method in service.method]
    method = next(each for each in methods if each.name == rpc)
    options: Any = method.options
    plant(options.Extensions[policy_pb2.policy], options.Extensions[annotations_pb2.http])
    pool = DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    services: list[Any] = [pool.FindServiceByName(each.full_name) for each in (contract.SERVICE, contract.RUNS)]
    with pytest.raises(PolicyError) as refused:
        read_policies(services)
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


def opening(**facts: Any) -> Callable[[Any, Any], None]:
    def plant(policy: Any, _http: Any) -> None:
        for name, value in facts.items():
            if name == "ends_with":
                policy.opening.ends_with[:] = value
            else:
                setattr(policy.opening, name, value)

    return plant


def in_policy(**facts: Any) -> Callable[[Any, Any], None]:
    def plant(policy: Any, _http: Any) -> None:
        for name, value in facts.items():
            setattr(policy, name, value)

    return plant


def in_upload(**facts: Any) -> Callable[[Any, Any], None]:
    def plant(policy: Any, _http: Any) -> None:
        for name, value in facts.items():
            setattr(policy.upload, name, value)

    return plant


def not_upload(policy: Any, _http: Any) -> None:
    policy.ClearField("upload")


def not_opening(policy: Any, _http: Any) -> None:
    policy.ClearField("opening")


def put(_policy: Any, http: Any) -> None:
    http.put = "/api/v1/runs:stream"


START = f"{contract.RUNS.full_name}/StartRun"
SHOW = f"{contract.RUNS.full_name}/StreamRun"
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
    ("PutFile", not_upload, "a client-streaming RPC is an upload: declare `upload` with its `max_bytes`"),
    ("PutFile", in_upload(max_bytes=0), "declares `upload` without `max_bytes`: say how many bytes it takes"),
    ("PutFile", whole, "declares `upload`: the `body` of its bindings has to name one field"),
    ("PutFile", in_policy(provider_signature="acme"), "what a provider signs is unary: its signature is over"),
    ("TakeImage", in_upload(max_bytes=1), "declares `upload`, which is for RPCs that stream their request"),
    ("StreamNewRun", not_opening, "a stream is a read, or names the RPC that it begins with (`opening`)"),
    ("StreamNewRun", in_policy(emits="run.streamed"), "only a stream has an `opening`"),
    ("AdvanceRun", opening(rpc=START), "only a stream has an `opening`"),
    ("AdvanceRun", opening(rpc=START), "a stream with an `opening` answers google.api.HttpBody or"),
    ("StreamNewRun", put, "a stream with an `opening` is bound to POST"),
    ("StreamNewRun", opening(rpc="x.Y/Z"), "opening.rpc names x.Y/Z, which is no RPC"),
    (
        "StreamNewRun",
        in_policy(permission="hooks.runs.other"),
        f"has to have the request, the body and the access of {START}",
    ),
    ("StreamNewRun", opening(rpc=SHOW), f"{SHOW} has to be a unary mutation without providers"),
    ("StreamNewRun", opening(ends_with=["page.done"]), "ends with `page.done`, which is no event of `run`"),
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
