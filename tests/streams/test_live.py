"""The reader of the event log and its subscribers, in this process, on the log of the shared stack."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from unittest.mock import patch

import psycopg
import pytest

from server.data.events import Position
from server.kernel.call import Call
from server.kernel.live import reader as live_module
from server.kernel.live.event_log import EventLog
from server.kernel.live.reader import LiveEvents
from server.kernel.live.stream_places import StreamPlaces
from server.kernel.live.subscriptions import LiveEvent, TooSlow
from server.kernel.problems import Denied, Problem, Unauthenticated
from tests.clients import Tenant, database
from tests.stack import Stack
from tests.streams import sse
from tests.streams.feeds import VISIBILITY, call, growth

Item = list[LiveEvent] | Position
APPEND = """
INSERT INTO events (tenant_id, id, type, resource_id, message_type, payload, request_id)
SELECT %s, gen_random_uuid(), CASE number %% 3 WHEN 0 THEN 'branding.updated' ELSE 'page.updated' END, number::text,
       CASE number %% 3 WHEN 0 THEN 'plinth.tenancy.v1.Branding' ELSE 'plinth.sites.v1.Page' END, '', ''
  FROM generate_series(1, %s) AS number
"""


def append(tenant: Tenant, count: int) -> None:
    """So many events at once, a third of which is of no page."""
    with database(tenant.stack) as connection:
        connection.execute(APPEND, (tenant.id, count))


async def silence() -> AsyncIterator[None]:
    """Hints that never come."""
    await asyncio.Event().wait()
    yield


def goes_on(_: Call) -> None:
    """Nobody is refused."""


@asynccontextmanager
async def live_events(
    stack: Stack, alive: Callable[[Call], None] = goes_on, *, queue: int = 500, keep_alive: float = 30.0
) -> AsyncIterator[LiveEvents]:
    places = StreamPlaces(per_caller=100, per_tenant=100)
    live = LiveEvents(
        stack.settings.dispatch_dsn,
        silence,
        alive,
        lambda _: None,
        places,
        visibility=VISIBILITY,
        queue=queue,
        keep_alive=keep_alive,
    )
    await live.open()
    try:
        with patch.object(live_module, "READY_WITHIN", sse.PATIENCE):
            yield live
    finally:
        await live.close()


async def collect(
    items: AsyncIterator[Item], last: str, pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
) -> list[tuple[str, str, str]]:
    """The events as rows of the log, up to the one of the resource `last`."""
    seen: list[tuple[str, str, str]] = []
    async with asyncio.timeout(sse.PATIENCE):
        async for item in items:
            assert not isinstance(item, Position)
            seen += [(str(one.position), one.event.type, one.event.resource_id) for one in item]
            if seen and seen[-1][2] == last:
                return seen
            await pause()
    raise AssertionError("the stream has ended")


async def keep(items: AsyncIterator[Item], kept: list[Item]) -> None:
    """Keep whatever comes."""
    async for item in items:
        kept += [item]


async def resumed(stack: Stack, tenant: Tenant, after: str, last: str) -> list[tuple[str, str, str]]:
    """What a process that has just started tells who comes back to it."""
    async with live_events(stack) as live:
        items = live.follow(call(tenant.id), ("page.*",), after)
        assert str(await anext(items)) == after
        return await collect(items, last)


def test_memory_and_log_tell_the_same(stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    start = sse.position(tenant)
    append(tenant, 600)
    read: list[Position] = []
    of_tenant_after = EventLog.of_tenant_after

    async def noted(log: EventLog, tenant_id: str, position: Position, most: int, until: Position) -> object:
        read.append(position)
        return await of_tenant_after(log, tenant_id, position, most, until)

    monkeypatch.setattr(EventLog, "of_tenant_after", noted)
    # However much other tests write meanwhile.
    monkeypatch.setattr(live_module, "RECENT", 100_000)
    monkeypatch.setattr(live_module, "RECENT_BYTES", 2**30)
    log = sse.logged(tenant)
    for after, expected in ((start, log), (log[250][0], log[251:])):
        assert asyncio.run(resumed(stack, tenant, after, "599")) == expected
    assert read == []
    monkeypatch.setattr(live_module, "REACH", 0)
    for after, expected in ((start, log), (log[250][0], log[251:])):
        assert asyncio.run(resumed(stack, tenant, after, "599")) == expected
    assert len(read) >= 4


def test_who_comes_back_gets_what_came_meanwhile_and_goes_on(stack: Stack, tenant: Tenant) -> None:
    async def scenario() -> list[tuple[str, str, str]]:
        async with live_events(stack) as live:
            items = live.follow(call(tenant.id), ("page.*",), "")
            after = str(await anext(items))
            await asyncio.to_thread(append, tenant, 40)
            await collect(items, "40")
            back = live.follow(call(tenant.id), ("page.*",), after)
            await anext(back)
            await asyncio.to_thread(append, tenant, 50)
            return await collect(back, "50")

    assert asyncio.run(scenario()) == sse.logged(tenant)


def test_who_reads_in_time_is_not_cut_however_much_comes_at_once(stack: Stack, tenant: Tenant) -> None:
    async def scenario() -> list[tuple[str, str, str]]:
        async with live_events(stack, queue=10) as live:
            items = live.follow(call(tenant.id), ("page.*",), "")
            await anext(items)
            await asyncio.to_thread(append, tenant, 100)
            return await collect(items, "100", lambda: asyncio.sleep(0.02))

    assert asyncio.run(scenario()) == sse.logged(tenant)


def test_who_does_not_read_is_cut_and_the_others_get_everything(stack: Stack, tenant: Tenant) -> None:
    lag = growth("plinth_stream_lag_seconds_count")

    async def scenario() -> list[list[tuple[str, str, str]]]:
        async with live_events(stack, queue=10) as live:
            slow, *others = [live.follow(call(tenant.id), ("page.*",), "") for _ in range(20)]
            for items in (slow, *others):
                await anext(items)
            await asyncio.to_thread(append, tenant, 100)
            seen = await asyncio.gather(*(collect(items, "100") for items in others))
            with pytest.raises(TooSlow):
                await collect(slow, "100")
            return seen

    assert asyncio.run(scenario()) == [sse.logged(tenant)] * 19
    # Every event once, however many get it; others write at the same time.
    assert 100 <= lag() < 19 * 100


@pytest.mark.parametrize("comes", ["before", "meanwhile"])
def test_who_comes_while_the_reader_begins_anew_misses_nothing(
    stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    """After a fault the reader finds the log put back, and loads its end: what it loads, it hands out to nobody."""
    start, stage = sse.position(tenant), ""
    # The reader stands behind this one, and who resumes before it.
    append(tenant, 1)
    read, knows = EventLog.after, EventLog.knows
    looked_at, may_go_on = threading.Event(), threading.Event()

    def alive(one: Call) -> None:
        looked_at.set()
        assert may_go_on.wait(sse.PATIENCE)
        one.access = call(tenant.id).access

    async def scenario() -> list[tuple[str, str, str]]:
        loading, loads = asyncio.Event(), asyncio.Event()

        async def after(log: EventLog, position: Position, most: int) -> object:
            nonlocal stage
            if stage == "fails":
                await asyncio.to_thread(append, tenant, 2)
                stage = "loads"
                raise psycopg.OperationalError
            if stage == "loads":
                loading.set()
                await loads.wait()
                stage = ""
            return await read(log, position, most)

        async def knows_not(log: EventLog, position: Position) -> bool:
            return str(position) == start or (stage != "loads" and await knows(log, position))

        monkeypatch.setattr(EventLog, "after", after)
        monkeypatch.setattr(EventLog, "knows", knows_not)
        async with live_events(stack, alive) as live:
            nonlocal stage
            await live.wait_until_ready()
            one = call(tenant.id)
            one.access = None
            items = live.follow(one, ("page.*",), start)
            if comes == "before":
                first = asyncio.ensure_future(anext(items))
                assert await asyncio.to_thread(looked_at.wait, sse.PATIENCE)
                stage = "fails"
                await loading.wait()
            else:
                stage = "fails"
                await loading.wait()
                first = asyncio.ensure_future(anext(items))
            may_go_on.set()
            # Nothing tells of a subscriber that waits.
            await asyncio.wait({first}, timeout=1)
            loads.set()
            assert str(await first) == start
            return await collect(items, "2")

    assert asyncio.run(scenario()) == sse.logged(tenant)


@pytest.mark.parametrize("problem", [Denied, Unauthenticated])
def test_who_may_not_go_on_is_ended_within_the_keep_alive(stack: Stack, tenant: Tenant, problem: type[Problem]) -> None:
    refused: list[Call] = []

    def alive(one: Call) -> None:
        if one in refused:
            raise problem

    async def scenario() -> list[Item]:
        async with live_events(stack, alive, keep_alive=0.2) as live:
            one, other = call(tenant.id), call(tenant.id)
            ended, goes_on_ = live.follow(one, ("page.*",), ""), live.follow(other, ("page.*",), "")
            await anext(ended)
            await anext(goes_on_)
            refused.append(one)
            signs: list[Item] = []
            with pytest.raises(problem):
                await keep(ended, signs)
            assert await anext(goes_on_) == []
            return signs

    signs = asyncio.run(scenario())
    assert signs == [[]] * len(signs)
    assert len(signs) < 5
