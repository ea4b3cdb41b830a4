"""The chain: composed once per RPC, in order, without the steps that have nothing to do."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import GetPageRequest, Page, PageEvent, WatchPagesRequest

from server.kernel.call import Call
from server.kernel.chain import (
    Answer,
    Guard,
    GuardStep,
    RouteTable,
    Step,
    Stream,
    Unary,
    compose_stream,
    compose_unary,
    serialise,
    stream_route,
    unary_route,
)
from server.kernel.policy import MethodPolicy
from server.kernel.steps.errors import Errors
from server.kernel.steps.respond import Respond
from server.kernel.steps.validate import Validate
from tests.kernel.calls import CREATE, GET, HEALTH, STREAM, WATCH, Context, call


class Noting:
    """A step that writes down when it is passed, for the RPCs it concerns."""

    def __init__(self, name: str, notes: list[str], *, idle: bool = False) -> None:
        self.name = name
        self._notes = notes
        self._idle = idle

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        del method
        if self._idle:
            return proceed

        def noted(call: Call, request: Any) -> Answer:
            self._notes.append(f"{self.name} in")
            answer = proceed(call, request)
            self._notes.append(f"{self.name} out")
            return answer

        return noted

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        del method
        if self._idle:
            return proceed

        async def noted(call: Call, request: Any) -> AsyncIterator[Message]:
            self._notes.append(f"{self.name} in")
            async for message in proceed(call, request):
                yield message
            self._notes.append(f"{self.name} out")

        return noted


def handle(_: Call, request: Any) -> Page:
    return Page(id=request.page_id)


async def two_events(_: Call, request: Any) -> AsyncIterator[Message]:
    yield PageEvent(id=request.last_event_id)
    yield PageEvent(id="2")


async def collected(messages: AsyncIterator[Any]) -> list[Any]:
    return [message async for message in messages]


def test_steps_run_in_order_and_idle_ones_are_not_there() -> None:
    notes: list[str] = []
    steps = [Noting("a", notes), Noting("idle", notes, idle=True), Noting("b", notes)]
    composed, names = compose_unary(GET, steps, handle)
    assert names == ("a", "b")
    assert composed(call(GET), GetPageRequest(page_id="1")) == Page(id="1")
    assert notes == ["a in", "b in", "b out", "a out"]


def test_without_a_step_the_handler_itself_is_left() -> None:
    composed, names = compose_unary(GET, [Noting("idle", [], idle=True)], handle)
    assert composed is handle
    assert names == ()
    streamed, names = compose_stream(WATCH, [Noting("idle", [], idle=True)], two_events)
    assert streamed is two_events
    assert names == ()


def test_streams_are_composed_alike() -> None:
    notes: list[str] = []
    composed, names = compose_stream(WATCH, [Noting("a", notes), Noting("b", notes)], two_events)
    assert names == ("a", "b")
    found = asyncio.run(collected(composed(call(WATCH), WatchPagesRequest(last_event_id="1"))))
    assert [event.id for event in found] == ["1", "2"]
    assert notes == ["a in", "b in", "b out", "a out"]


class Refusing(GuardStep):
    """Refuses GetPage and WatchPages."""

    name = "refusing"

    def guard(self, method: MethodPolicy) -> Guard | None:
        if method not in (GET, WATCH):
            return None

        def refuse(_: Call, __: Any) -> None:
            raise PermissionError

        return refuse


def test_one_guard_serves_both_shapes_before_the_handler_runs() -> None:
    composed, names = compose_unary(GET, [Refusing()], handle)
    assert names == ("refusing",)
    with pytest.raises(PermissionError):
        composed(call(GET), GetPageRequest())
    streamed, names = compose_stream(WATCH, [Refusing()], two_events)
    assert names == ("refusing",)
    with pytest.raises(PermissionError):
        asyncio.run(collected(streamed(call(WATCH), WatchPagesRequest())))


def test_a_guard_without_a_check_is_not_there() -> None:
    assert compose_unary(CREATE, [Refusing()], handle) == (handle, ())


def test_an_empty_request_is_not_validated() -> None:
    assert compose_unary(HEALTH, [Validate()], handle) == (handle, ())


def test_a_step_bases_its_presence_on_the_method_alone() -> None:
    steps: list[Step] = [Errors(), Respond(), Refusing(), Validate()]
    assert compose_unary(GET, steps, handle)[1] == ("errors", "respond", "refusing", "validate")
    assert compose_unary(HEALTH, steps, handle)[1] == ("errors", "respond")


def test_a_chain_is_composed_once_by_the_first_calls() -> None:
    composed: list[str] = []
    arrived = Barrier(2)

    class Composing(Noting):
        def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
            composed.append(method.name)
            # The other one, if it composes too.
            with suppress(BrokenBarrierError):
                arrived.wait(timeout=0.2)
            return super().unary(method, proceed)

    serve: Any = unary_route(GET, [Composing("a", [])], handle).handler.unary_unary
    assert composed == []
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: serve(GetPageRequest(page_id="1"), Context()), range(2)))
    assert [answer.id for answer in answers] == ["1", "1"]
    assert composed == [GET.name]


def test_a_route_with_threads_of_its_own_tells_grpc_which() -> None:
    with ThreadPoolExecutor(1) as threads:
        slow: Any = unary_route(GET, [], handle, threads).handler
        assert slow.unary_unary.experimental_thread_pool is threads
    fast: Any = unary_route(GET, [], handle).handler
    assert not hasattr(fast.unary_unary, "experimental_thread_pool")


def test_bytes_pass_through_the_serialiser() -> None:
    assert serialise(b"ready") == b"ready"
    assert Page.FromString(serialise(Page(title="x"))) == Page(title="x")


class Details:
    """What gRPC asks a table with."""

    def __init__(self, method: str) -> None:
        self.method = method


def test_the_table_finds_routes_by_path_and_nothing_else() -> None:
    routes = {GET.path: unary_route(GET, [], handle), WATCH.path: stream_route(WATCH, [], two_events)}
    table = RouteTable(routes)
    unary: Any = table.service(Details(GET.path))  # type: ignore[arg-type]
    stream: Any = table.service(Details(WATCH.path))  # type: ignore[arg-type]
    assert table.service(Details("/plinth.sites.v1.PageService/Nope")) is None  # type: ignore[arg-type]
    # The chain parses, not gRPC.
    assert (unary.request_deserializer, stream.request_deserializer) == (None, None)
    answer = unary.unary_unary(GetPageRequest(page_id="7"), Context())
    assert unary.response_serializer(answer) == Page(id="7").SerializeToString()
    assert stream.response_streaming
    assert len(asyncio.run(collected(stream.unary_stream(WatchPagesRequest(), Context())))) == 2


def test_a_guard_that_stands_alone_guards_a_stream_too() -> None:
    """As any step does: what shares a hop to a thread is compose_stream's business."""
    with pytest.raises(PermissionError):
        asyncio.run(collected(Refusing().stream(WATCH, two_events)(call(WATCH), WatchPagesRequest())))
    assert Refusing().stream(STREAM, two_events) is two_events
