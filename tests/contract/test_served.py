"""Declared == served: every RPC has a chain, answers through the running stack, and asks strangers for credentials."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr

from server import app
from server.kernel.chain import Route
from server.kernel.pages import PageTokens
from server.kernel.policy import Access, Binding, MethodPolicy
from server.kernel.standard import MissingHandler, ServiceHandlers
from server.settings import Settings
from tests.clients import Rest
from tests.contract import doors
from tests.contract.contract import real
from tests.stack import Stack

POLICIES = app.policies()
GUARDED = [method for method in POLICIES.values() if method.access is not Access.PUBLIC]
BINDINGS = [(method, binding) for method in POLICIES.values() for binding in method.bindings]
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED.value[0]


def name_of(value: object) -> str:
    if isinstance(value, MethodPolicy):
        return value.name
    return f"{value.verb} {value.path}" if isinstance(value, Binding) else str(value)


@pytest.fixture(scope="module")
def routes() -> dict[bool, dict[str, Route]]:
    """The routes of both roles, by whether they stream."""
    settings = Settings(secret_key=SecretStr("0" * 32))
    return {streams: app.build(settings, "test", streams=streams).routes for streams in (False, True)}


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with doors.channel(stack) as opened:
        yield opened


def unserved(declared: Iterable[str], served: Iterable[str]) -> Iterator[str]:
    """RPCs that only one side knows."""
    names, routes = set(declared), set(served)
    yield from (f"{path} is declared, but nothing serves it" for path in sorted(names - routes))
    yield from (f"{path} is served, but nobody declared it" for path in sorted(routes - names))


def chain_faults(policies: Mapping[str, MethodPolicy], routes: Mapping[str, Route]) -> Iterator[str]:
    """Chains in which a step is missing, or stands where it does not belong."""
    for path, route in routes.items():
        method, steps = policies[path], route.steps
        if not steps or steps[0] != "errors":
            yield f"{path}: errors is not outermost"
        guarded = {"authenticate"} if method.access is Access.SIGNED_IN else {"authenticate", "authorize"}
        if method.access is Access.PUBLIC and guarded & set(steps):
            yield f"{path}: asks for credentials, but is public"
        if method.access is not Access.PUBLIC and not guarded <= set(steps):
            yield f"{path}: asks for no credentials"
        if method.descriptor.input_type.fields and "validate" not in steps:
            yield f"{path}: is not validated"


def test_what_is_declared_is_served_and_nothing_else(routes: dict[bool, dict[str, Route]]) -> None:
    declared = [f"/{method.containing_service.full_name}/{method.name}" for method in real().methods]
    assert list(unserved(declared, [*routes[False], *routes[True]])) == []
    assert not routes[False].keys() & routes[True].keys()
    assert all(POLICIES[path].streaming for path in routes[True])


def test_an_rpc_that_only_one_side_knows_is_found(routes: dict[bool, dict[str, Route]]) -> None:
    served = [*routes[False], *routes[True]]
    assert list(unserved([*served, "/plinth.sites.v1.PageService/Extra"], served)) == [
        "/plinth.sites.v1.PageService/Extra is declared, but nothing serves it"
    ]
    assert list(unserved(served[1:], served)) == [f"{served[0]} is served, but nobody declared it"]


def test_every_service_of_the_contract_is_composed() -> None:
    assert {service.full_name for service in real().services} == {
        service.descriptor.full_name for service in app.SERVICES
    }


def test_an_rpc_without_a_handler_keeps_the_server_from_starting() -> None:
    with pytest.raises(MissingHandler):
        app.compose(POLICIES.values(), [], [], b"0" * 32, streams=False)
    with pytest.raises(MissingHandler):
        app.compose(POLICIES.values(), [], [], b"0" * 32, streams=True)


def test_every_chain_has_the_steps_it_needs(routes: dict[bool, dict[str, Route]]) -> None:
    assert list(chain_faults(POLICIES, routes[False] | routes[True])) == []


def test_a_chain_without_a_step_is_found(routes: dict[bool, dict[str, Route]]) -> None:
    path = "/plinth.sites.v1.PageService/GetPage"
    route = routes[False][path]
    for missing, fault in (
        ("errors", "errors is not outermost"),
        ("authorize", "asks for no credentials"),
        ("validate", "is not validated"),
    ):
        steps = tuple(step for step in route.steps if step != missing)
        broken = {path: Route(route.method, steps, route.handler)}
        assert list(chain_faults(POLICIES, broken)) == [f"{path}: {fault}"]


def test_authorisation_stands_before_validation(routes: dict[bool, dict[str, Route]]) -> None:
    guarded = [route.steps for route in (routes[False] | routes[True]).values() if "authorize" in route.steps]
    checked = [steps for steps in guarded if "validate" in steps]
    assert checked
    assert all(steps.index("authorize") < steps.index("validate") for steps in checked)


def test_a_custom_method_is_found_by_its_name_in_snake_case() -> None:
    handlers = ServiceHandlers([], PageTokens(b"0" * 32))
    with pytest.raises(MissingHandler, match="GetPageBySlug"):
        handlers.unary(POLICIES["/plinth.sites.v1.PageService/GetPageBySlug"])


def test_reflection_lists_every_service_and_knows_their_files(channel: grpc.Channel) -> None:
    make: Any = reflection_pb2_grpc.ServerReflectionStub
    stub = make(channel)
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.full_name) for service in real().services
    ]
    answers = list(stub.ServerReflectionInfo(iter([listing, *asked]), timeout=10))
    listed = {service.name for service in answers[0].list_services_response.service}
    assert listed >= {service.full_name for service in real().services} | {"grpc.health.v1.Health"}
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in answers[1:])


@pytest.mark.parametrize("method", POLICIES.values(), ids=name_of)
def test_every_rpc_answers_over_grpc(channel: grpc.Channel, method: MethodPolicy) -> None:
    outcome = doors.Grpc(channel).call(method, doors.empty_request(method))
    assert outcome.problem is None or outcome.problem.code != UNIMPLEMENTED
    assert outcome.problem is None or outcome.problem.domain == "plinth", outcome


@pytest.mark.parametrize(("method", "binding"), BINDINGS, ids=name_of)
def test_every_binding_answers_over_rest(stack: Stack, method: MethodPolicy, binding: Binding) -> None:
    outcome = doors.over_rest(Rest(stack), binding, doors.empty_request(method))
    assert outcome.problem is None or outcome.problem.reason != "ROUTE_NOT_FOUND"
    assert outcome.problem is None or outcome.problem.domain == "plinth", outcome
    assert outcome.http_status not in (0, 404, 405, 500, 501, 502, 503)


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_a_stranger_is_asked_for_credentials_over_grpc(channel: grpc.Channel, method: MethodPolicy) -> None:
    problem = doors.Grpc(channel).call(method, doors.empty_request(method)).problem
    assert problem is not None
    assert (problem.code, problem.reason) == (UNAUTHENTICATED, "CREDENTIALS_MISSING")


@pytest.mark.parametrize(
    ("method", "binding"), [pair for pair in BINDINGS if pair[0].access is not Access.PUBLIC], ids=name_of
)
def test_a_stranger_is_asked_for_credentials_over_rest(stack: Stack, method: MethodPolicy, binding: Binding) -> None:
    outcome = doors.over_rest(Rest(stack), binding, doors.empty_request(method))
    assert outcome.problem is not None
    assert (outcome.http_status, outcome.problem.reason) == (401, "CREDENTIALS_MISSING")


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_a_forged_token_opens_nothing(channel: grpc.Channel, method: MethodPolicy) -> None:
    problem = doors.Grpc(channel, "not.a.token").call(method, doors.empty_request(method)).problem
    assert problem is not None
    assert (problem.code, problem.reason) == (UNAUTHENTICATED, "CREDENTIALS_INVALID")


def test_what_nobody_declared_is_refused(stack: Stack, channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/plinth.sites.v1.PageService/NoSuchRpc")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    response = Rest(stack).get("/api/v1/no/such/path")
    assert (response.status_code, response.json()["details"][0]["reason"]) == (404, "ROUTE_NOT_FOUND")
