"""Fan-out inside of a process: who gets which event, what waits for whom, and what the process remembers."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast
from unittest.mock import Mock, patch

import pytest
from google.api.httpbody_pb2 import HttpBody

from server.data.events import Position
from server.kernel.live import sse
from server.kernel.live.recent import RecentEvents
from server.kernel.live.sse import KEEP_ALIVE, as_frame, server_sent
from server.kernel.live.subscriptions import MESSAGE_BYTES, SLOTS, LiveEvent, Subscription, TooSlow
from server.kernel.problems import Unavailable
from tests.streams.feeds import ACME, BEGINNING, OTHER, call, event, growth, nobody, numbers, subscribe

METHOD = "plinth.sites.v1.PageService/StreamPages"


async def taken(subscription: Subscription) -> list[int]:
    """What one message takes of what waits."""
    return numbers(await subscription.next())


class Told:
    """Live events that tell everybody the same."""

    def __init__(self, *items: list[LiveEvent] | Position) -> None:
        self._items = items

    async def follow(self, *_: object, own: bool) -> AsyncIterator[list[LiveEvent] | Position]:
        assert not own, "everybody gets these"
        for item in self._items:
            yield item


def sent(live: Told) -> list[HttpBody]:
    """What a browser is sent."""

    async def gather() -> list[HttpBody]:
        return [body async for body in server_sent(cast("Any", live), call(), ("page.*",), "")]

    return asyncio.run(gather())


# What is sent --------------------------------------------------------------------------------------------------------


def test_a_frame_is_made_once_however_many_get_it() -> None:
    live = Told([event(1)], [event(2), event(3)])
    with patch.object(sse, "as_frame", Mock(side_effect=as_frame)) as make:
        first, *others = [sent(live) for _ in range(5)]
    assert [called.args[0].id for called in make.call_args_list] == ["1", "2", "3"]
    assert all(other == first for other in others)
    # Not even a copy: thousands of streams hold on to the last one.
    assert all(other[0] is first[0] for other in others)


def test_frames_that_wait_together_are_sent_together_and_silence_is_a_comment() -> None:
    start, events = Position(7, 0), [event(1), event(2)]
    opening, several, silence = sent(Told(start, events, []))
    assert opening.data.startswith(b"retry: 1000\nid: 7-0\nevent: stream.open\n")
    assert several.data == b"".join(as_frame(one.event).data for one in events)
    assert silence is KEEP_ALIVE


def test_a_message_takes_what_fits_and_at_least_one() -> None:
    async def scenario() -> list[list[int]]:
        waiting = subscribe(nobody())
        for number, size in enumerate([10, 10, MESSAGE_BYTES, 2 * MESSAGE_BYTES, 10]):
            waiting.offer(event(number, size=size))
        return [await taken(waiting) for _ in range(4)]

    assert asyncio.run(scenario()) == [[0, 1], [2], [3], [4]]


# Who gets what -------------------------------------------------------------------------------------------------------


def test_only_what_was_asked_for_is_queued() -> None:
    async def scenario() -> tuple[list[int], list[int]]:
        subscriptions = nobody()
        pages, everything = subscribe(subscriptions, size=2), subscribe(subscriptions, "*", size=100)
        for number in range(50):
            # Whoever may read pages alone does not see what is told of users.
            subscriptions.give(event(number, "user.updated"))
            subscriptions.give(event(number, tenant_id=OTHER))
        subscriptions.give(event(50))
        subscriptions.give(event(51, "page.deleted"))
        return await taken(pages), await taken(everything)

    assert asyncio.run(scenario()) == ([50, 51], [50, 51])


def test_who_followed_a_process_that_was_ahead_gets_nothing_twice() -> None:
    async def scenario() -> list[int]:
        subscriptions = nobody()
        ahead = subscribe(subscriptions, after=Position(3, 1))
        for number in range(1, 6):
            subscriptions.give(event(number))
        return await taken(ahead)

    assert asyncio.run(scenario()) == [4, 5]


def test_a_slow_reader_among_many_is_cut_and_holds_nobody_up() -> None:
    cut, handed = growth("plinth_stream_cut_total", reason="SUBSCRIBER_TOO_SLOW"), growth("plinth_stream_events_total")

    async def scenario() -> list[list[int]]:
        subscriptions = nobody()
        slow, *others = [subscribe(subscriptions, size=3) for _ in range(20)]
        seen: list[list[int]] = [[] for _ in others]
        for number in range(1, 11):
            subscriptions.give(event(number))
            for other, story in zip(others, seen, strict=True):
                story.extend(await taken(other))
        with pytest.raises(TooSlow):
            await slow.next()
        return seen

    assert asyncio.run(scenario()) == [list(range(1, 11))] * 19
    assert (cut(), handed()) == (1, 19 * 10 + 3)


def test_what_ends_a_subscription_comes_first_and_nothing_comes_after_it() -> None:
    async def scenario() -> None:
        subscriptions = nobody()
        ended = subscribe(subscriptions)
        subscriptions.give(event(1))
        subscriptions.end(lambda: Unavailable("server"))
        subscriptions.give(event(2))
        assert not ended.is_behind
        for _ in range(2):
            with pytest.raises(Unavailable):
                await ended.next()

    asyncio.run(scenario())


def test_open_streams_are_counted_and_spread_over_the_rounds() -> None:
    is_open = growth("plinth_streams_open", method=METHOD)
    subscriptions = nobody()
    made = [subscribe(subscriptions) for _ in range(3 * SLOTS)]
    assert is_open() == 3 * SLOTS
    assert [len(subscriptions.slot(number)) for number in range(SLOTS)] == [3] * SLOTS
    for one in [*made, made[0]]:
        subscriptions.remove(one)
    assert is_open() == 0
    assert list(subscriptions) == []


def test_a_sign_of_life_is_due_only_where_nothing_else_is_sent() -> None:
    async def scenario() -> list[list[int]]:
        subscriptions = nobody()
        waiting = subscribe(subscriptions)
        waiting.nudge()
        subscriptions.give(event(1))
        story = [await taken(waiting)]
        waiting.nudge()
        return [*story, await taken(waiting)]

    assert asyncio.run(scenario()) == [[1], []]


# What is remembered --------------------------------------------------------------------------------------------------


def test_memory_knows_the_end_of_the_log_and_that_it_does_not_know_more() -> None:
    recent = RecentEvents(BEGINNING, most=4, most_bytes=10_000)
    for number in range(1, 7):
        recent.add(event(number, tenant_id=ACME if number % 2 else OTHER))
    positions = [Position(number, 1) for number in range(7)]
    assert recent.after(ACME, positions[1]) is None
    assert [numbers(recent.after(ACME, position) or []) for position in positions[2:]] == [[3, 5], [5], [5], [], []]
    assert numbers(recent.after(OTHER, positions[2]) or []) == [4, 6]
    assert recent.after("nobody", positions[2]) == []


def test_memory_forgets_one_tenant_and_knows_that_it_did() -> None:
    recent = RecentEvents(BEGINNING, most=20, most_bytes=10_000)
    for number in range(1, 5):
        recent.add(event(number, tenant_id=ACME if number % 2 else OTHER, size=1000))
    recent.forget(ACME)
    recent.forget("nobody")
    positions = [Position(number, 1) for number in range(13)]
    assert recent.after(ACME, positions[2]) is None
    assert recent.after(ACME, positions[3]) == []
    assert numbers(recent.after(OTHER, positions[1]) or []) == [2, 4]
    assert (positions[3] in recent, positions[4] in recent, len(recent)) == (False, True, 2)
    recent.add(event(5, tenant_id=ACME))
    assert numbers(recent.after(ACME, positions[3]) or []) == [5]
    # What was forgotten takes no room, and is not dropped a second time.
    for number in range(6, 13):
        recent.add(event(number, tenant_id=ACME, size=1000))
    assert len(recent) == 10
    recent.forget(ACME)
    assert len(recent) == 2


def test_memory_has_a_bound_in_bytes() -> None:
    recent = RecentEvents(BEGINNING, most=1000, most_bytes=10_000)
    for number in range(1, 30):
        recent.add(event(number, size=1000))
    assert 5 < len(recent) < 10
    kept = recent.after(ACME, Position(29 - len(recent), 1))
    assert kept is not None
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers(kept)))
    recent.add(event(30, size=20_000))
    assert len(recent) == 0
    assert recent.after(ACME, Position(29, 1)) is None
