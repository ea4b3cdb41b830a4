"""How a stream is let in, and looked at again while it lives: without a question to anybody where nothing changed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import PageEvent

from server.kernel.caching.generations import Generations
from server.kernel.call import Access, Call, Principal
from server.kernel.chain import Answer, Before, Guard, GuardStep, Step, Stream, Unary, compose_stream
from server.kernel.guard.access import AccessMemory, access_tag, session_tag
from server.kernel.policy import MethodPolicy
from server.kernel.problems import Denied, NotFound
from server.kernel.steps.authorize import Authorize
from tests.kernel.calls import STREAM
from tests.streams.feeds import ACME, call

Note = tuple[str, bool]


class Looking(GuardStep):
    """Writes down that it looked, and whether that was in a thread."""

    def __init__(self, name: str, notes: list[Note]) -> None:
        self.name = name
        self._notes, self._loop = notes, get_ident()

    def guard(self, method: MethodPolicy) -> Guard | None:
        del method
        return lambda _call, _request: self._notes.append((self.name, get_ident() != self._loop))


class Refusing(Before):
    """Wraps what comes before the stream, and refuses."""

    name = "refusing"

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        del method

        def refused(one: Call, request: Any) -> Answer:
            proceed(one, request)
            raise Denied

        return refused


class Around:
    """A step around the stream; idle ones have nothing to do."""

    def __init__(self, name: str, notes: list[Note], *, idle: bool = False) -> None:
        self.name = name
        self._notes, self._idle = notes, idle

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        del method
        return proceed

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        del method
        if self._idle:
            return proceed

        async def noted(one: Call, request: Any) -> AsyncIterator[Message]:
            self._notes.append((self.name, False))
            async for message in proceed(one, request):
                yield message

        return noted


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One item for each hop to a thread."""
    made: list[object] = []
    to_thread = asyncio.to_thread

    async def counted(function: Callable[..., Any], *arguments: Any) -> Any:
        made.append(function)
        return await to_thread(function, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    return made


async def one_event(_: Call, __: Any) -> AsyncIterator[Message]:
    yield PageEvent(id="1")


async def run(stream: Stream) -> int:
    return len([message async for message in stream(call(), None)])


def test_neighbours_before_a_stream_share_one_hop_to_a_thread(hops: list[object]) -> None:
    notes: list[Note] = []
    steps: list[Step] = [
        Around("around", notes),
        Looking("a", notes),
        Around("idle", notes, idle=True),
        Looking("b", notes),
    ]
    composed, names = compose_stream(STREAM, [*steps, Looking("c", notes)], one_event)
    assert names == ("around", "a", "b", "c")
    assert asyncio.run(run(composed)) == 1
    assert notes == [("around", False), ("a", True), ("b", True), ("c", True)]
    assert len(hops) == 1


def test_steps_keep_their_order_around_those_before_a_stream(hops: list[object]) -> None:
    notes: list[Note] = []
    steps: list[Step] = [Looking("a", notes), Around("b", notes), Looking("c", notes)]
    composed, names = compose_stream(STREAM, steps, one_event)
    assert names == ("a", "b", "c")
    assert asyncio.run(run(composed)) == 1
    assert notes == [("a", True), ("b", False), ("c", True)]
    assert len(hops) == 2


def test_who_is_refused_gets_no_stream() -> None:
    notes: list[Note] = []
    composed, _ = compose_stream(STREAM, [Refusing(), Looking("a", notes)], one_event)
    with pytest.raises(Denied):
        asyncio.run(run(composed))
    assert notes == [("a", True)]


# Looking again -------------------------------------------------------------------------------------------------------


class Stored:
    """Access as it is stored, which counts how often it is asked."""

    def __init__(self) -> None:
        self.access: Access | None = Access(ACME, frozenset({STREAM.permission}), (), 1)
        self.asked = 0

    def load(self, principal: Principal, tenant_id: str) -> Access | None:
        assert (principal.session_id, tenant_id) == ("session", ACME)
        self.asked += 1
        return self.access

    def tenant_at(self, principal: Principal, subdomain: str) -> str | None:
        raise NotImplementedError


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    made = Generations(tmp_path / "generations")
    made.open()
    return made


def test_nobody_is_asked_while_nothing_changes(generations: Generations) -> None:
    stored, one = Stored(), call(session_id="session")
    authorize = Authorize(AccessMemory(stored, generations))
    for _ in range(5):
        authorize.glance(one)
    assert stored.asked == 1
    authorize.recheck(one)
    assert stored.asked == 2


@pytest.mark.parametrize("tag", [access_tag(ACME), session_tag("session")])
def test_what_changed_shows_at_the_next_look(generations: Generations, tag: str) -> None:
    stored, one = Stored(), call(session_id="session")
    authorize = Authorize(AccessMemory(stored, generations))
    authorize.glance(one)
    stored.access = Access(ACME, frozenset(), (), 2)
    generations.invalidate([tag])
    with pytest.raises(Denied):
        authorize.glance(one)
    stored.access = None
    generations.invalidate([tag])
    with pytest.raises(NotFound):
        authorize.glance(one)


def test_who_administers_the_platform_is_looked_up_every_time(generations: Generations) -> None:
    stored, one = Stored(), call(session_id="session")
    stored.access = one.access = Access(ACME, frozenset({STREAM.permission}), (), None)
    authorize = Authorize(AccessMemory(stored, generations))
    for _ in range(3):
        authorize.glance(one)
    assert stored.asked == 3
    stored.access = None
    with pytest.raises(NotFound):
        authorize.glance(one)
