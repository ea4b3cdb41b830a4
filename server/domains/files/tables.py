"""Tables of files."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.quotas import limited_by_plan
from server.data.tables import tenant_table, time_column, uuid_column

# The bytes of equal files of a tenant, which are stored once, under a key that its id tells (object_keys.py).
file_blobs = tenant_table(
    "file_blobs",
    # SHA-256 in hexadecimal digits.
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    # With the smaller copies.
    Column("stored_bytes", BigInteger, nullable=False),
    *(Column(name, ARRAY(Integer), nullable=False) for name in ("copies", "copy_sizes")),
    # When an asset last began to name it.
    time_column("used_time", server_default=text("now()")),
)
Index("file_blobs_digest_key", file_blobs.c.tenant_id, file_blobs.c.digest, unique=True)
# Across tenants: what no asset names.
Index("file_blobs_used_time_idx", file_blobs.c.used_time)

assets = tenant_table(
    "assets",
    Column("filename", Text, nullable=False),
    Column("folder", Text, nullable=False, server_default=text("''")),
    Column("alt", Text, nullable=False, server_default=text("''")),
    Column("is_public", Boolean, nullable=False, server_default=text("false")),
    Column("size", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("content_type", Text, nullable=False, server_default=text("''")),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("width", "height")),
    Column("copies", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    Column("sha256", Text, nullable=False, server_default=text("''")),
    uuid_column("uploaded_by", nullable=True),
    uuid_column("blob_id", nullable=True),
    # Whose picture it is: it goes with the person.
    uuid_column("owner_id", nullable=True),
    ForeignKeyConstraint(["tenant_id", "blob_id"], ["file_blobs.tenant_id", "file_blobs.id"]),
    soft_delete=True,
)
limited_by_plan(assets, "assets")
_a = assets.c
for _name in ("create_time", "update_time", "filename", "folder", "content_type", "size", "state", "uploaded_by"):
    Index(f"assets_{_name}_idx", _a.tenant_id, _a[_name], _a.id)
Index("assets_owner_id_idx", _a.tenant_id, _a.owner_id, postgresql_where=_a.owner_id.is_not(None))
Index("assets_blob_id_idx", _a.tenant_id, _a.blob_id, postgresql_where=_a.blob_id.is_not(None))

# What is on its way, by the id of the asset that it becomes.
asset_uploads = tenant_table(
    "asset_uploads",
    Column("length", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False, server_default=text("0")),
    # The keys of what has arrived, in order.
    Column("parts", JSONB, nullable=False, server_default=text("'[]'")),
    time_column("expire_time"),
    ForeignKeyConstraint(["tenant_id", "id"], ["assets.tenant_id", "assets.id"], ondelete="CASCADE"),
)
Index("asset_uploads_expire_time_idx", asset_uploads.c.expire_time)

# What is stored of a tenant, counted with every blob that comes and goes. Its id is that of the tenant.
storage_usage = tenant_table(
    "storage_usage", Column("stored_bytes", BigInteger, nullable=False, server_default=text("0"))
)
