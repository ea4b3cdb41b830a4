"""Many subscribers on two realtime processes: shared fairly, and none of them loses anything when one process dies.

The same as `python -m tests.bench.streams`, smaller.
"""

import re
from collections.abc import Callable
from threading import Thread

import httpx
import pytest

from tests.bench.streams import Audience, Delivery, Scale
from tests.bench.subscribers import Subscribers
from tests.faults.outages import replaced
from tests.stack import PATIENCE, Stack

pytestmark = pytest.mark.heavy

MANY = 150
FIRST = 10
EVENTS = 6
SCALE = Scale(subscribers=MANY, events=EVENTS, pace=10.0)
ACTIVE = re.compile(r"realtime::.*realtime-(\d)\.sock::rq_active::(\d+)")
HEALTHY = re.compile(r"realtime::.*realtime-(\d)\.sock::health_flags::healthy")


def told_of(stack: Stack) -> str:
    """What the gateway tells of the processes behind it."""
    transport = httpx.HTTPTransport(uds=str(stack.settings.socket("envoy-admin")))
    with httpx.Client(transport=transport, base_url="http://admin", timeout=PATIENCE) as client:
        return client.get("/clusters").text


def shares(stack: Stack) -> list[int]:
    """How many streams each realtime process has."""
    found = {int(number): int(active) for number, active in ACTIVE.findall(told_of(stack))}
    return [found[number] for number in sorted(found)]


def both_are_well(stack: Stack) -> bool:
    """Whether the gateway sends streams to both processes."""
    return len(HEALTHY.findall(told_of(stack))) == 2


def whole(delivery: Delivery) -> None:
    """Everybody got everything, once and in order."""
    assert (delivery.lost, delivery.repeated, delivery.misplaced) == (0, 0, 0), delivery
    assert delivery.expected == MANY * EVENTS


def test_two_processes_share_many_subscribers_and_what_one_leaves_the_other_takes(
    own_stack: Callable[..., Stack],
) -> None:
    stack = own_stack(api_workers=1, realtime_workers=2, log_level="ERROR", streams_per_caller=MANY)
    with Subscribers() as subscribers:
        audience = Audience(stack, subscribers, SCALE)
        stack.wait_for(lambda: both_are_well(stack))
        # The gateway does not count what waits for its connection to a process to be made.
        audience.join(FIRST)
        audience.join(MANY - FIRST)
        first, second = shares(stack)
        assert first + second == MANY
        assert min(first, second) > MANY / 3

        audience.write(EVENTS)
        audience.settle(0, EVENTS)
        delivery = audience.delivery(0)
        whole(delivery)

        opened = subscribers.opened()
        writing = Thread(target=audience.write, args=(EVENTS,))
        writing.start()
        old = stack.kill("realtime-0")
        stack.wait_for(lambda: subscribers.opened() >= opened + first)
        writing.join()
        audience.settle(MANY * EVENTS, EVENTS)
        whole(audience.delivery(EVENTS))
        assert subscribers.opened() == opened + first, "who had the other process was not disturbed"

        replaced(stack, "realtime-0", old)
        stack.wait_for(lambda: both_are_well(stack))
        before = shares(stack)[0]
        audience.join(40)
        assert shares(stack)[0] > before, "who comes later comes to the new process"
