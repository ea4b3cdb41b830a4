"""The files that operations take and make (kernel/ports.py, WorkFiles)."""

from collections.abc import Iterator
from datetime import timedelta

from server.domains.files.object_keys import work_key
from server.domains.files.object_store import ObjectStore, ObjectWriter
from server.kernel.ids import new_id
from server.kernel.raw_bodies import too_large

KEPT = timedelta(days=8)
"""A day longer than they can be downloaded."""


class StoredWorkFile:
    """A file on its way into the store (kernel/sinks.py, Sink)."""

    def __init__(self, store: ObjectStore, tenant_id: str, most_bytes: int) -> None:
        self.id = new_id()
        self.size = 0
        self._store, self._key, self._most = store, work_key(tenant_id, self.id), most_bytes
        self._writer: ObjectWriter = store.writer(self._key)

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises Malformed if there are too many."""
        self.size += len(data)
        if self.size > self._most:
            raise too_large(self._most)
        self._writer.write(data)

    def finish(self, sha256: bytes) -> None:
        """Store it."""
        del sha256
        self._writer.finish()

    def settle(self) -> None:
        """It stays."""

    def abort(self) -> None:
        """Leave nothing."""
        self._writer.abort()
        self._store.delete([self._key])


class StoredWorkFiles:
    """Stores them where assets are, without an asset."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def begin(self, tenant_id: str, most_bytes: int) -> StoredWorkFile:
        """Begin to store one."""
        return StoredWorkFile(self._store, tenant_id, most_bytes)

    def read(self, tenant_id: str, file_id: str, part: tuple[int, int] | None = None) -> Iterator[bytes]:
        """Its bytes."""
        return self._store.read(work_key(tenant_id, file_id), part)

    def delete(self, tenant_id: str, file_id: str) -> None:
        """Remove one, if it is there."""
        self._store.delete([work_key(tenant_id, file_id)])
