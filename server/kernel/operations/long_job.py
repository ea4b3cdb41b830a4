"""Long jobs: the work of operations, declared by a domain as a function.

However an attempt ends, the operation ends too or is attempted again. A worker that is lost has its jobs put back by
another one (server/workers/rescue.py); the operation is then resumed if its work can be, and fails otherwise.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
from plinth.operations.v1.operation_pb2 import Operation

from server.data.transactions import Database, Scope, WriteTransaction
from server.json_values import JsonValue
from server.kernel import problems
from server.kernel.clock import Clock, utc_now
from server.kernel.jobs import DEFAULT_QUEUE, Job, Retry
from server.kernel.messages.structs import fill_struct
from server.kernel.operations.stored import (
    BEGIN,
    END,
    LOCK,
    STARTED,
    ended,
    has_ended,
    key_of,
    record_end,
    stored_in,
    tell,
    values_of,
)
from server.kernel.operations.work import Cancelled, Superseded, Work
from server.kernel.problems import Problem, Reason

log = logging.getLogger("plinth.operations")

# Attempts in a row that may be lost or fail without anything being saved. One more, and the work counts as what kills
# its workers.
MOST_LOSSES = 5
# Attempts are counted in the row of the operation. The job itself only has to outlast an outage of the database.
RETRY = Retry(attempts=40, first_pause=2.0, longest_pause=300.0)
# What may be over by the next attempt.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED)

Result = Mapping[str, JsonValue] | None
"""What came of the work, as the operation shows it to its owner."""


class WorkerLost(Problem):
    """The worker was lost, and the work cannot be resumed: start it again."""

    code = grpc.StatusCode.ABORTED
    http_status = 409
    reason = Reason.REASON_WORKER_LOST


@dataclass(frozen=True, slots=True)
class LongJob:
    """The work of one kind of operation."""

    name: str
    """The name of the job, `<domain>.<verb>_<what>`. Must not change while jobs of that name may be queued."""
    run: Callable[..., Result]
    """Takes a Work and the arguments by name. Runs in a thread. A Problem that it raises is the operation's error."""
    queue: str = DEFAULT_QUEUE
    resumable: bool = False
    """Whether a further attempt may follow one that was lost or failed: it goes on from `work.saved`, and what was
    done twice is done once."""
    timeout: float = 1800.0
    """Seconds that one attempt may take. Then another one begins, or the operation fails."""

    def job(self, database: Database, clock: Clock = utc_now) -> Job:
        """The job that does it."""
        return Job(self.name, _Runner(self, database, clock).run, self.queue, RETRY, self.timeout)


class _Runner:
    """Makes the attempts at one kind of work."""

    def __init__(self, long_job: LongJob, database: Database, clock: Clock) -> None:
        self._long_job = long_job
        self._database = database
        self._clock = clock

    def run(self, *, tenant_id: str, operation_id: str, **arguments: JsonValue) -> None:
        """Make one attempt. Raises what the work raised if there is to be another one."""
        work = self._begin(tenant_id, operation_id)
        if work is None:
            return
        try:
            result = self._long_job.run(work, **arguments)
        except Superseded:
            log.warning("%s: attempt %d at %s stops: another one has begun", self._long_job.name, work.attempt, work.id)
        except Cancelled:
            self._end(work, ended(work.operation, Operation.STATE_CANCELLED, self._clock()))
        except Exception as error:
            if self._may_try_again(work, error):
                raise
            if not isinstance(error, Problem):
                log.exception("%s: %s failed", self._long_job.name, work.id)
            self._end(work, _failed(work.operation, problems.of(error), self._clock()))
        else:
            after = ended(work.reported, Operation.STATE_DONE, self._clock())
            after.done = max(after.done, after.total)
            if result is not None:
                fill_struct(after.result, result)
            self._end(work, after)

    def _begin(self, tenant_id: str, operation_id: str) -> Work | None:
        """Begin an attempt. None if there is nothing to do: the operation has ended, or ends now."""
        key = {"key_tenant": tenant_id, "key_id": operation_id}
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            found = stored_in(transaction.run(LOCK, **key))
            if found is None or has_ended(found.operation):
                return None
            is_first = found.operation.state == Operation.STATE_QUEUED
            losses = found.losses + (not is_first)
            now = self._clock()
            is_lost = not is_first and not (self._long_job.resumable and losses < MOST_LOSSES)
            if is_lost or found.operation.HasField("cancel_time"):
                end_lost(transaction, tenant_id, operation_id, self._long_job.name, now)
                return None
            begun = stored_in(transaction.run(BEGIN, **key, losses=losses, start_time=now, update_time=now))
            if begun is None:  # pragma: no cover - the row is locked
                return None
            if is_first:
                tell(transaction, STARTED, begun.operation)
        return Work(self._database, self._clock, begun)

    def _may_try_again(self, work: Work, error: Exception) -> bool:
        is_final = isinstance(error, Problem) and error.code not in PASSING
        return self._long_job.resumable and not is_final and work.losses + 1 < MOST_LOSSES

    def _end(self, work: Work, after: Operation) -> None:
        with self._database.write(work.scope) as transaction:
            _write_end(transaction, work.operation, after, work.attempt, self._long_job.name)


def end_lost(transaction: WriteTransaction, tenant_id: str, operation_id: str, cause: str, now: datetime) -> bool:
    """End an operation whose job is gone. Returns whether it had not ended."""
    found = stored_in(transaction.run(LOCK, key_tenant=tenant_id, key_id=operation_id))
    if found is None or has_ended(found.operation):
        return False
    if found.operation.HasField("cancel_time"):
        after = ended(found.operation, Operation.STATE_CANCELLED, now)
    else:
        after = _failed(found.operation, WorkerLost(), now)
    _write_end(transaction, found.operation, after, found.attempt, cause)
    return True


def _write_end(transaction: WriteTransaction, before: Operation, after: Operation, attempt: int, cause: str) -> None:
    """End an operation, unless another attempt has begun or it has ended."""
    now = after.end_time.ToDatetime(UTC)
    stored = stored_in(transaction.run(END, **values_of(after, now), **key_of(after), own_attempt=attempt))
    if stored is not None:
        record_end(transaction, before, stored.operation, cause, now)


def _failed(operation: Operation, problem: Problem, now: datetime) -> Operation:
    after = ended(operation, Operation.STATE_FAILED, now)
    after.error.code = problem.code.value[0]
    after.error.reason = problem.reason_name
    after.error.message = problem.message
    return after
