"""Files."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.quota_trigger import add_quota_trigger
from server.data.walls import wall

revision = "0050_06354059"
down_revision = "0049_8b22d650"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "file_blobs",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("copies", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("copy_sizes", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("used_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("file_blobs_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("file_blobs_pkey")),
    )
    op.create_index("file_blobs_digest_key", "file_blobs", ["tenant_id", "digest"], unique=True)
    op.create_index("file_blobs_used_time_idx", "file_blobs", ["used_time"], unique=False)
    op.create_table(
        "storage_usage",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("storage_usage_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("storage_usage_pkey")),
    )
    op.create_table(
        "assets",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("alt", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("is_public", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("content_type", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("width", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("height", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("copies", sa.ARRAY(sa.Integer()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("sha256", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("uploaded_by", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("blob_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("owner_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "blob_id"],
            ["file_blobs.tenant_id", "file_blobs.id"],
            name=op.f("assets_tenant_id_blob_id_fkey"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("assets_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("assets_pkey")),
    )
    op.create_index(
        "assets_blob_id_idx",
        "assets",
        ["tenant_id", "blob_id"],
        unique=False,
        postgresql_where=sa.text("blob_id IS NOT NULL"),
    )
    op.create_index("assets_content_type_idx", "assets", ["tenant_id", "content_type", "id"], unique=False)
    op.create_index("assets_create_time_idx", "assets", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "assets_delete_time_idx",
        "assets",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index("assets_filename_idx", "assets", ["tenant_id", "filename", "id"], unique=False)
    op.create_index("assets_folder_idx", "assets", ["tenant_id", "folder", "id"], unique=False)
    op.create_index(
        "assets_owner_id_idx",
        "assets",
        ["tenant_id", "owner_id"],
        unique=False,
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_index("assets_size_idx", "assets", ["tenant_id", "size", "id"], unique=False)
    op.create_index("assets_state_idx", "assets", ["tenant_id", "state", "id"], unique=False)
    op.create_index("assets_update_time_idx", "assets", ["tenant_id", "update_time", "id"], unique=False)
    op.create_index("assets_uploaded_by_idx", "assets", ["tenant_id", "uploaded_by", "id"], unique=False)
    op.create_table(
        "asset_uploads",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("parts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "id"],
            ["assets.tenant_id", "assets.id"],
            name=op.f("asset_uploads_tenant_id_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("asset_uploads_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("asset_uploads_pkey")),
    )
    op.create_index("asset_uploads_expire_time_idx", "asset_uploads", ["expire_time"], unique=False)
    own = "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
    for name in ("file_blobs", "storage_usage", "assets", "asset_uploads"):
        wall(name, own)
    add_quota_trigger("assets", "assets", soft_deletes=True)
