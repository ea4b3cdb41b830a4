"""Uploads in pieces, by the protocol tus 1.0 (https://tus.io/protocols/resumable-upload)."""

import base64
import binascii
from collections.abc import Mapping
from email.utils import format_datetime
from typing import ClassVar, cast

from google.protobuf.empty_pb2 import Empty
from plinth.files.v1 import asset_upload_pb2
from plinth.files.v1.asset_pb2 import Asset
from plinth.files.v1.asset_upload_pb2 import AppendToAssetUploadRequest, AssetUpload
from sqlalchemy import BigInteger, bindparam, delete
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database
from server.domains.files.assets import NAME_BLOB, AssetService, describe, file_name
from server.domains.files.blobs import keep_blob
from server.domains.files.object_store import ObjectStore
from server.domains.files.settings import FilesSettings
from server.domains.files.sinks import AppendingSink, find_upload, not_there
from server.domains.files.tables import asset_uploads
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import EventFacts, Service

VERSION = ("tus-resumable", "1.0.0")
NO_STORE = ("cache-control", "no-store")
_id = UUID(as_uuid=False)
_u = asset_uploads.c
_is_it = (_u.tenant_id == bindparam("tenant", type_=_id), _u.id == bindparam("upload", type_=_id))
END_UPLOAD = Statement(
    delete(asset_uploads).where(*_is_it, _u.received == bindparam("received", type_=BigInteger())).returning(_u.id)
)
"""Takes `tenant`, `upload` and `received`. No row if something else has been added meanwhile."""


class AssetUploadService(Service):
    """Uploads that can be resumed."""

    descriptor = asset_upload_pb2.DESCRIPTOR.services_by_name["AssetUploadService"]
    events: ClassVar[Mapping[str, EventFacts]] = {
        "asset.created": EventFacts(Asset),
        "asset.uploaded": EventFacts(Asset, "All bytes of an asset that was PENDING are there."),
        "asset.deleted": EventFacts(Asset),
    }

    def __init__(self, assets: AssetService, store: ObjectStore, settings: FilesSettings, database: Database) -> None:
        super().__init__()
        self._assets, self._store, self._settings = assets, store, settings

        def append(call: Call, request: AppendToAssetUploadRequest, name: str) -> AppendingSink:
            del name
            return AppendingSink(call, request, store, settings, database)

        self.uploads = {"AppendToAssetUpload": append}

    def create_asset_upload(self, call: Call, request: asset_upload_pb2.CreateAssetUploadRequest) -> AssetUpload:
        """An asset that is PENDING."""
        told = metadata_of(request.metadata)
        asset = Asset(
            filename=file_name(told.get("filename", told.get("name", ""))),
            folder=told.get("folder", ""),
            alt=told.get("alt", ""),
            is_public=told.get("is_public", "") == "true",
            size=request.length,
        )
        kept = self._assets.rows.insert(call, asset)
        call.event_payload = kept
        return self._shown(call, kept.id)

    def get_asset_upload(self, call: Call, request: asset_upload_pb2.GetAssetUploadRequest) -> AssetUpload:
        """How far it is."""
        return self._shown(call, request.upload_id)

    def append_to_asset_upload(self, call: Call, request: AppendToAssetUploadRequest) -> Empty:
        """What the sink has done; with the last byte, an asset that is READY."""
        [upload] = call.uploads
        sink = cast("AppendingSink", upload.sink)
        call.headers += [VERSION, ("upload-offset", str(sink.offset))]
        if sink.stored is None:
            call.emits, call.changes_nothing = "", True
            return Empty()
        tenant_id = str(call.tenant_id)
        received = sink.begins_at
        ended = call.writes.run(END_UPLOAD, tenant=tenant_id, upload=request.upload_id, received=received).first()
        if ended is None:
            raise not_there(received)
        blob = keep_blob(call.writes, tenant_id, sink.stored, self._settings.files_most_megabytes)
        sink.is_known = not blob.is_new
        before = self._assets.rows.lock(call, request.upload_id)
        after = self._assets.rows.copy_of(before)
        describe(after, sink.stored, blob.copies)
        call.writes.queue(NAME_BLOB, tenant=tenant_id, asset=before.id, blob=blob.id, owner=None)
        call.event_payload = self._assets.rows.update(call, after, before)
        return Empty()

    def cancel_asset_upload(self, call: Call, request: asset_upload_pb2.CancelAssetUploadRequest) -> Empty:
        """The asset goes too. What has arrived is swept (clean_up.py)."""
        find_upload(call.writes, str(call.tenant_id), request.upload_id)
        before = self._assets.rows.lock(call, request.upload_id)
        call.event_payload = self._assets.rows.delete(call, before)
        call.headers.append(VERSION)
        return Empty()

    def _shown(self, call: Call, upload_id: str) -> AssetUpload:
        tenant_id = str(call.tenant_id)
        row = find_upload(call.transaction, tenant_id, upload_id)
        shown = AssetUpload(id=row.id, tenant_id=tenant_id, length=row.length, offset=row.received)
        shown.expire_time.FromDatetime(row.expire_time)
        call.headers += [
            VERSION,
            NO_STORE,
            ("upload-offset", str(row.received)),
            ("upload-length", str(row.length)),
            ("upload-expires", format_datetime(row.expire_time, usegmt=True)),
        ]
        return shown


def metadata_of(text: str) -> dict[str, str]:
    """The keys and values of a header Upload-Metadata. Raises RuleViolated."""
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, value = pair.strip().partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            key = ""
        if not key:
            raise broken_rules([Violation("metadata", "is no list of keys with values in base64", "upload.metadata")])
    return found
