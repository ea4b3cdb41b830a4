"""Sinks: where the bytes of uploads go."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from plinth.files.v1.asset_upload_pb2 import AppendToAssetUploadRequest
from sqlalchemy import BigInteger, Text, bindparam, cast, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB, UUID

from server.data.statements import Statement
from server.data.transactions import Database, Transaction
from server.domains.files.contents import Content, StoredContent
from server.domains.files.object_keys import part_key
from server.domains.files.object_store import ObjectStore
from server.domains.files.settings import FilesSettings
from server.domains.files.tables import asset_uploads, assets
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.problems import StateForbids, not_found
from server.kernel.raw_bodies import too_large

UPLOAD_TYPE = "plinth.dev/AssetUpload"
PART_BYTES = 4 * 1024 * 1024
LIFETIME = "1 day"
_id = UUID(as_uuid=False)
_u = asset_uploads.c
_tenant, _upload = bindparam("tenant", type_=_id), bindparam("upload", type_=_id)
_is_it = (_u.tenant_id == _tenant, _u.id == _upload, _u.expire_time > func.now())
FIND_UPLOAD = Statement(
    select(_u.id, _u.length, _u.received, _u.parts, _u.expire_time, assets.c.filename)
    .select_from(asset_uploads.join(assets, (assets.c.tenant_id == _u.tenant_id) & (assets.c.id == _u.id)))
    .where(*_is_it, assets.c.delete_time.is_(None))
)
"""Takes `tenant` and `upload`."""
_part = func.jsonb_build_array(cast(bindparam("part", type_=Text()), Text()))
ADD_PART = Statement(
    update(asset_uploads)
    .where(*_is_it, _u.received == bindparam("start", type_=BigInteger()))
    .values(
        received=bindparam("end", type_=BigInteger()),
        parts=_u.parts.op("||", return_type=JSONB())(_part),
        expire_time=func.now() + literal_column(f"interval '{LIFETIME}'"),
        update_time=func.now(),
    )
    .returning(_u.id)
)
"""Takes `tenant`, `upload`, `start`, `end` and `part`. No row if something else has been added there."""


class UploadRow(NamedTuple):
    """An upload on its way."""

    id: str
    length: int
    received: int
    parts: list[str]
    expire_time: datetime
    filename: str


def find_upload(transaction: Transaction, tenant_id: str, upload_id: str) -> UploadRow:
    """An upload that is not complete. Raises NotFound."""
    row = transaction.run(FIND_UPLOAD, tenant=tenant_id, upload=upload_id).first()
    if row is None:
        raise not_found(UPLOAD_TYPE, upload_id)
    return UploadRow(**row)


def not_there(received: int) -> StateForbids:
    """The problem of a piece that does not begin where the upload is."""
    return StateForbids(
        f"The upload is at {received}. Ask for its offset, and go on from there.", metadata={"offset": str(received)}
    )


class AssetSink:
    """A file that comes at once."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.stored: StoredContent | None = None
        self.is_known = False
        """Whether an equal file is stored already, so that these bytes are not needed."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._content.write(data)

    def finish(self, sha256: bytes) -> None:
        """Store it."""
        self.stored = self._content.store(sha256)

    def settle(self) -> None:
        """Remove what is stored twice."""
        if self.is_known:
            self._content.abort()

    def abort(self) -> None:
        """Leave nothing."""
        self._content.abort()


class AppendingSink:
    """A piece of an upload that can be resumed. What has arrived is kept, even if the piece breaks off."""

    def __init__(
        self,
        call: Call,
        request: AppendToAssetUploadRequest,
        store: ObjectStore,
        settings: FilesSettings,
        database: Database,
    ) -> None:
        self._call, self._store, self._settings, self._database = call, store, settings, database
        self._tenant_id = str(call.tenant_id)
        self._upload_id = request.upload_id
        self._buffer = bytearray()
        self._content: Content | None = None
        self._is_over = False
        with database.read(call.scope) as transaction:
            self.upload = find_upload(transaction, self._tenant_id, self._upload_id)
        self.offset = self.upload.received
        """Where the upload is, with what this piece has added."""
        self.stored: StoredContent | None = None
        """The whole file, once all bytes are there."""
        self.is_known = False
        if request.offset != self.offset:
            raise not_there(self.offset)

    @property
    def begins_at(self) -> int:
        """How much of the upload is in parts."""
        return self.offset - len(self._buffer)

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises Malformed if there are more than were announced."""
        if self.offset + len(data) > self.upload.length:
            raise too_large(self.upload.length)
        self._buffer += data
        self.offset += len(data)
        if len(self._buffer) >= PART_BYTES and self.offset < self.upload.length:
            self._keep()

    def finish(self, sha256: bytes) -> None:
        """Keep the piece. With the last one, store the file."""
        del sha256  # of this piece
        if self.offset < self.upload.length:
            self._keep()
        else:
            self._content = Content(self._store, self._settings, self._tenant_id, self.upload.filename)
            digest = hashlib.sha256()
            for piece in self._pieces():
                digest.update(piece)
                self._content.write(piece)
            self.stored = self._content.store(digest.digest())
        self._is_over = True

    def settle(self) -> None:
        """Remove the parts of a file that is stored."""
        if self.stored is None:
            return
        if self.is_known and self._content is not None:
            self._content.abort()
        self._store.delete([self._key(part) for part in self.upload.parts])

    def abort(self) -> None:
        """Keep what has arrived, but for the file that could not be stored."""
        if self._content is not None:
            self._content.abort()
        elif not self._is_over:
            # If something else was added meanwhile, this is not kept.
            with suppress(StateForbids):
                self._keep()

    def _keep(self) -> None:
        """Store what has arrived as a part. Raises StateForbids if something else was added meanwhile."""
        if not self._buffer:
            return
        start, part = self.begins_at, new_id()
        self._store.put(self._key(part), self._buffer)
        values = {"tenant": self._tenant_id, "upload": self._upload_id}
        with self._database.write(self._call.scope) as transaction:
            added = transaction.run(ADD_PART, **values, start=start, end=self.offset, part=part).first()
        self._buffer.clear()
        if added is None:
            self._is_over = True
            self._store.delete([self._key(part)])
            raise not_there(start)
        self.upload.parts.append(part)

    def _pieces(self) -> Iterator[bytes]:
        for part in self.upload.parts:
            yield from self._store.read(self._key(part))
        yield bytes(self._buffer)

    def _key(self, part: str) -> str:
        return part_key(self._tenant_id, self._upload_id, part)
