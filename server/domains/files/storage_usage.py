"""What the files of a tenant take."""

from plinth.files.v1 import storage_usage_pb2
from plinth.files.v1.asset_pb2 import Asset
from plinth.files.v1.storage_usage_pb2 import StorageUsage
from sqlalchemy import BigInteger, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.files.blobs import MEGABYTE, USAGE
from server.domains.files.settings import FilesSettings
from server.domains.files.tables import assets
from server.kernel.call import Call
from server.kernel.resources import Service

MOST_TYPES = 100
_a = assets.c
_bytes, _count = cast(func.sum(_a.size), BigInteger()), func.count()
BY_TYPE = Statement(
    select(_a.content_type, _count.label("asset_count"), _bytes.label("bytes"))
    .where(
        _a.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
        _a.delete_time.is_(None),
        _a.state == literal_column(str(int(Asset.STATE_READY))),
    )
    .group_by(_a.content_type)
    .order_by(_bytes.desc(), _a.content_type)
)
"""Takes `tenant`."""


class StorageUsageService(Service):
    """Usage."""

    descriptor = storage_usage_pb2.DESCRIPTOR.services_by_name["StorageUsageService"]

    def __init__(self, settings: FilesSettings) -> None:
        super().__init__()
        self._most_bytes = settings.files_most_megabytes * MEGABYTE

    def get_storage_usage(self, call: Call, request: storage_usage_pb2.GetStorageUsageRequest) -> StorageUsage:
        """Counted from the rows."""
        del request
        stored = call.reads.run(USAGE, tenant=call.tenant_id).first()
        rows = call.reads.run(BY_TYPE, tenant=call.tenant_id).all()
        types = [
            StorageUsage.OfType(content_type=row["content_type"], asset_count=row["asset_count"], bytes=row["bytes"])
            for row in rows
        ]
        return StorageUsage(
            asset_count=sum(each.asset_count for each in types),
            bytes=sum(each.bytes for each in types),
            stored_bytes=stored["stored_bytes"] if stored else 0,
            most_bytes=self._most_bytes,
            types=types[:MOST_TYPES],
        )
