"""Streams with an opening, without a server: what comes first, what follows, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from server.data.events import Event, Position
from server.kernel.call import HTTP_STATUS, Access, Call, Principal
from server.kernel.chain import Chain, compose_unary
from server.kernel.ids import made_at, new_id
from server.kernel.live.subscriptions import LiveEvent
from server.kernel.policy import MethodPolicy, read_policies
from server.kernel.problems import StateForbids
from server.kernel.steps.opening import OpenedStream, OpeningContext, opened_route
from tests.inbound import contract
from tests.kernel.calls import AsyncContext

POLICIES = read_policies([contract.RUNS])
RUN, TENANT = new_id(), new_id()
HERE, FIRST, SEEN = Position(9, 0), Position(5, 1), "7-2"


def policy(name: str) -> MethodPolicy:
    return POLICIES[f"/{contract.RUNS.full_name}/{name}"]


def event(kind: str, number: int) -> LiveEvent:
    run: Any = contract.message("Run")(id=RUN, text=kind)
    message = f"{contract.PACKAGE}.Run"
    position = Position(10, number)
    payload = run.SerializeToString()
    return LiveEvent(Event(TENANT, position, new_id(), kind, RUN, message, payload, datetime.now(UTC)))


class Live:
    """A reader that has these events."""

    def __init__(self, *batches: list[LiveEvent]) -> None:
        self.batches = batches
        self.position = HERE
        self.followed: tuple[Any, ...] = ()
        self.looked = False

    async def wait_until_ready(self) -> None:
        pass

    def check_place(self, call: Call) -> None:
        assert call.tenant_id == TENANT
        self.looked = True

    async def before(self, tenant_id: str, resource_id: str) -> Position:
        assert (tenant_id, resource_id) == (TENANT, RUN)
        return FIRST

    async def follow(
        self, call: Call, patterns: tuple[str, ...], last_event_id: str, *, known: Position | None, resource_id: str
    ) -> AsyncIterator[Any]:
        self.followed = (patterns, last_event_id, known, resource_id)
        assert call.tenant_id == TENANT
        yield known or Position.parse(last_event_id)
        for batch in self.batches:
            yield batch


def opened(name: str, live: Live, *, replays: bool = False, refusal: Exception | None = None, **metadata: str) -> Any:
    """The messages of a stream and its context, when its opening answers, replays or refuses."""

    def start(call: Call, _request: Any) -> Message:
        call.principal = Principal("u", "s", TENANT, (), is_platform=False, expires_at=9e9)
        call.tenant_id, call.access = TENANT, Access(TENANT, frozenset(), (), 1)
        if refusal is not None:
            raise refusal
        call.is_replay = replays
        call.unary_context.set_trailing_metadata((("x-plinth-limit", "a"), (HTTP_STATUS, "201"), ("etag", "e")))
        answer: Message = contract.message("Run")(id=RUN, text="go")
        return answer

    chain: Chain[Callable[..., Any]] = Chain(lambda: compose_unary(policy("StartRun"), [], start))
    fake: Any = live
    context = AsyncContext(**metadata)
    call = Call(policy(name), context)

    async def run() -> list[Any]:
        stream = OpenedStream(policy(name), policy("StartRun"), chain, fake).handle(call, b"")
        return [message async for message in stream]

    return asyncio.run(run()), context, call


def test_frames_begin_with_the_answer_and_end_with_the_run() -> None:
    live = Live(
        [event("run.started", 1)], [], [event("run.finished", 2), event("run.late", 3)], [event("run.never", 4)]
    )
    messages, context, call = opened("StreamNewRun", live, x_envoy_original_path="/api/v1/runs:stream")
    text = b"".join(message.data for message in messages).decode()
    frames = [frame.split("\n") for frame in text.split("\n\n") if frame]
    assert [line for frame in frames for line in frame if line.startswith((":", "event"))] == [
        "event: stream.open",
        "event: run.started",
        ": keep-alive",
        "event: run.finished",
    ]
    assert f"id: {HERE}" in frames[0]
    assert RUN in frames[0][-1]
    assert live.followed == (("run.*",), "", HERE, RUN)
    assert context.initial == {"x-plinth-limit": "a"}
    assert (call.tenant_id, call.principal.id) == (TENANT, "u")


def test_messages_are_those_of_the_typed_stream() -> None:
    messages, context, _ = opened("WatchNewRun", Live([event("run.started", 1)], [], [event("run.finished", 2)]))
    assert [message.type for message in messages] == ["stream.open", "run.started", "run.finished"]
    assert (messages[0].id, messages[0].resource_id, context.initial) == (str(HERE), RUN, {})


@pytest.mark.parametrize(("header", "last", "known"), [({}, "", FIRST), ({"last_event_id": SEEN}, SEEN, None)])
def test_a_repeated_opening_begins_at_the_run_s_first_event_or_after_the_last_seen(
    header: dict[str, Any], last: str, known: Position | None
) -> None:
    live = Live([event("run.finished", 1)])
    opened("WatchNewRun", live, replays=True, **header)
    assert live.followed == (("run.*",), last, known, RUN)


def test_a_new_run_is_shown_from_its_beginning_whatever_the_caller_has_seen() -> None:
    live = Live([event("run.finished", 1)])
    opened("WatchNewRun", live, last_event_id=SEEN)
    assert live.followed == (("run.*",), "", HERE, RUN)


def test_a_refusal_of_the_opening_is_that_of_the_stream() -> None:
    live = Live()
    with pytest.raises(StateForbids):
        opened("StreamNewRun", live, refusal=StateForbids())
    assert live.followed == ()


def test_a_place_is_looked_for_within_the_opening() -> None:
    live: Any = Live()
    first, seen = policy("StartRun"), list[str]()

    def start(call: Call, _request: Any) -> Message:
        seen.append(str(call.tenant_id))
        answer: Message = contract.message("Run")()
        return answer

    route = opened_route(policy("StreamNewRun"), first, [], start, live)
    assert route.steps == ()
    stream: Any = route.chain.handle
    call = Call(first, AsyncContext())
    call.tenant_id = TENANT
    stream.__self__._chain.handle(call, b"")  # noqa: SLF001 - the chain of the opening
    assert (live.looked, seen) == (True, [TENANT])


def test_ids_tell_when_they_were_made() -> None:
    assert abs((made_at(new_id()) - datetime.now(UTC)).total_seconds()) < 60
    for other in ("", "x" * 32, "0190b3c8-0000-4000-8000-000000000000"):
        with pytest.raises(ValueError, match="UUIDv7"):
            made_at(other)


def test_an_opening_sees_the_stream_s_call_and_is_not_given_up() -> None:
    context = OpeningContext(AsyncContext(authorization="Bearer x"))
    assert dict(context.invocation_metadata() or ()) == {"authorization": "Bearer x"}
    assert context.time_remaining() is None
    assert context.is_active()
    with pytest.raises(AssertionError, match="no step that aborts"):
        context.abort(grpc.StatusCode.INTERNAL, "x")


def test_only_the_realtime_role_serves_it() -> None:
    nobody: Any = None
    with pytest.raises(LookupError):
        opened("StreamNewRun", nobody)
