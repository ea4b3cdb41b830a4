"""What several sweeps share."""

from collections.abc import Callable

import pytest

from tests.contract import wall
from tests.contract.wall import House
from tests.stack import Stack

# How many of everything a tenant gets.
ROOM = 20


@pytest.fixture(scope="module")
def another(stack: Stack) -> Callable[[], House]:
    """One more of what will be asked for, in a tenant that has room for it: a tenant holds at most 50 webhooks."""
    houses: list[House] = []

    def make() -> House:
        if len(houses) % ROOM == 0:
            houses.append(wall.open_house(stack))
        else:
            houses.append(houses[-1].one_more())
        return houses[-1]

    return make
