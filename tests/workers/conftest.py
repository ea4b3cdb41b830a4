"""What tests of workers share."""

from collections.abc import Iterator

import pytest

from server.data import schema
from server.workers import job_worker
from tests.clients import unique
from tests.contract.scratch import scratch_database
from tests.stack import Stack
from tests.workers.world import empty


@pytest.fixture
def queue(stack: Stack) -> Iterator[str]:
    """The name of a queue that nobody attends to; emptied afterwards, so that health does not complain."""
    name = unique("queue")
    yield name
    empty(stack, name)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look at the queue often."""
    monkeypatch.setattr(job_worker, "POLL", 0.1)


@pytest.fixture(scope="package")
def migrated(stack: Stack) -> Iterator[str]:
    """A database of our own with the whole schema."""
    with scratch_database(stack) as dsn:
        schema.migrate(dsn)
        yield dsn
