"""Long work is done once and to its end, whatever becomes of its workers, and whoever started it can follow it."""

import threading
from typing import Any

import pytest
from plinth.operations.v1.operation_pb2 import (
    CancelOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    Operation,
)

from server.data.transactions import Scope
from server.domains.operations.orphans import Orphans
from server.kernel.clock import utc_now
from server.kernel.operations import Work, end_lost, long_job
from server.kernel.operations import work as work_module
from server.kernel.problems import StateForbids
from tests.clients import problem, reason, rows
from tests.domains.operations.scene import Scene, do, do_all, effects
from tests.workers.machinery import own_database

AGE = "UPDATE operations SET update_time = now() - interval '1 hour' WHERE id = %s RETURNING id"
SERVICE = "plinth.operations.v1.OperationService"


class Killed(BaseException):
    """A worker that dies: nothing is written any more."""


# From the start to the end -------------------------------------------------------------------------------------------


def test_work_is_queued_runs_and_ends_with_its_result(scene: Scene) -> None:
    operation = scene.start()
    assert scene.shown(operation) | {"updateTime": "", "createTime": ""} == {
        "id": operation.id,
        "tenantId": scene.tenant.id,
        "ownerId": scene.tenant.owner.id,
        "kind": "test",
        "state": "STATE_QUEUED",
        "done": 0,
        "total": 0,
        "message": "",
        "requestId": "a-request",
        "createTime": "",
        "updateTime": "",
        "etag": operation.etag,
    }
    seen: list[dict[str, Any]] = []

    def work(work: Work) -> dict[str, Any]:
        do(work, 0, 2)
        seen.append(scene.shown(operation))
        do(work, 1, 2)
        return {"rows": 2, "names": ["a"]}

    scene.attempt(operation, work)
    (running,) = seen
    assert (running["state"], running["done"], running["total"], running["message"]) == (
        "STATE_RUNNING",
        1,
        2,
        "number 0",
    )
    ended = scene.shown(operation)
    assert (ended["state"], ended["done"], ended["total"]) == ("STATE_DONE", 2, 2)
    assert ended["result"] == {"rows": 2, "names": ["a"]}
    assert "error" not in ended
    assert ended["createTime"] <= ended["startTime"] <= ended["endTime"] < ended["expireTime"]
    assert len({each["etag"] for each in (running, ended)} | {operation.etag}) == 3
    assert scene.events(operation) == ["operation.started", "operation.succeeded"]


def test_the_same_is_read_over_grpc_and_listed(scene: Scene) -> None:
    first, second = scene.start(), scene.start()
    scene.attempt(first, lambda _: {"sum": 3})
    stub = scene.tenant.stubs[SERVICE]
    got: Operation = stub.GetOperation(GetOperationRequest(operation_id=first.id))
    assert (got.state, got.result["sum"]) == (Operation.STATE_DONE, 3)
    listed = stub.ListOperations(ListOperationsRequest()).operations
    assert [each.id for each in listed] == [second.id, first.id]
    assert [each.id for each in stub.ListOperations(ListOperationsRequest(filter="state = DONE")).operations] == [
        first.id
    ]


def test_an_operation_that_has_ended_is_not_done_again(scene: Scene) -> None:
    operation = scene.start()
    scene.attempt(operation, lambda work: do_all(work, 2))
    scene.attempt(operation, lambda _: pytest.fail("it is done"))
    assert effects(scene.stack, operation) == [0, 1]


def test_progress_never_becomes_less_and_is_told_at_most_once_a_pause(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = scene.start()
    shown: list[int] = []

    def work(work: Work) -> None:
        for done in (3, 2, 2**40):
            work.progress(done)
            shown.append(scene.shown(operation)["done"])

    monkeypatch.setattr(work_module, "PAUSE", 3600.0)
    scene.attempt(operation, work)
    assert shown == [0, 0, 0]
    assert "operation.progressed" not in scene.events(operation)
    monkeypatch.setattr(work_module, "PAUSE", 0.0)
    shown.clear()
    operation = scene.start()
    scene.attempt(operation, work)
    assert shown == [3, 3, 2**31 - 1]
    assert scene.events(operation).count("operation.progressed") == 3


# Cancelling ----------------------------------------------------------------------------------------------------------


def test_what_is_queued_is_cancelled_at_once_and_never_done(scene: Scene) -> None:
    operation = scene.start()
    answer = scene.tenant.rest.post(f"/api/v1/long-operations/{operation.id}/cancel", {})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "STATE_CANCELLED"
    assert answer.json()["cancelTime"] == answer.json()["endTime"] < answer.json()["expireTime"]
    scene.attempt(operation, lambda _: pytest.fail("it is cancelled"))
    assert scene.events(operation) == ["operation.cancelled"]
    again = scene.tenant.rest.post(f"/api/v1/long-operations/{operation.id}/cancel", {})
    assert reason(again) == (409, "STATE_FORBIDS")
    assert problem(again).metadata["state"] == "CANCELLED"


def test_what_runs_is_cancelled_before_its_next_batch(scene: Scene) -> None:
    operation = scene.start()
    stub = scene.tenant.stubs[SERVICE]

    def work(work: Work) -> None:
        do(work, 0)
        cancelled = stub.CancelOperation(CancelOperationRequest(operation_id=operation.id))
        assert cancelled.state == Operation.STATE_RUNNING
        assert cancelled.HasField("cancel_time")
        # Asking again changes nothing.
        assert stub.CancelOperation(CancelOperationRequest(operation_id=operation.id)) == cancelled
        do(work, 1)

    scene.attempt(operation, work, resumable=True)
    assert scene.shown(operation)["state"] == "STATE_CANCELLED"
    assert scene.shown(operation)["done"] == 1
    assert effects(scene.stack, operation) == [0]
    assert scene.events(operation) == ["operation.started", "operation.cancel_requested", "operation.cancelled"]


def test_a_batch_during_which_it_was_cancelled_is_not_committed(scene: Scene) -> None:
    operation = scene.start()

    def work(work: Work) -> None:
        with work.batch() as transaction:
            transaction.settle()
            cancel = scene.tenant.rest.post(f"/api/v1/long-operations/{operation.id}/cancel", {})
            assert cancel.status_code == 200, cancel.text
            work.progress(1)

    scene.attempt(operation, work)
    shown = scene.shown(operation)
    assert (shown["state"], shown["done"]) == ("STATE_CANCELLED", 0)


def test_what_ends_before_it_notices_has_succeeded(scene: Scene) -> None:
    operation = scene.start()

    def work(_: Work) -> dict[str, Any]:
        scene.tenant.rest.post(f"/api/v1/long-operations/{operation.id}/cancel", {})
        return {"all": True}

    scene.attempt(operation, work)
    assert scene.shown(operation)["state"] == "STATE_DONE"


def test_what_was_cancelled_while_its_worker_was_lost_is_not_resumed(scene: Scene) -> None:
    operation = scene.start()
    die_in(scene, operation, resumable=True)
    scene.tenant.rest.post(f"/api/v1/long-operations/{operation.id}/cancel", {})
    scene.attempt(operation, lambda _: pytest.fail("it is cancelled"), resumable=True)
    assert scene.shown(operation)["state"] == "STATE_CANCELLED"


# Failing -------------------------------------------------------------------------------------------------------------


def test_a_problem_of_the_work_is_the_error_of_the_operation(scene: Scene) -> None:
    operation = scene.start()

    def work(work: Work) -> None:
        do(work, 0)
        raise StateForbids("The webhook is disabled.", metadata={"resource_type": "x"})

    scene.attempt(operation, work, resumable=True)
    shown = scene.shown(operation)
    assert shown["state"] == "STATE_FAILED"
    assert shown["error"] == {"code": 9, "reason": "STATE_FORBIDS", "message": "The webhook is disabled."}
    assert scene.events(operation) == ["operation.started", "operation.failed"]


def test_an_unexpected_error_tells_nothing_of_itself(scene: Scene) -> None:
    operation = scene.start()

    def work(_: Work) -> None:
        raise ValueError("password=hunter2")

    scene.attempt(operation, work)
    shown = scene.shown(operation)
    assert (shown["error"]["code"], shown["error"]["reason"]) == (13, "INTERNAL")
    assert "hunter2" not in str(shown)


def test_what_can_be_resumed_is_attempted_again_and_goes_on_where_it_was(scene: Scene) -> None:
    operation = scene.start()

    def work(work: Work) -> dict[str, Any]:
        first = int(str(work.saved.get("next", 0)))
        do(work, first, 3)
        do(work, first + 1, 3)
        if first == 0:
            with work.batch():
                work.save(next=17)
                raise OSError("the batch is not committed")
        return {"first": first}

    with pytest.raises(OSError, match="not committed"):
        scene.attempt(operation, work, resumable=True)
    assert scene.shown(operation)["state"] == "STATE_RUNNING"
    scene.attempt(operation, work, resumable=True)
    assert scene.shown(operation)["result"] == {"first": 2}
    assert effects(scene.stack, operation) == [0, 1, 2, 3]


def test_what_fails_again_and_again_without_getting_on_fails(scene: Scene) -> None:
    operation = scene.start()

    def work(_: Work) -> None:
        raise OSError("again")

    for _ in range(long_job.MOST_LOSSES - 1):
        with pytest.raises(OSError, match="again"):
            scene.attempt(operation, work, resumable=True)
    scene.attempt(operation, work, resumable=True)
    assert scene.shown(operation)["error"]["reason"] == "INTERNAL"


def test_what_gets_on_between_its_failures_goes_on(scene: Scene) -> None:
    operation = scene.start()
    total = 2 * long_job.MOST_LOSSES

    def work(work: Work) -> None:
        first = int(str(work.saved.get("next", 0)))
        if first < total:
            do(work, first)
            raise OSError("again")

    for _ in range(total):
        with pytest.raises(OSError, match="again"):
            scene.attempt(operation, work, resumable=True)
    scene.attempt(operation, work, resumable=True)
    assert scene.shown(operation)["state"] == "STATE_DONE"
    assert effects(scene.stack, operation) == list(range(total))


def test_what_is_saved_belongs_to_a_batch(scene: Scene) -> None:
    operation = scene.start()

    def work(work: Work) -> None:
        with pytest.raises(LookupError):
            work.save(next=1)

    scene.attempt(operation, work)
    assert scene.shown(operation)["state"] == "STATE_DONE"


# Lost workers --------------------------------------------------------------------------------------------------------


def die_in(scene: Scene, operation: Operation, *, resumable: bool) -> None:
    """An attempt whose worker is killed after one batch."""

    def work(work: Work) -> None:
        do(work, int(str(work.saved.get("next", 0))))
        raise Killed

    with pytest.raises(Killed):
        scene.attempt(operation, work, resumable=resumable)
    assert scene.shown(operation)["state"] == "STATE_RUNNING"


def test_what_cannot_be_resumed_fails_when_its_worker_was_lost(scene: Scene) -> None:
    operation = scene.start()
    die_in(scene, operation, resumable=False)
    scene.attempt(operation, lambda _: pytest.fail("it cannot be resumed"))
    shown = scene.shown(operation)
    assert (shown["state"], shown["error"]["reason"]) == ("STATE_FAILED", "WORKER_LOST")
    assert scene.events(operation) == ["operation.started", "operation.failed"]


def test_what_can_be_resumed_is_resumed_when_its_worker_was_lost(scene: Scene) -> None:
    operation = scene.start()
    die_in(scene, operation, resumable=True)
    scene.attempt(operation, lambda work: do_all(work, 3), resumable=True)
    assert scene.shown(operation)["result"] == {"first": 1}
    assert effects(scene.stack, operation) == [0, 1, 2]


def test_what_kills_its_workers_fails(scene: Scene) -> None:
    operation = scene.start()

    def work(_: Work) -> None:
        raise Killed

    for _ in range(long_job.MOST_LOSSES):
        with pytest.raises(Killed):
            scene.attempt(operation, work, resumable=True)
    scene.attempt(operation, work, resumable=True)
    assert scene.shown(operation)["error"]["reason"] == "WORKER_LOST"


def test_a_worker_that_was_given_up_for_lost_writes_nothing_any_more(scene: Scene) -> None:
    operation = scene.start()
    is_in, may_go = threading.Event(), threading.Event()

    def slow(work: Work) -> dict[str, Any]:
        with work.batch():
            is_in.set()
            assert may_go.wait(60)
            work.progress(99)
            work.save(next=99)
        return {"slow": True}

    with scene.attempting(operation, slow, resumable=True) as first:
        assert is_in.wait(60)
        scene.attempt(operation, lambda work: do_all(work, 2), resumable=True)
        may_go.set()
        first.result(60)
    shown = scene.shown(operation)
    assert (shown["result"], shown["done"]) == ({"first": 0}, 2)
    assert effects(scene.stack, operation) == [0, 1]


def test_one_that_had_only_to_tell_its_end_does_not_tell_it_any_more(scene: Scene) -> None:
    operation = scene.start()

    def slow(_: Work) -> dict[str, Any]:
        scene.attempt(operation, lambda work: do_all(work, 1), resumable=True)
        return {"slow": True}

    scene.attempt(operation, slow, resumable=True)
    assert scene.shown(operation)["result"] == {"first": 0}
    assert scene.events(operation).count("operation.succeeded") == 1


def test_one_whose_job_is_gone_fails_and_no_other(scene: Scene) -> None:
    gone, cancelled, held, young = (scene.start() for _ in range(4))
    die_in(scene, cancelled, resumable=True)
    scene.tenant.rest.post(f"/api/v1/long-operations/{cancelled.id}/cancel", {})
    for operation in (gone, cancelled, held):
        assert rows(scene.stack, AGE, operation.id)
    removed = "DELETE FROM procrastinate_jobs WHERE args->>'operation_id' = ANY (%s) RETURNING id"
    assert len(rows(scene.stack, removed, [gone.id, cancelled.id, young.id])) == 3
    with own_database(scene.stack.settings.dispatch_dsn) as dispatch:
        Orphans(dispatch, scene.database, utc_now).run()
    assert scene.shown(gone)["state"] == "STATE_FAILED"
    assert scene.shown(gone)["error"]["reason"] == "WORKER_LOST"
    assert scene.shown(cancelled)["state"] == "STATE_CANCELLED"
    assert scene.shown(held)["state"] == "STATE_QUEUED"
    assert scene.shown(young)["state"] == "STATE_QUEUED"
    scene.attempt(gone, lambda _: pytest.fail("it has failed"))
    # It may end between the search and the lock.
    with scene.database.write(Scope(tenant_id=scene.tenant.id)) as transaction:
        assert not end_lost(transaction, scene.tenant.id, gone.id, "test", utc_now())
