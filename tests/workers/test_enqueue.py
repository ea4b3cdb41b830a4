"""Jobs are enqueued in the transaction of a call: they exist if and only if it was committed."""

from typing import Any

import pytest
from plinth.sites.v1 import page_pb2

from server import access
from server.kernel.call import Call, Principal
from server.kernel.ids import new_id
from server.kernel.steps.transaction import InTransaction
from tests.clients import Tenant, new_tenant
from tests.kernel import calls
from tests.kernel.database import Database, connections
from tests.stack import Stack
from tests.workers.world import queued

TASK = "test.greet"


class Failing(Exception):
    """What a handler raises."""


class Silence:
    """Nothing is cached, and nobody is told of what was committed: `told` has whether there were jobs."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def announce(self, *, has_jobs: bool) -> None:
        self.told.append(has_jobs)

    def changing(self, slots: set[int]) -> None:
        pass

    def changed(self, slots: set[int]) -> None:
        pass


def create_page(stack: Stack, tenant: Tenant, queue: str, *, jobs: int = 2, fails: bool = False) -> list[bool]:
    """What CreatePage does around its handler, which here enqueues jobs. Whether there were jobs, as it is told."""

    def handle(call: Call, request: page_pb2.CreatePageRequest) -> page_pb2.Page:
        for number in range(1, jobs + 1):
            call.enqueue(queue, TASK, tenant_id=call.tenant_id, number=number, text='a "b" \\ é')
        if fails:
            raise Failing
        return request.page

    silence: Any = Silence()
    with connections(stack.settings.runtime_dsn) as pool:
        step = InTransaction(Database(pool), Database(pool), silence, silence, access.ACCESS_CHANGED)
        call = calls.call(calls.CREATE)
        call.tenant_id = tenant.id
        call.principal = Principal(new_id(), new_id(), tenant.id, ("owner",), is_platform=False, expires_at=2.0**40)
        page = page_pb2.Page(id=new_id(), tenant_id=tenant.id, title="Hello")
        step.unary(calls.CREATE, handle)(call, page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page))
    return list(silence.told)


def test_a_committed_call_leaves_its_jobs(stack: Stack, queue: str) -> None:
    tenant = new_tenant(stack)
    assert create_page(stack, tenant, queue) == [True]
    found = queued(stack, queue)
    assert [job["args"] for job in found] == [
        {"tenant_id": tenant.id, "number": number, "text": 'a "b" \\ é'} for number in (1, 2)
    ]
    assert {(job["task_name"], job["status"]) for job in found} == {(TASK, "todo")}


def test_workers_are_not_woken_by_a_call_without_jobs(stack: Stack, queue: str) -> None:
    assert create_page(stack, new_tenant(stack), queue, jobs=0) == [False]


def test_a_call_that_was_rolled_back_leaves_none(stack: Stack, queue: str) -> None:
    with pytest.raises(Failing):
        create_page(stack, new_tenant(stack), queue, fails=True)
    assert queued(stack, queue) == []
