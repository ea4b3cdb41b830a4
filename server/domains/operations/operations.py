"""Long work of a tenant, as those see it who started it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, timedelta
from functools import partial
from typing import ClassVar

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from plinth.operations.v1 import operation_pb2
from plinth.operations.v1.operation_pb2 import Operation

from server.data.operations import NOBODY, operations
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.current_access import CurrentAccess
from server.kernel.live import LiveEvents
from server.kernel.operations import KEPT, as_frames, changes, has_ended, last_change
from server.kernel.ports import WorkFiles
from server.kernel.problems import StateForbids
from server.kernel.resources import EventFacts, Resource, Service
from server.kernel.transfers import Downloads, StoredFile

FILES_KEPT = timedelta(days=7)
"""How long the file of an operation can be downloaded after its end."""
LONGEST = 25
"""Seconds that WaitOperation waits."""


class OperationService(Service[Operation]):
    """Operations."""

    descriptor = operation_pb2.DESCRIPTOR.services_by_name["OperationService"]
    resource = Resource(
        Operation,
        operations,
        filterable=("id", "kind", "state", "request_id", "create_time", "update_time"),
        sortable=("create_time",),
        owner="owner_id",
        seen_by="operations.operations.manage",
        keys_own=True,
    )
    events: ClassVar = {
        "operation.queued": EventFacts(Operation, "Starts long work.", webhooks=False),
        "operation.started": EventFacts(Operation, "A worker begins an operation.", webhooks=False),
        "operation.progressed": EventFacts(Operation, "Progress, at most once a second.", webhooks=False),
        "operation.cancel_requested": EventFacts(
            Operation, "Asks for the end of an operation that runs.", webhooks=False
        ),
        "operation.succeeded": EventFacts(Operation, "An operation ends with its result."),
        "operation.failed": EventFacts(Operation, "An operation ends with an error."),
    }

    def __init__(
        self,
        access: CurrentAccess,
        live: LiveEvents | None,
        clock: Clock,
        *,
        downloads: Downloads,
        work_files: WorkFiles,
    ) -> None:
        super().__init__()
        self._downloads = downloads
        self._work_files = work_files
        self._access = access
        self._live = live
        self._clock = clock

    def after_write(self, call: Call, resource: Operation, before: Operation | None) -> None:
        """Events of what the platform started are not for the whole tenant."""
        del before
        call.audience = resource.owner_id or NOBODY

    async def get_operation_file(
        self, call: Call, request: operation_pb2.GetOperationFileRequest
    ) -> AsyncIterator[HttpBody]:
        """The file that it has made."""
        operation = await asyncio.to_thread(self._read, call, request.operation_id)
        async for piece in self._downloads.send_stored(call, self._stored_file(operation)):
            yield piece

    def cancel_operation(self, call: Call, request: operation_pb2.CancelOperationRequest) -> Operation:
        """End what is queued, and ask for the end of what runs."""
        before = self.rows.lock(call, request.operation_id)
        if has_ended(before):
            state = Operation.State.Name(before.state).removeprefix("STATE_")
            metadata = {"resource_type": self.rows.type, "resource": before.id, "state": state}
            raise StateForbids("It has ended already.", metadata=metadata)
        now = self._clock()
        operation = self.rows.copy_of(before)
        if before.state == Operation.STATE_QUEUED:
            operation.state = Operation.STATE_CANCELLED
            operation.end_time.FromDatetime(now)
            operation.expire_time.FromDatetime(now + KEPT)
        else:
            call.emits = call.action = "operation.cancel_requested"
        if not before.HasField("cancel_time"):
            operation.cancel_time.FromDatetime(now)
        return self.rows.update(call, operation, before)

    async def wait_operation(self, call: Call, request: operation_pb2.WaitOperationRequest) -> AsyncIterator[Message]:
        """Answer once: when it has ended, or after the timeout."""
        seconds = request.timeout_seconds or LONGEST
        yield await last_change(self._live, call, self._reading(call, request.operation_id), seconds)

    async def watch_operation(self, call: Call, request: operation_pb2.WatchOperationRequest) -> AsyncIterator[Message]:
        """The operation now, and after each change."""
        async for change in changes(self._live, call, self._reading(call, request.operation_id)):
            if change is not None:
                yield change

    def stream_operation(self, call: Call, request: operation_pb2.StreamOperationRequest) -> AsyncIterator[HttpBody]:
        """The same as server-sent events."""
        return as_frames(changes(self._live, call, self._reading(call, request.operation_id)))

    def _reading(self, call: Call, operation_id: str) -> Callable[[], Operation]:
        return partial(self._read, call, operation_id)

    def _stored_file(self, operation: Operation) -> StoredFile:
        """The file of an operation. Raises StateForbids if it made none, and when the file has expired."""
        file, has_ended_at = operation.file, operation.end_time.ToDatetime(UTC)
        is_over = operation.HasField("end_time") and has_ended_at < self._clock() - FILES_KEPT
        if is_over or not operation.HasField("file"):
            state = "FILE_GONE" if operation.HasField("file") else "NO_FILE"
            metadata = {"resource_type": self.rows.type, "resource": operation.id, "state": state}
            raise StateForbids("It has no file, or no longer: a file is kept for 7 days.", metadata=metadata)

        def read(start: int, end: int) -> Iterator[bytes]:
            return self._work_files.read(operation.tenant_id, file.id, (start, end))

        return StoredFile(
            name=file.filename,
            media_type=file.content_type,
            size=file.size,
            etag=f'"{file.sha256[:32]}"',
            cache_control="private, no-cache, no-transform",
            read=read,
        )

    def _read(self, call: Call, operation_id: str) -> Operation:
        """The operation as it is now, as far as the caller may still see it."""
        return self._access.read(call, lambda _: self.rows.get(call, operation_id))
