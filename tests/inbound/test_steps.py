"""The steps of raw bodies and signatures, without a server."""

import gzip
from dataclasses import replace
from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody

from server.data.transactions import ANY_VERSION, Database, Scope
from server.kernel.actors import PROVIDER
from server.kernel.call import CONTENT_ENCODING, Call
from server.kernel.guard.limits import LimitsAway
from server.kernel.ids import new_id
from server.kernel.inbound import (
    BadSignature,
    InboundCall,
    InboundRoutes,
    InboundSignature,
    Sender,
    add_route,
    remove_routes,
)
from server.kernel.policy import MethodPolicy, read_policies
from server.kernel.problems import Malformed, Problem, RateLimited
from server.kernel.queries import PageTokens
from server.kernel.rates import Rate, Verdict
from server.kernel.resources import Service
from server.kernel.resources.standard import MissingHandler, ServiceHandlers
from server.kernel.steps.limit import Limit
from server.kernel.steps.raw_body import TakeRawBody
from server.kernel.steps.signature import Signature
from tests.clients import new_tenant
from tests.inbound import contract
from tests.kernel.calls import Context
from tests.kernel.database import connections
from tests.stack import Stack

POLICIES = read_policies([contract.SERVICE])
ADDRESS = {"x_envoy_external_address": "192.0.2.7"}
RATE = Rate(20, 900)


def policy(name: str) -> MethodPolicy:
    return POLICIES[f"/{contract.SERVICE.full_name}/{name}"]


def take(name: str, body: HttpBody, **metadata: str) -> HttpBody:
    """The body as its handler gets it."""
    method = policy(name)
    assert method.raw is not None
    request = contract.message(f"{name}Request")(**{method.raw.field: body})
    guard = TakeRawBody().guard(method)
    assert guard is not None
    guard(Call(method, Context(**metadata)), request)
    taken: HttpBody = getattr(request, method.raw.field)
    return taken


def test_a_raw_body_is_inflated_or_left_alone() -> None:
    body = gzip.compress(b"x" * 1000)
    encoded = {CONTENT_ENCODING.replace("-", "_"): "gzip"}
    assert take("TakeReport", HttpBody(data=body), **encoded).data == b"x" * 1000
    assert take("TakeReport", HttpBody(data=body)).data == body
    assert TakeRawBody().guard(policy("CheckHook")) is None


@pytest.mark.parametrize(
    ("name", "body", "metadata", "status"),
    [
        ("TakeReport", HttpBody(data=b"x" * 262_145), {}, 413),
        ("TakeReport", HttpBody(data=gzip.compress(b"x" * 1_048_577)), {"x_plinth_content_encoding": "gzip"}, 413),
        ("TakeReport", HttpBody(data=b"x"), {"x_plinth_content_encoding": "gzip"}, 400),
        ("TakeReport", HttpBody(data=b"x"), {"x_plinth_content_encoding": "compress"}, 415),
        ("TakeImage", HttpBody(data=b"x", content_type="image/png"), {"x_plinth_content_encoding": "gzip"}, 415),
        ("TakeImage", HttpBody(data=b"x", content_type="text/plain"), {}, 415),
    ],
)
def test_what_the_policy_does_not_take_is_refused(
    name: str, body: HttpBody, metadata: dict[str, str], status: int
) -> None:
    with pytest.raises(Malformed) as refused:
        take(name, body, **metadata)
    assert refused.value.http_status == status


class Limiter:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.retry_after = 0.0
        self.is_away = False

    def take(self, key: str, rate: Rate) -> Verdict:
        self.asked.append(key)
        if self.is_away:
            raise LimitsAway
        return Verdict(rate, 0, 0.0, self.retry_after)


class Signing:
    """The step with an adapter that accepts one route."""

    def __init__(self) -> None:
        self.limiter, self.seen = Limiter(), list[InboundCall]()
        self.sender = Sender(new_id(), new_id())
        limiter: Any = self.limiter
        step = Signature({"acme": InboundSignature("acme", self._verify)}, limiter, RATE)
        guard = step.guard(policy("ReceiveHook"))
        assert guard is not None
        assert step.guard(policy("TakeReport")) is None
        self._guard = guard

    def _verify(self, call: InboundCall) -> Sender:
        self.seen.append(call)
        request: Any = call.request
        if request.route != "right":
            raise BadSignature
        return self.sender

    def sign(self, route: str, *, data: bytes = b"{}", **metadata: Any) -> Call:
        call = Call(policy("ReceiveHook"), Context(**metadata))
        body = HttpBody(data=data, content_type="application/json")
        self._guard(call, contract.message("ReceiveHookRequest")(route=route, body=body))
        return call


def test_a_signed_call_is_its_sender_s() -> None:
    signing = Signing()
    data = gzip.compress(b"{}")
    call = signing.sign("right", data=data, acme_signature="s", x_plinth_content_encoding="gzip", **ADDRESS)
    assert call.tenant_id == signing.sender.tenant_id
    assert (call.actor.kind, call.actor.id) == (PROVIDER, signing.sender.key_id)
    assert call.scope == Scope(signing.sender.tenant_id, access_version=ANY_VERSION)
    (seen,) = signing.seen
    assert (seen.header("acme-signature"), seen.header("other"), seen.body, seen.inflate()) == ("s", "", data, b"{}")
    assert signing.limiter.asked == []


def test_bad_signatures_count_for_their_address() -> None:
    signing = Signing()

    def refusal(**metadata: Any) -> Problem:
        with pytest.raises(Problem) as refused:
            signing.sign("wrong", **metadata)
        return refused.value

    assert isinstance(refusal(**ADDRESS), BadSignature)
    assert signing.limiter.asked == ["bad_signature:address:192.0.2.7"]
    signing.limiter.retry_after = 7.0
    limited = refusal(**ADDRESS)
    assert isinstance(limited, RateLimited)
    assert limited.retry_after == 7.0
    signing.limiter.is_away = True
    assert isinstance(refusal(**ADDRESS), BadSignature)
    assert isinstance(refusal(), BadSignature)
    assert not BadSignature.is_guess


def test_nothing_too_large_comes_to_an_adapter() -> None:
    signing = Signing()
    with pytest.raises(Malformed):
        signing.sign("right", data=b"x" * 65_537)
    assert signing.seen == []


def test_routes_lead_to_one_sender_until_they_are_removed(stack: Stack) -> None:
    sender, route = Sender(new_tenant(stack).id, new_id()), new_id()
    with connections(stack.settings.runtime_dsn) as pool:
        database = Database(pool)
        routes = InboundRoutes(database)
        with pytest.raises(BadSignature):
            routes.find("acme", route)
        with database.write(Scope(sender.tenant_id)) as transaction:
            add_route(transaction, "acme", route, sender)
        assert routes.find("acme", route) == sender
        with pytest.raises(BadSignature):
            routes.find("other", route)
        with database.write(Scope(sender.tenant_id)) as transaction:
            remove_routes(transaction, sender)
        with pytest.raises(BadSignature):
            routes.find("acme", route)


def test_a_signed_call_without_a_raw_body_has_no_bytes_to_verify() -> None:
    seen: list[InboundCall] = []

    def verify(call: InboundCall) -> Sender:
        seen.append(call)
        return Sender(new_id(), new_id())

    limiter: Any = Limiter()
    guard = Signature({"acme": InboundSignature("acme", verify)}, limiter, RATE).guard(
        replace(policy("ReceiveHook"), raw=None)
    )
    assert guard is not None
    guard(Call(policy("ReceiveHook"), Context()), contract.message("ReceiveHookRequest")(route="right"))
    assert (seen[0].body, seen[0].inflate()) == (b"", b"")


def test_calls_of_a_provider_are_counted_by_its_key() -> None:
    limiter: Any = Limiter()
    rates = {"inbound": RATE}
    step = Limit(limiter, rates, NoRates(), strict=())
    method = policy("ReceiveHook")
    guard = step.guard(method)
    call = Call(method, Context())
    call.enter_signed(new_id(), key := new_id())
    guard(call, None)
    assert limiter.asked == [f"inbound:key:{key}"]


class NoRates:
    """No tenant has rates of its own."""

    def of(self, tenant_id: str) -> dict[str, Rate]:
        del tenant_id
        return {}


class Files(Service[Any]):
    """Stores uploads, or is told to."""

    descriptor = contract.SERVICE


def _begin(_call: Call, _request: Any, _name: str) -> Any:
    """Stands for a sink."""


class StoredFiles(Files):
    """Has one."""

    uploads = {"PutFile": _begin}  # noqa: RUF012 - never written


def test_an_upload_without_a_sink_keeps_the_server_from_starting() -> None:
    tokens = PageTokens(b"0" * 32)
    with pytest.raises(MissingHandler, match="name a sink in `uploads` of its service"):
        ServiceHandlers([Files()], tokens).begin(policy("PutFile"))
    assert ServiceHandlers([StoredFiles()], tokens).begin(policy("PutFile")) is not None
