"""The bytes of assets on the way in and out."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import ClassVar, NamedTuple, cast

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from plinth.files.v1 import asset_content_pb2
from plinth.files.v1.asset_content_pb2 import (
    AssetDownloadUrl,
    BulkUploadAssetsRequest,
    BulkUploadAssetsResponse,
    DownloadAssetRequest,
    UploadAssetRequest,
    UploadImageRequest,
    UploadImagesRequest,
    UploadImagesResponse,
)
from plinth.files.v1.asset_pb2 import Asset
from sqlalchemy import and_, bindparam, literal_column, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.files.assets import NAME_BLOB, AssetService, describe, file_name
from server.domains.files.blobs import keep_blob
from server.domains.files.content_seals import ContentSeals
from server.domains.files.content_types import IMAGES, SHOWN
from server.domains.files.contents import Content
from server.domains.files.object_keys import ORIGINAL, blob_key
from server.domains.files.object_store import ObjectStore
from server.domains.files.settings import FilesSettings
from server.domains.files.signed_urls import SignedUrls
from server.domains.files.sinks import AssetSink
from server.domains.files.tables import assets, file_blobs
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import Denied, Reason, StateForbids, not_found
from server.kernel.resources import EventFacts, Service
from server.kernel.sinks import Upload
from server.kernel.transfers import Downloads, StoredFile

TYPE = "plinth.dev/Asset"
CREATED = "asset.created"
URL_SECONDS = 900
"""For which a signed URL is valid, unless its caller wants another time."""
SMALLEST = -1
"""In place of the edge of a copy: the smallest one there is."""
PUBLIC = "public, max-age=3600, no-transform"
PRIVATE = "private, no-cache, no-transform"
_id = UUID(as_uuid=False)
_a = assets.c
FIND_CONTENT = Statement(
    select(
        *(_a.id, _a.filename, _a.content_type, _a.is_public, _a.size, _a.sha256, _a.blob_id),
        *(file_blobs.c.copies, file_blobs.c.copy_sizes),
    )
    .select_from(assets.join(file_blobs, and_(file_blobs.c.tenant_id == _a.tenant_id, file_blobs.c.id == _a.blob_id)))
    .where(
        _a.tenant_id == bindparam("tenant", type_=_id),
        _a.id == bindparam("asset", type_=_id),
        _a.delete_time.is_(None),
        _a.state == literal_column(str(int(Asset.STATE_READY))),
    )
)
"""Takes `tenant` and `asset`. No row while it is PENDING."""


class Wanted(NamedTuple):
    """The bytes that somebody wants."""

    scope: Scope
    asset_id: str
    copy: int
    """The longest edge of a copy, ORIGINAL or SMALLEST."""


class AssetContentService(Service):
    """Uploads and downloads."""

    descriptor = asset_content_pb2.DESCRIPTOR.services_by_name["AssetContentService"]
    events: ClassVar[Mapping[str, EventFacts]] = {CREATED: EventFacts(Asset), "asset.deleted": EventFacts(Asset)}

    def __init__(
        self,
        assets_: AssetService,
        store: ObjectStore,
        settings: FilesSettings,
        urls: SignedUrls,
        seals: ContentSeals,
        *,
        database: Database,
        downloads: Downloads,
        clock: Clock,
    ) -> None:
        super().__init__()
        self._assets, self._store, self._settings, self._urls = assets_, store, settings, urls
        self._seals = seals
        self._database, self._downloads, self._clock = database, downloads, clock
        self.uploads = {
            **dict.fromkeys(("UploadAsset", "BulkUploadAssets"), self._begin),
            **dict.fromkeys(("UploadImage", "UploadImages"), self._begin_image),
        }

    # In ------------------------------------------------------------------------------------------------------------

    def upload_asset(self, call: Call, request: UploadAssetRequest) -> Asset:
        """One file."""
        [upload] = call.uploads
        asset = Asset(
            filename=file_name(request.filename, upload.file_name),
            folder=request.folder,
            alt=request.alt,
            is_public=request.is_public,
        )
        return self._keep(call, upload, asset)

    def bulk_upload_assets(self, call: Call, request: BulkUploadAssetsRequest) -> BulkUploadAssetsResponse:
        """The files of a form."""
        common = Asset(folder=request.folder, is_public=request.is_public)
        return BulkUploadAssetsResponse(assets=self._keep_all(call, common))

    def upload_image(self, call: Call, request: UploadImageRequest) -> Asset:
        """One image."""
        [upload] = call.uploads
        image = Asset(filename=file_name(request.filename, upload.file_name), alt=request.alt)
        return self._keep(call, upload, image, owner=call.caller.user_id)

    def upload_images(self, call: Call, request: UploadImagesRequest) -> UploadImagesResponse:
        """The images of a form."""
        del request
        return UploadImagesResponse(assets=self._keep_all(call, Asset(), owner=call.caller.user_id))

    def delete_uploaded_file(self, call: Call, request: asset_content_pb2.DeleteUploadedFileRequest) -> Empty:
        """Only what the caller has uploaded."""
        before = self._assets.rows.lock(call, request.file_id)
        if not before.uploaded_by or before.uploaded_by != call.caller.user_id:
            raise not_found(TYPE, request.file_id)
        call.event_payload = self._assets.rows.delete(call, before)
        return Empty()

    def _begin(self, call: Call, request: UploadAssetRequest | BulkUploadAssetsRequest, name: str) -> AssetSink:
        given, seal = (request.filename, request.seal) if isinstance(request, UploadAssetRequest) else ("", "")
        content = Content(
            *(self._store, self._settings, str(call.tenant_id), given or name),
            is_sealed=lambda kind, sha256: bool(seal) and self._seals.holds(seal, kind, sha256),
        )
        return AssetSink(content)

    def _begin_image(self, call: Call, request: UploadImageRequest | UploadImagesRequest, name: str) -> AssetSink:
        del request, name
        kinds = IMAGES.intersection(self._settings.files_content_types)
        return AssetSink(Content(self._store, self._settings, str(call.tenant_id), "", kinds=kinds))

    def _keep_all(self, call: Call, common: Asset, *, owner: str = "") -> list[Asset]:
        """Each with an event of its own."""
        kept = []
        for upload in call.uploads:
            asset = Asset(filename=file_name(upload.file_name))
            asset.MergeFrom(common)
            kept.append(self._keep(call, upload, asset, owner=owner))
        call.emits = ""
        for asset in kept:
            call.emit(CREATED, asset.id, asset)
        return kept

    def _keep(self, call: Call, upload: Upload, asset: Asset, *, owner: str = "") -> Asset:
        """Store the row of what has arrived. A picture has an owner, with whom it goes."""
        sink = cast("AssetSink", upload.sink)
        if sink.stored is None:
            raise LookupError("the upload is not finished")
        tenant_id = str(call.tenant_id)
        blob = keep_blob(call.writes, tenant_id, sink.stored, self._settings.files_most_megabytes)
        sink.is_known = not blob.is_new
        self._assets.rows.admit(call, [asset])
        describe(asset, sink.stored, blob.copies)
        kept = self._assets.rows.insert_admitted(call, asset, None)
        call.writes.queue(NAME_BLOB, tenant=tenant_id, asset=kept.id, blob=blob.id, owner=owner or None)
        return kept

    # Out -----------------------------------------------------------------------------------------------------------

    def get_asset_download_url(
        self, call: Call, request: asset_content_pb2.GetAssetDownloadUrlRequest
    ) -> AssetDownloadUrl:
        """A signed URL, and that of the smallest copy."""
        asset = self._assets.rows.get(call, request.asset_id)
        if asset.state != Asset.STATE_READY:
            raise StateForbids("Its bytes are still on their way.", metadata={"state": "PENDING"})
        expires = int(self._clock().timestamp()) + (request.lifetime_seconds or URL_SECONDS)
        answer = AssetDownloadUrl(url=self._urls.signed(asset.tenant_id, asset.id, ORIGINAL, expires))
        if asset.copies:
            answer.thumbnail_url = self._urls.signed(asset.tenant_id, asset.id, asset.copies[0], expires)
        answer.expire_time.FromSeconds(expires)
        return answer

    def download_asset(self, call: Call, request: DownloadAssetRequest) -> AsyncIterator[HttpBody]:
        """For everyone: what is public, or what is signed."""
        wanted = Wanted(Scope(tenant_id=request.tenant_id), request.asset_id, request.copy)
        return self._send(call, wanted, request)

    def get_asset_content(
        self, call: Call, request: asset_content_pb2.GetAssetContentRequest
    ) -> AsyncIterator[HttpBody]:
        """For members."""
        return self._send(call, Wanted(call.scope, request.asset_id, request.copy))

    def get_asset_thumbnail(
        self, call: Call, request: asset_content_pb2.GetAssetThumbnailRequest
    ) -> AsyncIterator[HttpBody]:
        """The smallest copy."""
        return self._send(call, Wanted(call.scope, request.asset_id, SMALLEST))

    async def _send(
        self, call: Call, wanted: Wanted, by_anyone: DownloadAssetRequest | None = None
    ) -> AsyncIterator[HttpBody]:
        stored = await asyncio.to_thread(self._find, wanted, by_anyone)
        async for piece in self._downloads.send_stored(call, stored):
            yield piece

    def _find(self, wanted: Wanted, by_anyone: DownloadAssetRequest | None) -> StoredFile:
        """What is wanted. Raises NotFound, and Denied where anyone may ask."""
        with self._database.read(wanted.scope) as transaction:
            row = transaction.run(FIND_CONTENT, tenant=wanted.scope.tenant_id, asset=wanted.asset_id).first()
        if by_anyone is not None:
            self._check_open(by_anyone, row)
        if row is None:
            raise not_found(TYPE, wanted.asset_id)
        is_public = by_anyone is not None and not by_anyone.signature
        return self._stored_file(wanted, row, PUBLIC if is_public else PRIVATE)

    def _check_open(self, asked: DownloadAssetRequest, row: Row | None) -> None:
        """Refuse who has no valid signature, unless the asset is public. Nobody learns whether there is one."""
        if asked.signature:
            signed = (asked.signature, asked.tenant_id, asked.asset_id, asked.copy, asked.expires.seconds)
            if self._urls.holds(*signed) and asked.expires.seconds >= self._clock().timestamp():
                return
        elif row is not None and row["is_public"]:
            return
        raise Denied(
            "This takes the signature of GetAssetDownloadUrl, and it is missing, wrong or expired.",
            reason=Reason.REASON_SIGNATURE_INVALID,
        )

    def _stored_file(self, wanted: Wanted, row: Row, cache_control: str) -> StoredFile:
        """What is sent: the file, or one of its copies."""
        copy = next(iter(row["copies"]), SMALLEST) if wanted.copy == SMALLEST else wanted.copy
        sizes = {ORIGINAL: row["size"], **dict(zip(row["copies"], row["copy_sizes"], strict=True))}
        if copy not in sizes:
            raise not_found(TYPE, row["id"])
        key = blob_key(str(wanted.scope.tenant_id), row["blob_id"], copy)

        def read(start: int, end: int) -> Iterator[bytes]:
            return self._store.read(key, (start, end))

        kind = "image/webp" if copy else row["content_type"]
        return StoredFile(
            name=f"{row['filename']}.webp" if copy else row["filename"],
            media_type=kind,
            size=sizes[copy],
            etag=f'"{row["sha256"][:32]}{f"-{copy}" if copy else ""}"',
            cache_control=cache_control,
            read=read,
            inline=kind in SHOWN,
        )
