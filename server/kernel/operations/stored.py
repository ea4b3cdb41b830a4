"""The row of an operation as workers change it, and the events that tell of it.

Each attempt at the work has a number. A change names the number of its attempt and changes nothing if another one has
begun since, so that a worker that was given up for lost cannot write any more.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from plinth.operations.v1.operation_pb2 import Operation
from sqlalchemy import ColumnElement, Update, and_, bindparam, func, select, text, update

from server.data.clauses import AnyParameter
from server.data.connections import Result
from server.data.events import APPEND
from server.data.operations import IS_LIVE, NOBODY, RUNNING, operations
from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.json_values import JsonValue
from server.kernel.ids import new_id
from server.kernel.record.platform_changes import record_platform_change
from server.kernel.resources.convert import ConversionPlan

KEPT = timedelta(days=30)
"""How long an operation is kept after its end."""
STARTED, PROGRESSED = "operation.started", "operation.progressed"
CANCEL_REQUESTED = "operation.cancel_requested"
ENDS = {
    Operation.STATE_DONE: "operation.succeeded",
    Operation.STATE_FAILED: "operation.failed",
    Operation.STATE_CANCELLED: "operation.cancelled",
}
"""The event of each state in which an operation ends."""
EVENTS = ("operation.*",)
"""The events of operations."""

PLAN: ConversionPlan[Operation] = ConversionPlan(Operation, operations)
_CHANGED = ("state", "done", "total", "message", "error", "result", "file", "end_time", "expire_time", "update_time")


class Stored(NamedTuple):
    """An operation, and what only workers see of it."""

    operation: Operation
    attempt: int
    losses: int
    saved: dict[str, JsonValue]


def _parameter(name: str, column: str = "") -> AnyParameter:
    return bindparam(name, type_=operations.c[column or name].type)


def _is_it() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (
        operations.c.tenant_id == _parameter("key_tenant", "tenant_id"),
        operations.c.id == _parameter("key_id", "id"),
    )


def _is_own() -> ColumnElement[bool]:
    """The condition that no other attempt has begun, and nobody has ended the operation."""
    return and_(operations.c.attempt == _parameter("own_attempt", "attempt"), text(IS_LIVE))


def _change() -> Update:
    values = {name: _parameter(name) for name in _CHANGED}
    return update(operations).values(version=operations.c.version + text("1"), **values)


_ROW = (*PLAN.columns, operations.c.attempt, operations.c.losses, operations.c.saved)
LOCK = Statement(lambda: select(*_ROW).where(*_is_it()).with_for_update())
LOOK = Statement(lambda: select(*_ROW).where(*_is_it()))
BEGIN = Statement(
    lambda: (
        update(operations)
        .where(*_is_it())
        .values(
            state=text(str(RUNNING)),
            attempt=operations.c.attempt + text("1"),
            losses=_parameter("losses"),
            start_time=func.coalesce(operations.c.start_time, _parameter("start_time")),
            update_time=_parameter("update_time"),
            version=operations.c.version + text("1"),
        )
        .returning(*_ROW)
    )
)
ADVANCE = Statement(lambda: _change().where(*_is_it(), _is_own(), operations.c.cancel_time.is_(None)).returning(*_ROW))
SAVE = Statement(
    lambda: (
        _change()
        .where(*_is_it(), _is_own(), operations.c.cancel_time.is_(None))
        .values(saved=_parameter("saved"), losses=text("0"))
        .returning(*_ROW)
    )
)
END = Statement(lambda: _change().where(*_is_it(), _is_own()).returning(*_ROW))


def stored_in(result: Result) -> Stored | None:
    """The operation in the first row of a result, or None without a row."""
    row = result.first()
    if row is None:
        return None
    return Stored(PLAN.message(result.raw(0)), row["attempt"], row["losses"], row["saved"])


def key_of(operation: Operation) -> Row:
    """The parameters that name an operation."""
    return {"key_tenant": operation.tenant_id, "key_id": operation.id}


def values_of(operation: Operation, now: datetime) -> Row:
    """The parameters that store what workers change."""
    values = PLAN.values(operation)
    return {name: values[name] for name in _CHANGED} | {"update_time": now}


def has_ended(operation: Operation) -> bool:
    """Whether the operation has ended."""
    return operation.state in ENDS


def ended(operation: Operation, state: Operation.State, now: datetime) -> Operation:
    """The operation as it is after its end."""
    after = Operation()
    after.CopyFrom(operation)
    after.state = state
    after.end_time.FromDatetime(now)
    after.expire_time.FromDatetime(now + KEPT)
    return after


def record_end(transaction: WriteTransaction, before: Operation, after: Operation, cause: str, now: datetime) -> None:
    """Write the event and the audit entry of an end. `cause` is the job."""
    record_platform_change(
        transaction,
        ENDS[after.state],
        cause=cause,
        before=before,
        after=after,
        now=now,
        tenant_id=after.tenant_id,
        audience=audience_of(after),
    )


def tell(transaction: WriteTransaction, event: str, operation: Operation) -> None:
    """Write an event that neither webhooks nor the audit log get: the operation goes on."""
    transaction.queue(
        APPEND,
        tenant_id=operation.tenant_id,
        id=new_id(),
        type=event,
        resource_id=operation.id,
        message_type=Operation.DESCRIPTOR.full_name,
        payload=operation.SerializeToString(),
        actor_id=None,
        audience=audience_of(operation),
        for_webhooks=False,
        request_id=operation.request_id,
    )


def audience_of(operation: Operation) -> str:
    """Who gets the events of an operation: its owner, or only those who see everyone's."""
    return operation.owner_id or NOBODY
