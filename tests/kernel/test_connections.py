"""The pool of connections under more callers than it has connections."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.data import connections as connections_module
from server.data.connections import Connections
from server.data.greeting import GREET
from tests.kernel.database import connections
from tests.stack import PATIENCE, Stack, wait_for

CALLERS = 6
SIZE = 3
ROUNDS = 1500


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns a thousand times as often as usual, which is when those who count wrong show it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_nobody_waits_for_a_connection_that_is_free(stack: Stack) -> None:
    """More callers than connections: each gets one long before it is told that PostgreSQL is away."""
    with connections(stack.settings.runtime_dsn, size=SIZE) as pool:
        with ThreadPoolExecutor(CALLERS) as callers:
            done = list(callers.map(lambda _: use(pool), range(CALLERS)))
        assert done == [ROUNDS] * CALLERS
        # Whoever waited has been forgotten: what is given back is at hand for the next one.
        first = pool.acquire()
        pool.release(first)
        assert pool.acquire() is first
        pool.release(first)


def use(pool: Connections) -> int:
    """Take a connection and give it back, over and over; how often it worked."""
    for number in range(ROUNDS):
        connection = pool.acquire()
        if number % 7 == 0:
            # Lets another thread run between taking and giving back.
            time.sleep(0)
        pool.release(connection)
    return ROUNDS


def test_connections_that_nobody_needs_are_closed_but_for_one(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "IDLE_FOR", 0.2)
    with connections(stack.settings.runtime_dsn, size=SIZE) as pool:
        taken = [pool.acquire() for _ in range(SIZE)]
        assert pool.usage.there == SIZE
        for each in taken:
            pool.release(each)

        def is_alone() -> bool:
            connection = pool.acquire()
            connection.send(GREET, {})
            connection.receive(PATIENCE)
            pool.release(connection)
            return pool.usage.there == 1

        wait_for(is_alone, what="one connection")
        assert pool.acquire() is taken[-1]
