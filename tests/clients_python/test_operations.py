"""Operations are waited for: every change is told of once, and the end says how it came out."""

import asyncio
from collections.abc import Iterator
from typing import NoReturn

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plinth.client import (
    AsyncPlinth,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    OperationCancelled,
    OperationFailed,
    Plinth,
)
from plinth.operations.v1.operation_pb2 import CancelOperationRequest, Operation
from plinth.webhooks.v1.webhook_pb2 import CreateWebhookRequest, ReplayWebhookEventsRequest, Webhook

from server.kernel.ids import new_id
from server.kernel.operations import Work
from server.kernel.problems import StateForbids
from tests.clients import Tenant
from tests.domains.operations.conftest import scene, worker_database
from tests.domains.operations.scene import Scene, do_all
from tests.streams import writers

__all__ = ["scene", "worker_database"]
PATIENCE = 60.0


@pytest.fixture
def follower(scene: Scene) -> Iterator[Plinth]:
    """A client of whom the operations are."""
    with Plinth(scene.stack.url, token=scene.tenant.access_token) as client:
        yield client


def test_an_operation_is_followed_to_its_end(scene: Scene, follower: Plinth) -> None:
    operation, told = scene.start(), list[Operation]()
    with scene.attempting(operation, lambda work: do_all(work, 3)):
        ended = follower.wait(operation, progress=told.append, timeout=PATIENCE)
    assert dict(ended.result) == {"first": 0}
    assert told[-1] == ended
    assert len({one.etag for one in told}) == len(told)
    assert [one.done for one in told] == sorted(one.done for one in told)


def test_one_that_has_ended_is_told_of_once(scene: Scene, follower: Plinth) -> None:
    operation, told = scene.start(), list[Operation]()
    scene.attempt(operation, lambda work: do_all(work, 1))
    assert follower.wait(operation.id, progress=told.append).state == Operation.STATE_DONE
    assert len(told) == 1


def test_for_asyncio_too(scene: Scene) -> None:
    operation, told = scene.start(), list[Operation]()

    async def work() -> Operation:
        async with AsyncPlinth(scene.stack.url, token=scene.tenant.access_token) as client:
            return await client.wait(operation, progress=told.append, timeout=PATIENCE)

    with scene.attempting(operation, lambda work: do_all(work, 2)):
        assert asyncio.run(work()) == told[-1]


def test_a_failure_is_raised_with_its_reason(scene: Scene, follower: Plinth) -> None:
    def fail(_: Work) -> NoReturn:
        raise StateForbids("It is too late for that.")

    operation = scene.start()
    scene.attempt(operation, fail)
    with pytest.raises(OperationFailed, match="too late") as caught:
        follower.wait(operation)
    assert isinstance(caught.value.error, FailedPrecondition)
    assert (caught.value.error.reason, caught.value.operation.id) == ("STATE_FORBIDS", operation.id)


def test_a_cancelled_one_is_an_error_of_its_own(scene: Scene, follower: Plinth) -> None:
    operation = scene.start()
    follower.operations.cancel_operation(CancelOperationRequest(operation_id=operation.id))
    with pytest.raises(OperationCancelled):
        follower.wait(operation)


def test_waiting_ends_with_its_timeout(scene: Scene, follower: Plinth) -> None:
    with pytest.raises(DeadlineExceeded):
        follower.wait(scene.start(), timeout=0.5)


def test_an_operation_that_is_not_there_is_an_error(follower: Plinth) -> None:
    with pytest.raises(NotFound):
        follower.wait(new_id())


def test_a_replay_of_events_is_waited_for(client: Plinth, tenant: Tenant) -> None:
    """Work that a call of the contract starts, and a real worker does."""
    for number in range(3):
        writers.create(tenant, f"page-{number}")
    hook = Webhook(url="http://127.0.0.1:9/", event_types=["page.*"])
    webhook = client.webhooks.create_webhook(CreateWebhookRequest(tenant_id=tenant.id, webhook=hook))
    request = ReplayWebhookEventsRequest(
        tenant_id=tenant.id, webhook_id=webhook.id, start_time=Timestamp(seconds=1), event_types=["page.created"]
    )
    replay = client.webhooks.replay_webhook_events(request)
    assert replay.event_count == 3
    assert client.wait(replay.operation_id, timeout=PATIENCE).kind == "webhook_replay"
