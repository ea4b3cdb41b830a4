"""Operations are waited for and watched until they end, over gRPC and REST, by those whose they are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import pytest
from plinth.operations.v1.operation_pb2 import (
    CancelOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    Operation,
    OperationEvent,
    WaitOperationRequest,
    WatchOperationRequest,
)

from server.kernel.ids import new_id
from server.kernel.operations import Work
from server.kernel.operations import work as work_module
from tests.clients import Rest, Session, Stubs, new_member, reason, refused, stubs
from tests.domains.operations.scene import Scene, do
from tests.stack import wait_for
from tests.streams.sse import PATIENCE, Reader

SERVICE = "plinth.operations.v1.OperationService"
NOT_FOUND = 5
OPEN = 30.0
"""Seconds that a stream may take in all."""


class Steps:
    """Work that takes one step whenever the test says so."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._may = threading.Semaphore(0)

    def step(self, count: int = 1) -> None:
        """Let it take so many steps."""
        self._may.release(count)

    def __call__(self, work: Work) -> dict[str, Any]:
        for number in range(self.total):
            assert self._may.acquire(timeout=60)
            do(work, number, self.total)
        return {"steps": self.total}


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is told of."""
    monkeypatch.setattr(work_module, "PAUSE", 0.0)


@contextmanager
def stepping(scene: Scene, operation: Operation, total: int = 3) -> Iterator[Steps]:
    """An attempt beside the block, which ends it."""
    steps = Steps(total)
    with scene.attempting(operation, steps) as attempt:
        try:
            yield steps
        finally:
            steps.step(total)
            attempt.result(60)


def watch(stubs: Stubs, operation: Operation) -> Any:
    """The stream over gRPC."""
    return stubs[SERVICE].WatchOperation(WatchOperationRequest(operation_id=operation.id), timeout=OPEN)


@contextmanager
def listening(scene: Scene, operation: Operation) -> Iterator[Reader]:
    """The stream over REST."""
    url = f"{scene.stack.url}/api/v1/long-operations/{operation.id}/stream"
    headers = {"authorization": f"Bearer {scene.tenant.access_token}"}
    with httpx.stream("GET", url, headers=headers, timeout=PATIENCE, trust_env=False) as response:
        assert response.headers["content-type"] == "text/event-stream"
        yield Reader(response)


# Watching ------------------------------------------------------------------------------------------------------------


def test_a_watcher_sees_each_change_once_and_the_end(scene: Scene) -> None:
    operation = scene.start()
    stream = watch(scene.tenant.stubs, operation)
    first: OperationEvent = next(stream)
    assert (first.type, first.operation.state) == ("operation.current", Operation.STATE_QUEUED)
    with stepping(scene, operation) as steps:
        steps.step(3)
        rest = list(stream)
    assert [each.type for each in rest] == [
        "operation.started",
        *["operation.progressed"] * 3,
        "operation.succeeded",
    ]
    assert [each.operation.done for each in rest] == [0, 1, 2, 3, 3]
    assert rest[-1].operation.result["steps"] == 3


def test_who_comes_in_the_middle_begins_with_what_is(scene: Scene) -> None:
    operation = scene.start()
    with stepping(scene, operation) as steps:
        steps.step()
        wait_for(lambda: scene.shown(operation)["done"] == 1)
        stream = watch(scene.tenant.stubs, operation)
        assert next(stream).operation.done == 1
        steps.step(2)
        seen = [each.operation.done for each in stream]
    assert seen == [2, 3, 3]


def test_what_has_ended_is_told_at_once(scene: Scene) -> None:
    operation = scene.start()
    scene.attempt(operation, lambda _: None)
    (only,) = watch(scene.tenant.stubs, operation)
    assert (only.type, only.operation.state) == ("operation.current", Operation.STATE_DONE)


def test_browsers_see_the_same(scene: Scene) -> None:
    operation, other = scene.start(), scene.start()
    with listening(scene, operation) as reader, stepping(scene, operation) as steps:
        assert reader.events(1)[0].event == "operation.current"
        scene.attempt(other, lambda _: None)
        steps.step(3)
        frames = reader.rest()
    assert [frame.event for frame in frames] == [
        "operation.started",
        *["operation.progressed"] * 3,
        "operation.succeeded",
    ]
    assert {frame.data["id"] for frame in frames} == {operation.id}
    assert frames[-1].data == scene.shown(operation)


# Waiting -------------------------------------------------------------------------------------------------------------


def test_waiting_ends_with_the_operation(scene: Scene) -> None:
    operation = scene.start()
    answers: list[Operation] = []
    request = WaitOperationRequest(operation_id=operation.id)
    waiting = threading.Thread(
        target=lambda: answers.append(scene.tenant.stubs[SERVICE].WaitOperation(request, timeout=OPEN))
    )
    with stepping(scene, operation) as steps:
        waiting.start()
        steps.step(2)
        wait_for(lambda: scene.shown(operation)["done"] == 2)
        assert not answers
        steps.step()
        waiting.join(60)
    assert [answer.state for answer in answers] == [Operation.STATE_DONE]


def test_waiting_ends_after_the_timeout_with_what_is(scene: Scene) -> None:
    operation = scene.start()
    response = scene.tenant.rest.get(f"/api/v1/long-operations/{operation.id}/wait", params={"timeoutSeconds": 1})
    assert response.status_code == 200, response.text
    assert response.json() == scene.shown(operation)
    assert response.headers["etag"] == operation.etag
    assert "ratelimit" in response.headers
    too_long = scene.tenant.rest.get(f"/api/v1/long-operations/{operation.id}/wait", params={"timeoutSeconds": 26})
    assert reason(too_long) == (422, "RULE_VIOLATED")


def test_a_caller_with_a_deadline_is_answered_before_it(scene: Scene) -> None:
    operation = scene.start()
    answer = scene.tenant.stubs[SERVICE].WaitOperation(WaitOperationRequest(operation_id=operation.id), timeout=3)
    assert answer.state == Operation.STATE_QUEUED


# Whose they are ------------------------------------------------------------------------------------------------------


def doors(token: str, scene: Scene, operation: Operation) -> list[Callable[[], object]]:
    """Every way to reach an operation over gRPC."""
    stub = stubs(scene.stack, token)[SERVICE]
    named = {"operation_id": operation.id}
    return [
        lambda: stub.GetOperation(GetOperationRequest(**named)),
        lambda: stub.CancelOperation(CancelOperationRequest(**named)),
        lambda: stub.WaitOperation(WaitOperationRequest(**named, timeout_seconds=1)),
        lambda: next(stub.WatchOperation(WatchOperationRequest(**named), timeout=OPEN)),
    ]


@pytest.fixture
def member(scene: Scene) -> tuple[str, Session]:
    """The id and the session of somebody else in the tenant."""
    account, session = new_member(scene.tenant, "editor")
    return account.id, session


def test_nobody_else_reaches_what_somebody_started(scene: Scene, member: tuple[str, Session]) -> None:
    operation = scene.start()
    _, session = member
    for door in doors(session.access_token, scene, operation):
        assert refused(door).code == NOT_FOUND
    rest = Rest(scene.stack, session.access_token)
    for path in ("", "/wait", "/stream"):
        assert reason(rest.get(f"/api/v1/long-operations/{operation.id}{path}")) == (404, "RESOURCE_NOT_FOUND")
    assert rest.get("/api/v1/long-operations").json()["operations"] == []
    assert reason(rest.get("/api/v1/long-operations", params={"ownerId": "-"})) == (403, "PERMISSION_MISSING")
    assert scene.shown(operation)["state"] == "STATE_QUEUED"


def test_who_may_manage_them_reaches_what_others_started(scene: Scene, member: tuple[str, Session]) -> None:
    own_id, session = member
    theirs, platform = scene.start(own_id), scene.start("")
    assert Rest(scene.stack, session.access_token).get(f"/api/v1/long-operations/{theirs.id}").status_code == 200
    assert scene.shown(theirs)["ownerId"] == own_id
    assert scene.shown(platform)["ownerId"] == ""
    stub = scene.tenant.stubs[SERVICE]

    def listed(owner_id: str) -> set[str]:
        return {each.id for each in stub.ListOperations(ListOperationsRequest(owner_id=owner_id)).operations}

    assert (listed(""), listed(own_id), listed("-")) == (set(), {theirs.id}, {theirs.id, platform.id})
    seen = watch(scene.tenant.stubs, theirs)
    assert next(seen).type == "operation.current"
    scene.attempt(theirs, lambda _: None)
    assert [each.type for each in seen] == ["operation.started", "operation.succeeded"]


def test_what_the_platform_started_is_for_those_who_manage(scene: Scene, member: tuple[str, Session]) -> None:
    platform = scene.start("")
    _, session = member
    for door in doors(session.access_token, scene, platform):
        assert refused(door).code == NOT_FOUND
    seen = watch(scene.tenant.stubs, platform)
    assert next(seen).operation.state == Operation.STATE_QUEUED
    scene.tenant.rest.post(f"/api/v1/long-operations/{platform.id}/cancel", {})
    assert [each.type for each in seen] == ["operation.cancelled"]


def test_an_absent_one_is_not_found_by_any_door(scene: Scene) -> None:
    absent = Operation(id=new_id())
    for door in doors(scene.tenant.access_token, scene, absent):
        assert refused(door).code == NOT_FOUND


def test_nobody_waits_without_credentials(scene: Scene) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs(scene.stack)[SERVICE].WaitOperation(WaitOperationRequest(operation_id=new_id()))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
