"""Declared == served: every RPC has a chain, answers through the running stack, and asks strangers for credentials."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from plinth.sites.v1.page_pb2 import Page
from pydantic import SecretStr

from server import app
from server.domains.sites.pages import PageService
from server.kernel.chain import Chain, Route
from server.kernel.policy import Access, Binding, MethodPolicy
from server.kernel.queries.pages import PageTokens
from server.kernel.resources import Service
from server.kernel.resources.standard import MissingHandler, ServiceHandlers
from server.kernel.steps.cookies import cookie_field
from server.kernel.steps.headers import header_fields
from server.kernel.steps.parse import is_early
from server.routes import api_routes, realtime_routes
from server.settings import Settings
from tests.clients import Rest
from tests.contract import doors
from tests.contract.contract import real
from tests.stack import Stack

POLICIES = app.policies()
NO_HANDLERS = ServiceHandlers([], PageTokens(b"0" * 32))
OPEN = (Access.PUBLIC, Access.PROVIDER_SIGNATURE)
GUARDED = [method for method in POLICIES.values() if method.access not in OPEN]
BINDINGS = [(method, binding) for method in POLICIES.values() for binding in method.bindings]
GET_PAGE = "/plinth.sites.v1.PageService/GetPage"
CREATE_PAGE = "/plinth.sites.v1.PageService/CreatePage"
LOG_IN = "/plinth.identity.v1.AuthService/LogIn"
UNSUBSCRIBE = "/plinth.communication.v1.UnsubscribeService/Unsubscribe"
CREATE_UPLOAD = "/plinth.files.v1.AssetUploadService/CreateAssetUpload"
HEALTH = "/plinth.operations.v1.HealthService/GetHealth"
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
    """Chains in which a step is missing, is too much, or stands where it does not belong."""
    for path, route in routes.items():
        wanted = set(_wanted(policies[path]))
        yield from (f"{path}: {step} is missing" for step in ORDER if step in wanted - set(route.steps))
        yield from (f"{path}: {step} has no business here" for step in route.steps if step not in wanted)
        # Who uploads is authorized again once all bytes are there.
        steps = list(dict.fromkeys(route.steps) if policies[path].upload else route.steps)
        if steps != sorted(steps, key=_order_of(policies[path]).index):
            yield f"{path}: {' > '.join(route.steps)} is not in order"


# Together they have every step.
EXAMPLES = (GET_PAGE, CREATE_PAGE, LOG_IN, UNSUBSCRIBE, CREATE_UPLOAD)
# Each with what has to be outside of it already.
ORDER = (
    "errors",  # whatever is raised below
    "telemetry",  # everything but what the errors step answers
    "respond",
    "shed",  # before anything costs
    "audit",  # whatever refuses a caller
    "address",  # the same
    "authenticate",
    "limit",  # counts who was authenticated
    "parse",  # bytes cost nothing before it is known whose they are
    "headers",  # complete what was parsed
    "cookies",  # completes what was parsed, and moves what is answered
    "authorize",  # a stranger learns nothing of what follows, be it cached or not valid
    "raw_body",  # inflates for those who may call
    "cache",  # what was not valid has no answer
    "validate",
    "transaction",  # opened for what is valid only
    "idempotency",  # writes in the transaction of the effect
)


def _order_of(method: MethodPolicy) -> tuple[str, ...]:
    """The order of an RPC's steps: one whose credentials are a field of its request is parsed before it is limited."""
    if not is_early(method):
        return ORDER
    signed = {"authenticate": "signature"} if method.access is Access.PROVIDER_SIGNATURE else {}
    others = [signed.get(step, step) for step in ORDER if step != "parse"]
    place = others.index("signature" if signed else "authenticate")
    return (*others[:place], "parse", *others[place:])


def _wanted(method: MethodPolicy) -> Iterator[str]:
    """The steps that an RPC needs."""
    yield from _wanted_of_fields(method)
    yield from ("errors", "telemetry", "audit", "address", "limit", "parse")
    if method.access is not Access.PUBLIC:
        yield "signature" if method.access is Access.PROVIDER_SIGNATURE else "authenticate"
        yield "authorize"
    if method.raw is not None:
        yield "raw_body"
    if method.cache_seconds:
        yield "cache"
    # Without a field, keys of a body are unknown, and what acts outside its transaction cannot be tried.
    has_body = any(binding.body for binding in method.bindings)
    if method.descriptor.input_type.fields or has_body or not method.read_only:
        yield "validate"
    if method.waits or method.upload:
        yield "respond"
    if method.upload:
        yield "transaction"
    if not method.on_loop:
        yield from ("respond", "shed", "transaction")
    if not method.read_only:
        yield "idempotency"


def _wanted_of_fields(method: MethodPolicy) -> Iterator[str]:
    """Those that it needs for some of its fields."""
    if cookie_field(method.descriptor.input_type) or cookie_field(method.descriptor.output_type):
        yield "cookies"
    if header_fields(method.descriptor.input_type):
        yield "headers"


def pool_faults(policies: Mapping[str, MethodPolicy], routes: Mapping[str, Route]) -> Iterator[str]:
    """Slow RPCs that would take a thread of the fast ones, and fast ones that would not."""
    for path, route in routes.items():
        handler: Any = route.handler
        threads = getattr(handler.unary_unary or handler.unary_stream, "experimental_thread_pool", None)
        if (threads is not None) is not policies[path].is_slow:
            yield f"{path}: is {'slow' if policies[path].is_slow else 'fast'}, but not its threads"


def test_what_is_declared_is_served_and_nothing_else(routes: dict[bool, dict[str, Route]]) -> None:
    declared = [f"/{method.containing_service.full_name}/{method.name}" for method in real().methods]
    assert list(unserved(declared, [*routes[False], *routes[True]])) == []
    assert not routes[False].keys() & routes[True].keys()
    assert all(POLICIES[path].on_loop for path in routes[True])


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
        api_routes(POLICIES, NO_HANDLERS, [])
    with pytest.raises(MissingHandler):
        realtime_routes(POLICIES, NO_HANDLERS, [])


def with_steps(route: Route, steps: Sequence[str]) -> Route:
    """The route with a chain of other names."""
    chain: Any = Chain(lambda: (route.chain.handle, tuple(steps)))
    return replace(route, chain=chain)


def test_every_chain_has_the_steps_it_needs(routes: dict[bool, dict[str, Route]]) -> None:
    assert list(chain_faults(POLICIES, routes[False] | routes[True])) == []


def test_a_chain_without_a_step_is_found(routes: dict[bool, dict[str, Route]]) -> None:
    for path in EXAMPLES:
        route = routes[False][path]
        for missing in route.steps:
            steps = tuple(step for step in route.steps if step != missing)
            assert list(chain_faults(POLICIES, {path: with_steps(route, steps)})) == [f"{path}: {missing} is missing"]
    assert {step for path in EXAMPLES for step in routes[False][path].steps} == set(ORDER)


def test_a_chain_out_of_order_is_found(routes: dict[bool, dict[str, Route]]) -> None:
    for path in EXAMPLES:
        route = routes[False][path]
        for place in range(1, len(route.steps)):
            steps = list(route.steps)
            steps[place - 1 : place + 1] = reversed(steps[place - 1 : place + 1])
            faults = list(chain_faults(POLICIES, {path: with_steps(route, steps)}))
            assert faults == [f"{path}: {' > '.join(steps)} is not in order"]


def test_a_step_where_it_has_no_business_is_found(routes: dict[bool, dict[str, Route]]) -> None:
    for path, step, place in ((HEALTH, "authenticate", 6), (GET_PAGE, "idempotency", 14), (CREATE_PAGE, "cache", 10)):
        route = routes[False][path]
        planted = with_steps(route, (*route.steps[:place], step, *route.steps[place:]))
        assert list(chain_faults(POLICIES, {path: planted})) == [f"{path}: {step} has no business here"]


def test_slow_rpcs_have_threads_of_their_own(routes: dict[bool, dict[str, Route]]) -> None:
    assert list(pool_faults(POLICIES, routes[False] | routes[True])) == []
    assert any(method.is_slow for method in POLICIES.values())


def test_threads_of_the_wrong_pool_are_found(routes: dict[bool, dict[str, Route]]) -> None:
    fast, slow = routes[False][GET_PAGE], routes[False][LOG_IN]
    swapped = {GET_PAGE: replace(fast, handler=slow.handler), LOG_IN: replace(slow, handler=fast.handler)}
    assert list(pool_faults(POLICIES, swapped)) == [
        f"{GET_PAGE}: is fast, but not its threads",
        f"{LOG_IN}: is slow, but not its threads",
    ]


def test_a_custom_method_is_found_by_its_name_in_snake_case() -> None:
    handlers = ServiceHandlers([], PageTokens(b"0" * 32))
    with pytest.raises(MissingHandler, match="GetPageBySlug"):
        handlers.unary(POLICIES["/plinth.sites.v1.PageService/GetPageBySlug"])


def test_a_custom_method_that_a_service_lacks_is_told_with_the_service() -> None:
    """Its resource has standard methods, none of which this one is."""

    class Pages(Service[Page]):
        descriptor = PageService.descriptor
        resource = PageService.resource

    handlers = ServiceHandlers([Pages()], PageTokens(b"0" * 32))
    assert callable(handlers.unary(POLICIES[GET_PAGE]))
    with pytest.raises(MissingHandler, match="GetPageBySlug is declared, but Pages does not serve it"):
        handlers.unary(POLICIES["/plinth.sites.v1.PageService/GetPageBySlug"])


def test_reflection_lists_every_service_and_knows_their_files(channel: grpc.Channel) -> None:
    make: Any = reflection_pb2_grpc.ServerReflectionStub
    stub = make(channel)
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.full_name) for service in real().services
    ]
    answers = list(stub.ServerReflectionInfo(iter([listing, *asked]), timeout=30))
    listed = {service.name for service in answers[0].list_services_response.service}
    assert listed >= {service.full_name for service in real().services} | {"grpc.health.v1.Health"}
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in answers[1:])


# What is found by the host of a site: that of an empty request has none.
BY_HOST = {"plinth.sites.v1.PublishedSiteService"}


@pytest.mark.parametrize("method", POLICIES.values(), ids=name_of)
def test_every_rpc_answers_over_grpc(channel: grpc.Channel, method: MethodPolicy) -> None:
    outcome = doors.Grpc(channel).call(method, doors.empty_request(method))
    assert outcome.problem is None or outcome.problem.code != UNIMPLEMENTED
    assert outcome.problem is None or outcome.problem.domain == "plinth", outcome


@pytest.mark.parametrize(("method", "binding"), BINDINGS, ids=name_of)
def test_every_binding_answers_over_rest(stack: Stack, method: MethodPolicy, binding: Binding) -> None:
    if method.descriptor.containing_service.full_name in BY_HOST:
        path, _, _ = doors.rest_parts(binding, doors.empty_request(method))
        answer = Rest(stack).get(path)
        assert (answer.status_code, "ROUTE_NOT_FOUND" in answer.text) == (404, False)
        return
    outcome = doors.over_rest(Rest(stack), binding, doors.empty_request(method))
    assert outcome.problem is None or outcome.problem.reason != "ROUTE_NOT_FOUND"
    assert outcome.problem is None or outcome.problem.domain == "plinth", outcome
    assert outcome.http_status not in (0, 404, 405, 500, 501, 502, 503)


@pytest.mark.parametrize("method", GUARDED, ids=name_of)
def test_a_stranger_is_asked_for_credentials_over_grpc(channel: grpc.Channel, method: MethodPolicy) -> None:
    problem = doors.Grpc(channel).call(method, doors.empty_request(method)).problem
    assert problem is not None
    assert (problem.code, problem.reason) == (UNAUTHENTICATED, "CREDENTIALS_MISSING")


@pytest.mark.parametrize(("method", "binding"), [pair for pair in BINDINGS if pair[0].access not in OPEN], ids=name_of)
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
        call(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    response = Rest(stack).get("/api/v1/no/such/path")
    assert (response.status_code, response.json()["details"][0]["reason"]) == (404, "ROUTE_NOT_FOUND")
