"""Starting operations: the row of long work, and the job that does it, in one transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from plinth.operations.v1.operation_pb2 import Operation

from server.data.jobs import DEFER
from server.data.operations import INSERT
from server.data.statements import Statement
from server.json_values import JsonValue
from server.kernel.ids import new_id
from server.kernel.messages.etags import etag_of

QUEUED = "operation.queued"
"""The event of an operation that was started."""


class Writes(Protocol):
    """A transaction, or a stand-in for one."""

    def queue(self, statement: Statement, **parameters: object) -> None:
        """Run a statement before the commit."""


class Task(NamedTuple):
    """The job that does the work of an operation. A domain declares it as a LongJob."""

    queue: str
    name: str
    arguments: Mapping[str, JsonValue]
    """They become JSON, beside `tenant_id` and `operation_id`, and must not contain secrets."""


def start_operation(
    transaction: Writes,
    tenant_id: str,
    kind: str,
    task: Task,
    now: datetime,
    *,
    owner_id: str = "",
    request_id: str = "",
) -> Operation:
    """Write the row and enqueue the job. `owner_id` is the user or API key; empty if the platform starts it."""
    operation = Operation(id=new_id(), tenant_id=tenant_id, owner_id=owner_id, kind=kind, state=Operation.STATE_QUEUED)
    operation.request_id = request_id
    operation.create_time.FromDatetime(now)
    operation.update_time.FromDatetime(now)
    operation.etag = etag_of(operation.id, 1)
    transaction.queue(
        INSERT,
        tenant_id=tenant_id,
        id=operation.id,
        owner_id=owner_id or None,
        kind=kind,
        state=operation.state,
        request_id=request_id,
        create_time=now,
        update_time=now,
    )
    arguments = {**task.arguments, "tenant_id": tenant_id, "operation_id": operation.id}
    transaction.queue(DEFER, queue=task.queue, task=task.name, arguments=arguments)
    return operation
