"""What tests of providers share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.providers.courier import URL, Courier
from tests.providers.moving import Ground, World, ground
from tests.stack import Stack


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Iterator[Ground]:
    """A migrated database of the module's own."""
    with ground(stack) as place:
        yield place


@pytest.fixture
def courier(monkeypatch: pytest.MonkeyPatch) -> Iterator[Courier]:
    """The double of the provider, named in the settings."""
    with Courier() as double:
        monkeypatch.setenv(URL, double.url)
        yield double


@pytest.fixture
def worlds(migrated: Ground, courier: Courier) -> Iterator[Callable[..., World]]:
    """Makes worlds for one test."""
    made: list[World] = []

    def make(*arguments: Any, **changes: Any) -> World:
        made.append(World(migrated, *arguments, **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()
    courier.release()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """A world in which all is as usual."""
    return worlds()
