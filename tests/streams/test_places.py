"""How many streams may be open at once, and that each way in which one ends makes room."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import grpc
import pytest
from google.protobuf import struct_pb2
from plinth.sites.v1 import page_pb2

from server.kernel.ids import new_id
from server.kernel.live.stream_places import NoPlace, StreamPlaces
from tests.clients import (
    Rest,
    Tenant,
    log_in,
    new_member,
    new_tenant,
    problem,
    rpc_problem,
    stubs,
    switch_tenant,
    unique,
)
from tests.stack import Stack, free_port
from tests.streams import sse, writers
from tests.streams.feeds import OTHER, call, growth
from tests.streams.test_endings import SMALL_WINDOW
from tests.telemetry.scrapes import scrape

PER_CALLER = 4
PER_TENANT = 6


@pytest.fixture(scope="module")
def narrow() -> Iterator[Stack]:
    """A stack of the module's own with room for few streams."""
    stack = Stack(
        api_workers=1,
        stream_keepalive=1,
        stream_queue=10,
        streams_per_caller=PER_CALLER,
        streams_per_tenant=PER_TENANT,
        log_level="ERROR",
        metrics_port=free_port(),
    )
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture
def tenant(narrow: Stack) -> Tenant:
    return new_tenant(narrow)


def new_key(tenant: Tenant) -> str:
    body = {"name": unique("key"), "permissions": ["sites.pages.read"]}
    return str(tenant.rest.post(f"{tenant.path}/api-keys", body).json()["key"])


def fill(streams: ExitStack, tenant: Tenant, count: int, token: str = "") -> list[sse.Reader]:
    """So many streams, all open."""
    return [streams.enter_context(sse.listening(tenant, token)) for _ in range(count)]


def refusal(tenant: Tenant, token: str) -> dict[str, str]:
    """The metadata of a stream's refusal through both doors, which say the same."""
    with sse.connect(tenant.stack, tenant.id, token) as reader:
        reader.response.read()
        assert reader.response.status_code == 429, reader.response.text
        told = problem(reader.response)
    request = page_pb2.WatchPagesRequest(tenant_id=tenant.id)
    with pytest.raises(grpc.RpcError) as raised:
        next(stubs(tenant.stack, token).pages.WatchPages(request, timeout=sse.PATIENCE))
    also = rpc_problem(raised.value)
    assert (told.reason, also.code, also.reason) == ("LIMIT_REACHED", 8, "LIMIT_REACHED")
    assert told.message == also.message
    assert dict(told.metadata) == dict(also.metadata)
    return dict(told.metadata)


def is_open(stack: Stack) -> float:
    return scrape(stack.metrics_url).total("plinth_streams_open")


@pytest.mark.heavy
def test_a_caller_has_so_many_streams_and_another_one_their_own(tenant: Tenant) -> None:
    _, colleague = new_member(tenant, "viewer")
    again = switch_tenant(tenant.stack, log_in(tenant.stack, tenant.owner), tenant.id)
    refused = scrape(tenant.stack.metrics_url).total("plinth_streams_refused_total", scope="user")
    with ExitStack() as streams:
        first, *_ = fill(streams, tenant, PER_CALLER)
        # Whichever session it is.
        for token in (tenant.access_token, again.access_token):
            assert refusal(tenant, token) == {"scope": "user", "limit": str(PER_CALLER)}
        fill(streams, tenant, 1, colleague.access_token)
        first.response.close()
        tenant.stack.wait_for(lambda: sse.opens(tenant))
    tenant.stack.wait_for(
        lambda: scrape(tenant.stack.metrics_url).total("plinth_streams_refused_total", scope="user") >= refused + 4
    )


@pytest.mark.heavy
def test_an_api_key_counts_for_itself_and_the_tenant_for_all(tenant: Tenant) -> None:
    key = new_key(tenant)
    with ExitStack() as streams:
        fill(streams, tenant, PER_CALLER, key)
        assert refusal(tenant, key) == {"scope": "api_key", "limit": str(PER_CALLER)}
        fill(streams, tenant, PER_TENANT - PER_CALLER)
        for token in (tenant.access_token, new_key(tenant)):
            assert refusal(tenant, token) == {"scope": "tenant", "limit": str(PER_TENANT)}
        other = new_tenant(tenant.stack)
        fill(streams, other, 1)


def write_much(tenant: Tenant) -> None:
    """More than the buffers between here and there take."""
    big = struct_pb2.Struct()
    big.update({"text": "x" * 200_000})
    writers.append(tenant, [page_pb2.Page(id=new_id(), slug=f"page-{number}", settings=big) for number in range(50)])


def unread(tenant: Tenant) -> AbstractContextManager[sse.Reader]:
    """A stream that nobody reads beyond what its socket takes by itself."""
    return sse.connect(tenant.stack, tenant.id, tenant.access_token, socket_options=SMALL_WINDOW)


def closed_by_the_reader(tenant: Tenant) -> None:
    with ExitStack() as streams:
        fill(streams, tenant, PER_CALLER)


def closed_while_much_waits_to_be_sent(tenant: Tenant) -> None:
    metrics = tenant.stack.metrics_url

    def cut() -> float:
        return scrape(metrics).total("plinth_stream_cut_total", reason="SUBSCRIBER_TOO_SLOW")

    with ExitStack() as streams:
        # A reader that is dropped closes its connection.
        readers = [streams.enter_context(unread(tenant)) for _ in range(PER_CALLER)]
        assert [reader.next().event for reader in readers] == ["stream.open"] * PER_CALLER
        before = cut()
        write_much(tenant)
        tenant.stack.wait_for(lambda: cut() > before)


def cancelled_by_a_service(tenant: Tenant) -> None:
    request = page_pb2.WatchPagesRequest(tenant_id=tenant.id)
    watched = [tenant.stubs.pages.WatchPages(request, timeout=sse.PATIENCE) for _ in range(PER_CALLER)]
    for events in watched:
        events.initial_metadata()
    for events in watched:
        events.cancel()


def run_out_of_time(tenant: Tenant) -> None:
    request = page_pb2.WatchPagesRequest(tenant_id=tenant.id)
    for events in [tenant.stubs.pages.WatchPages(request, timeout=3) for _ in range(PER_CALLER)]:
        with pytest.raises(grpc.RpcError):
            list(events)


def refused_before_they_began(tenant: Tenant) -> None:
    for _ in range(PER_CALLER):
        headers = sse.after("ffffffffffffff-1")
        with sse.connect(tenant.stack, tenant.id, tenant.access_token, headers=headers) as reader:
            assert reader.response.status_code == 400


def ended_by_the_server(tenant: Tenant) -> None:
    session = switch_tenant(tenant.stack, log_in(tenant.stack, tenant.owner), tenant.id)
    with ExitStack() as streams:
        readers = fill(streams, tenant, PER_CALLER, session.access_token)
        assert Rest(tenant.stack, session.access_token).post("auth/logout").status_code == 204
        for reader in readers:
            assert [frame.event for frame in reader.rest()] == ["stream.error"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "end",
    [
        closed_by_the_reader,
        closed_while_much_waits_to_be_sent,
        cancelled_by_a_service,
        run_out_of_time,
        refused_before_they_began,
        ended_by_the_server,
    ],
)
def test_streams_make_room_however_they_end(tenant: Tenant, end: Callable[[Tenant], None]) -> None:
    end(tenant)
    tenant.stack.wait_for(lambda: is_open(tenant.stack) == 0)
    with ExitStack() as streams:
        fill(streams, tenant, PER_CALLER)


def test_places_are_counted_for_caller_and_tenant() -> None:
    refused = growth("plinth_streams_refused_total", scope="tenant")
    places = StreamPlaces(per_caller=2, per_tenant=3)
    one, other = call(), call()
    for taken in (one, one, other):
        places.take(taken)
    for full in (one, other, call()):
        with pytest.raises(NoPlace):
            places.take(full)
    assert refused() == 2
    places.take(call(OTHER))
    places.give_back(one)
    places.take(other)
    with pytest.raises(NoPlace):
        places.take(other)


def test_what_found_no_place_takes_none() -> None:
    places = StreamPlaces(per_caller=1, per_tenant=1)
    one, other = call(), call()
    places.take(one)
    for _ in range(3):
        with pytest.raises(NoPlace):
            places.take(other)
    places.give_back(one)
    places.take(other)
