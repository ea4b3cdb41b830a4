"""Long work of a test: started for somebody of a tenant, and attempted when the test says so."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from plinth.operations.v1.operation_pb2 import Operation
from sqlalchemy import text

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.clock import utc_now
from server.kernel.ids import new_id
from server.kernel.operations import LongJob, Work
from server.kernel.starting import Task, start_operation
from tests.clients import Rest, Tenant, rows
from tests.stack import Stack

TASK = "test.work"


@dataclass(frozen=True)
class Scene:
    """A tenant, the database as a worker has it, and a queue that nobody attends to."""

    tenant: Tenant
    database: Database
    queue: str

    @property
    def stack(self) -> Stack:
        """The shared stack."""
        return self.tenant.stack

    def start(self, owner_id: str | None = None, **arguments: Any) -> Operation:
        """An operation of the owner of the tenant, or of somebody else; of nobody if `owner_id` is empty."""
        with self.database.write(Scope(tenant_id=self.tenant.id)) as transaction:
            return start_operation(
                transaction,
                self.tenant.id,
                "test",
                Task(self.queue, TASK, arguments),
                utc_now(),
                owner_id=self.tenant.owner.id if owner_id is None else owner_id,
                request_id="a-request",
            )

    def attempt(self, operation: Operation, work: Callable[..., Any], *, resumable: bool = False) -> None:
        """One attempt, as a worker makes it. Raises what has the job attempted again."""
        job = LongJob(TASK, work, self.queue, resumable=resumable).job(self.database)
        job.run(tenant_id=operation.tenant_id, operation_id=operation.id)

    @contextmanager
    def attempting(self, operation: Operation, work: Callable[..., Any], **options: Any) -> Iterator[Future[None]]:
        """The same in a thread beside the block, which has to let it end."""
        with ThreadPoolExecutor(1) as threads:
            yield threads.submit(self.attempt, operation, work, **options)

    def shown(self, operation: Operation, rest: Rest | None = None) -> dict[str, Any]:
        """The operation as REST shows it."""
        response = (rest or self.tenant.rest).get(f"/api/v1/long-operations/{operation.id}")
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def events(self, operation: Operation) -> list[str]:
        """The types of its events, in order."""
        query = "SELECT type FROM events WHERE resource_id = %s ORDER BY transaction_id, sequence"
        return [row["type"] for row in rows(self.stack, query, operation.id)]


# An effect that can be counted, and that would fail if it were repeated: a name is unique.
EFFECT = Statement(
    text("INSERT INTO domains (tenant_id, id, hostname) VALUES (CAST(:tenant AS uuid), CAST(:id AS uuid), :name)")
)


def do(work: Work, number: int, total: int = 0) -> None:
    """One batch, which does its effect and saves that it did."""
    with work.batch() as transaction:
        transaction.run(EFFECT, tenant=work.tenant_id, id=new_id(), name=f"{number:03}.{work.id}.example")
        work.progress(number + 1, total, f"number {number}")
        work.save(next=number + 1)


def do_all(work: Work, total: int) -> dict[str, int]:
    """Every batch that is left."""
    first = cast("int", work.saved.get("next", 0))
    for number in range(first, total):
        do(work, number, total)
    return {"first": first}


def effects(stack: Stack, operation: Operation) -> list[int]:
    """The batches whose effect was committed."""
    query = "SELECT hostname FROM domains WHERE hostname LIKE %s ORDER BY hostname"
    return [int(row["hostname"].partition(".")[0]) for row in rows(stack, query, f"%.{operation.id}.example")]
