"""Roles, API keys, IP blocks and idempotency."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.walls import every_row, wall

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OWN_WALL = "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
KEY_WALL = f"{OWN_WALL} OR (SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')"


def upgrade() -> None:
    op.add_column("tenants", sa.Column("access_version", sa.BigInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column(
        "tenants", sa.Column("rate_limits", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False)
    )
    op.create_table(
        "roles",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("permissions", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("built_in", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        *_resource_columns(),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="roles_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="roles_pkey"),
    )
    op.create_index("roles_name_key", "roles", ["tenant_id", "name"], unique=True)
    with every_row("tenants"):
        op.execute(
            "INSERT INTO roles (tenant_id, id, name, built_in) SELECT t.id, gen_random_uuid(), n.name, true"
            " FROM tenants t, unnest(ARRAY['owner','admin','editor','member','viewer','employee','partner']) n (name)"
        )
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("environment", sa.SmallInteger(), nullable=False),
        sa.Column("permissions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("previous_prefix", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=True),
        sa.Column("previous_expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_use_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoke_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("calls_per_minute", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("create_user_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        *_resource_columns(),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="api_keys_tenant_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="api_keys_pkey"),
    )
    op.create_index("api_keys_prefix_key", "api_keys", ["prefix"], unique=True)
    op.create_index(
        "api_keys_previous_prefix_key",
        "api_keys",
        ["previous_prefix"],
        unique=True,
        postgresql_where=sa.text("previous_prefix != ''"),
    )
    op.create_index("api_keys_create_time_idx", "api_keys", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index("api_keys_name_idx", "api_keys", ["tenant_id", "name", "id"], unique=False)
    op.create_table(
        "api_key_usage",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("api_key_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "api_key_id"],
            ["api_keys.tenant_id", "api_keys.id"],
            name="api_key_usage_tenant_id_api_key_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "api_key_id", "day", "method", name="api_key_usage_pkey"),
    )
    op.create_table(
        "ip_blocks",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("automatic", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        *_resource_columns(),
        sa.PrimaryKeyConstraint("id", name="ip_blocks_pkey"),
    )
    op.create_index("ip_blocks_network_key", "ip_blocks", ["network"], unique=True)
    op.create_index("ip_blocks_create_time_idx", "ip_blocks", ["create_time", "id"], unique=False)
    op.create_index("ip_blocks_expire_time_idx", "ip_blocks", ["expire_time"], unique=False)
    op.create_table(
        "idempotency_records",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("http_status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="idempotency_records_pkey"),
    )
    op.create_index("idempotency_records_expire_time_idx", "idempotency_records", ["expire_time"], unique=False)
    wall("roles", OWN_WALL)
    wall("api_keys", KEY_WALL)
    wall("api_key_usage", KEY_WALL)


def _resource_columns() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    ]
