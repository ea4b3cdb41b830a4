"""What tests of operations share."""

from collections.abc import Iterator

import pytest

from server.data.transactions import Database
from tests.clients import new_tenant, unique
from tests.domains.operations.scene import Scene
from tests.stack import Stack
from tests.workers.machinery import own_database
from tests.workers.world import empty


@pytest.fixture(scope="module")
def worker_database(stack: Stack) -> Iterator[Database]:
    """As the jobs of a worker have it."""
    with own_database(stack.settings.runtime_dsn) as database:
        yield database


@pytest.fixture
def scene(stack: Stack, worker_database: Database) -> Iterator[Scene]:
    """A tenant in which long work is started. Its queue is emptied afterwards, so that health does not complain."""
    queue = unique("queue")
    yield Scene(new_tenant(stack), worker_database, queue)
    empty(stack, queue)
