"""Call.start: an operation and its job exist if and only if the call was committed."""

from dataclasses import dataclass
from typing import Any

import pytest
from plinth.operations.v1.operation_pb2 import CancelOperationRequest, Operation
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page

from server import access
from server.kernel.call import Call, Principal
from server.kernel.ids import new_id
from server.kernel.policy import MethodPolicy
from server.kernel.steps.transaction import InTransaction
from tests.clients import rows
from tests.domains.operations.scene import TASK, Scene
from tests.kernel import calls
from tests.workers.test_enqueue import Failing, Silence
from tests.workers.world import queued

ANSWERS = calls.POLICIES["/plinth.operations.v1.OperationService/CancelOperation"]
EVENTS = """
SELECT type, audience::text, actor_id::text AS actor, for_webhooks AS told FROM events
 WHERE tenant_id = %s AND request_id = %s ORDER BY transaction_id, sequence
"""


@dataclass(frozen=True)
class Started:
    """What a call has started, and by whom."""

    operation: Operation
    caller: Principal
    request_id: str


def start(scene: Scene, method: MethodPolicy, *, api_key: bool = False, fails: bool = False) -> Started:
    """What an RPC does around its handler, which here starts long work and answers with it, or with a page."""
    made: list[Operation] = []

    def handle(call: Call, _: Any) -> Any:
        made.append(call.start("test", scene.queue, TASK, key="k"))
        if fails:
            raise Failing
        return made[0] if method is ANSWERS else Page(id=new_id(), tenant_id=scene.tenant.id, title="Hello")

    silence: Any = Silence()
    step = InTransaction(
        scene.database, scene.database, silence, silence, access.ACCESS_CHANGED, private=("operation.queued",)
    )
    call = calls.call(method)
    ids: dict[str, Any] = (
        {"user_id": "", "session_id": "", "api_key_id": new_id()}
        if api_key
        else {
            "user_id": new_id(),
            "session_id": new_id(),
        }
    )
    call.tenant_id = scene.tenant.id
    call.principal = Principal(**ids, tenant_id=scene.tenant.id, roles=(), is_platform=False, expires_at=2.0**40)
    request = CancelOperationRequest() if method is ANSWERS else CreatePageRequest()
    step.unary(method, handle)(call, request)
    return Started(made[0], call.principal, call.request_id)


@pytest.mark.parametrize("api_key", [False, True])
def test_an_operation_belongs_to_the_user_or_key_that_started_it(scene: Scene, *, api_key: bool) -> None:
    started = start(scene, ANSWERS, api_key=api_key)
    shown = started.operation
    assert (shown.owner_id, shown.request_id) == (started.caller.id, started.request_id)
    stored = rows(scene.stack, "SELECT owner_id::text, kind, state FROM operations WHERE id = %s", shown.id)
    assert stored == [{"owner_id": started.caller.id, "kind": "test", "state": 1}]
    (job,) = queued(scene.stack, scene.queue)
    assert (job["task_name"], job["args"]) == (
        TASK,
        {"key": "k", "tenant_id": scene.tenant.id, "operation_id": shown.id},
    )


def test_its_events_are_the_owners_alone(scene: Scene) -> None:
    started = start(scene, ANSWERS)
    own = {"audience": started.caller.id, "actor": started.caller.id}
    assert rows(scene.stack, EVENTS, scene.tenant.id, started.request_id) == [
        {"type": "operation.queued", "told": False, **own},
        {"type": "operation.cancelled", "told": True, **own},
    ]


def test_the_other_events_of_the_call_are_as_they_were(scene: Scene) -> None:
    started = start(scene, calls.CREATE)
    found = rows(scene.stack, EVENTS, scene.tenant.id, started.request_id)
    assert [(row["type"], row["audience"]) for row in found] == [
        ("operation.queued", started.caller.id),
        ("page.created", None),
    ]


def test_a_call_that_was_rolled_back_leaves_neither_row_nor_job(scene: Scene) -> None:
    with pytest.raises(Failing):
        start(scene, ANSWERS, fails=True)
    assert queued(scene.stack, scene.queue) == []
    assert rows(scene.stack, "SELECT id FROM operations WHERE tenant_id = %s", scene.tenant.id) == []
