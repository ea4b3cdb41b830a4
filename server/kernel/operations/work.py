"""Work: how the job of an operation reports progress, works in batches, and stops when it is told to."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from plinth.operations.v1.operation_pb2 import Operation

from server.data.transactions import Database, Scope, WriteTransaction
from server.json_values import JsonValue
from server.kernel.clock import Clock
from server.kernel.operations.stored import (
    ADVANCE,
    LOOK,
    PROGRESSED,
    SAVE,
    Stored,
    has_ended,
    key_of,
    stored_in,
    tell,
    values_of,
)

# Seconds between two reports of progress. Batches write theirs along with the work.
PAUSE = 1.0
LARGEST = 2**31 - 1


class Stopped(Exception):
    """The work is not to go on. Its batch, if there is one, is rolled back."""


class Cancelled(Stopped):
    """Somebody has cancelled the operation."""


class Superseded(Stopped):
    """Another attempt has begun, because this one was given up for lost; or the operation is gone."""


class Work:
    """One attempt at the work of an operation. Belongs to one thread."""

    def __init__(
        self, database: Database, clock: Clock, stored: Stored, elapsed: Callable[[], float] = monotonic
    ) -> None:
        self._database = database
        self._clock = clock
        self._elapsed = elapsed
        self.operation = stored.operation
        """As it was last written."""
        self.attempt = stored.attempt
        """The number of this attempt, from 1."""
        self.losses = stored.losses
        """Attempts that were lost or failed since something was last saved."""
        self.saved: Mapping[str, JsonValue] = stored.saved
        """What was saved with the last batch that was committed, perhaps by an earlier attempt; empty at first."""
        self.reported = Operation()
        """With the progress that was reported last, which is written later."""
        self.reported.CopyFrom(stored.operation)
        self._to_save: Mapping[str, JsonValue] | None = None
        self._is_in_batch = False
        self._last_told = elapsed()

    @property
    def tenant_id(self) -> str:
        """The tenant of the operation."""
        return self.operation.tenant_id

    @property
    def id(self) -> str:
        """The id of the operation, the same in every attempt."""
        return self.operation.id

    @property
    def owner_id(self) -> str:
        """The user or API key that started the operation; empty if the platform did."""
        return self.operation.owner_id

    @property
    def request_id(self) -> str:
        """The id of the request that started it."""
        return self.operation.request_id

    @property
    def scope(self) -> Scope:
        """The rows that the work may see: those of its tenant."""
        return Scope(tenant_id=self.tenant_id)

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Report how much is done, in any unit. Written with the batch, or else at most once a second.

        What is shown never becomes less. Raises Stopped when it is written and the work is not to go on.
        """
        self.reported.done = max(self.reported.done, min(done, LARGEST))
        self.reported.total = min(total, LARGEST)
        self.reported.message = message
        if not self._is_in_batch and self._is_due():
            with self._database.write(self.scope) as transaction:
                self._advance(transaction)

    def leave(self, file: Operation.File) -> None:
        """Name the file that the work has made (kernel/ports.py, WorkFiles), which its owner then can download."""
        self.reported.file.CopyFrom(file)

    def check(self) -> None:
        """Raise Stopped if the work is not to go on."""
        with self._database.read(self.scope) as transaction:
            why = self._why(stored_in(transaction.run(LOOK, **key_of(self.operation))))
        if why is not None:
            raise why

    @contextmanager
    def batch(self) -> Iterator[WriteTransaction]:
        """A transaction for one batch of the work. It is committed only if the work may still go on then.

        Progress and what is saved in it are committed with it, so that a later attempt goes on exactly after it. Raises
        Stopped before the batch or at its end.
        """
        self.check()
        with self._database.write(self.scope) as transaction:
            self._is_in_batch = True
            try:
                yield transaction
                self._advance(transaction)
            finally:
                self._is_in_batch, to_save, self._to_save = False, self._to_save, None
        if to_save is not None:
            self.saved, self.losses = to_save, 0

    def save(self, **saved: JsonValue) -> None:
        """Save where the work stands, with the batch in which this is called."""
        if not self._is_in_batch:
            raise LookupError("what is saved belongs to a batch: call save() inside `with work.batch()`")
        self._to_save = saved

    def _advance(self, transaction: WriteTransaction) -> None:
        """Write progress and what is saved. It is the last statement of a batch, so that its lock is held briefly."""
        values = values_of(self.reported, self._clock()) | key_of(self.operation) | {"own_attempt": self.attempt}
        if self._to_save is not None:
            result = transaction.run(SAVE, **values, saved=dict(self._to_save))
        else:
            result = transaction.run(ADVANCE, **values)
        stored = stored_in(result)
        if stored is None:
            raise self._why(stored_in(transaction.run(LOOK, **key_of(self.operation)))) or Superseded()
        if self._is_due():
            self._last_told = self._elapsed()
            tell(transaction, PROGRESSED, stored.operation)
        self.operation = stored.operation

    def _is_due(self) -> bool:
        return self._elapsed() - self._last_told >= PAUSE

    def _why(self, stored: Stored | None) -> Stopped | None:
        """Why the work is not to go on, or None."""
        if stored is None or stored.attempt != self.attempt or has_ended(stored.operation):
            return Superseded()
        if stored.operation.HasField("cancel_time"):
            self.operation = stored.operation
            return Cancelled()
        return None
