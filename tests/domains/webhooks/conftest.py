from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.domains.webhooks.receiver import Receiver
from tests.domains.webhooks.scene import Scene, scene
from tests.stack import Stack


@pytest.fixture(scope="module")
def shared(stack: Stack) -> Iterator[Scene]:
    with scene(stack) as one:
        yield one


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture
def in_the_present(shared: Scene) -> Iterator[None]:
    """What a test leaves undone is nobody's business after it."""
    yield
    shared.run("UPDATE webhooks SET enabled = false")
    shared.clock.ahead = timedelta()
