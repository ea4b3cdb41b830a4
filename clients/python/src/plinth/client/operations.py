"""Long work: how it is followed, and what its end means."""

from collections.abc import Callable

from plinth.client.errors import BY_NUMBER, PlinthError, Unknown
from plinth.client.rpc import Rpc
from plinth.operations.v1 import operation_pb2

WATCH = Rpc(
    "/plinth.operations.v1.OperationService/WatchOperation",
    operation_pb2.WatchOperationRequest,
    operation_pb2.OperationEvent,
    reads=True,
)
Progress = Callable[[operation_pb2.Operation], None]


class OperationFailed(Exception):
    """The operation did not come to a result."""

    def __init__(self, operation: operation_pb2.Operation, message: str) -> None:
        super().__init__(message)
        self.operation = operation
        """As it ended."""
        self.error: PlinthError = BY_NUMBER.get(operation.error.code, Unknown)(operation.error.message)
        """Why it failed, as the exception that a call would have raised."""
        self.error.reason = operation.error.reason


class OperationCancelled(OperationFailed):
    """The operation was cancelled. What it had done before remains."""


class Following:
    """An operation as it changes."""

    def __init__(self, operation: operation_pb2.Operation | str, progress: Progress | None) -> None:
        """`operation` is one that a call answered, or the id of one."""
        self.request = operation_pb2.WatchOperationRequest(
            operation_id=operation if isinstance(operation, str) else operation.id
        )
        self._progress = progress
        self._etag = ""

    def is_over(self, operation: operation_pb2.Operation) -> bool:
        """Tell of a change, once. Whether it is the last one."""
        if self._progress and operation.etag != self._etag:
            self._progress(operation)
        self._etag = operation.etag
        return operation.HasField("end_time")


def outcome(operation: operation_pb2.Operation) -> operation_pb2.Operation:
    """The operation if it succeeded. Raises OperationFailed or OperationCancelled if it did not."""
    if operation.state == operation_pb2.Operation.STATE_CANCELLED:
        raise OperationCancelled(operation, f"The operation {operation.id} was cancelled.")
    if operation.state == operation_pb2.Operation.STATE_FAILED:
        error = operation.error
        raise OperationFailed(operation, f"The operation {operation.id} failed: {error.message} ({error.reason})")
    return operation
