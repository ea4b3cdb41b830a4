"""transaction: attempts that meet somebody else's work are made again, but not for ever."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page

from server.access import ACCESS_CHANGED
from server.kernel.caching.generations import Generations
from server.kernel.call import Call
from server.kernel.problems import Collision
from server.kernel.steps.transaction import MOST_ATTEMPTS, InTransaction
from tests.kernel.calls import CREATE, call
from tests.kernel.database import Database, connections, scratch
from tests.stack import Stack


class Quiet:
    """Nobody is told of events."""

    def announce(self, *, has_jobs: bool) -> None:
        pass


@pytest.fixture
def step(stack: Stack, tmp_path: Path) -> Iterator[InTransaction]:
    generations = Generations(tmp_path / "generations")
    generations.open()
    with scratch(stack) as dsn, connections(dsn, size=1) as pool:
        database = Database(pool)
        yield InTransaction(database, database, Quiet(), generations, ACCESS_CHANGED)


class Choosing:
    """A handler whose choice is taken so many times."""

    def __init__(self, taken: int) -> None:
        self._taken = taken
        self.collisions: list[int] = []

    def __call__(self, one: Call, _: Any) -> Message:
        assert one.headers == []
        one.headers.append(("x-tried", "yes"))
        self.collisions.append(one.collisions)
        if len(self.collisions) <= self._taken:
            raise Collision
        one.changes_nothing = True
        return Page()


def test_a_choice_that_is_taken_is_made_again(step: InTransaction) -> None:
    handler = Choosing(taken=MOST_ATTEMPTS - 1)
    assert step.unary(CREATE, handler)(call(CREATE), CreatePageRequest()) == Page()
    # The handler is told, so that it can choose something else; nothing else is left of the attempts before.
    assert handler.collisions == list(range(MOST_ATTEMPTS))


def test_a_choice_that_is_always_taken_is_refused_in_the_end(step: InTransaction) -> None:
    handler = Choosing(taken=1000)
    with pytest.raises(Collision):
        step.unary(CREATE, handler)(call(CREATE), CreatePageRequest())
    assert len(handler.collisions) == MOST_ATTEMPTS
