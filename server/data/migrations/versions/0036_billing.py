"""Billing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.quota_trigger import add_quota_trigger
from server.data.walls import wall

# The quotas of the plan that holds: that of the live subscription of the tenant itself, or else the default one.
QUOTAS = """
CREATE FUNCTION plinth_quotas(tenant uuid) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    plan uuid;
BEGIN
    SELECT plan_id INTO plan FROM subscriptions
     WHERE tenant_id = tenant AND subscriber_kind = 1 AND subscriber_id = tenant AND end_time IS NULL;
    IF plan IS NULL THEN
        RETURN (SELECT quotas FROM plans WHERE is_default);
    END IF;
    RETURN (SELECT quotas FROM plans WHERE id = plan);
END $$;
"""
# The caller may be in no tenant, such as one who accepts an invitation. Row-level security also binds the owner of the
# tables, so the function enters the tenant before it counts there. The count stops at the first row that is too many.
KEEP_QUOTA = """
CREATE FUNCTION plinth_keep_quota() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET row_security = on AS $$
DECLARE
    entered text := coalesce(current_setting('plinth.tenant_id', true), '');
    is_inside boolean := entered = NEW.tenant_id::text;
    quotas jsonb;
    most bigint;
    used bigint;
BEGIN
    -- Without plans, nobody is limited: this takes half of the time.
    IF NOT EXISTS (SELECT FROM plans) THEN
        RETURN NULL;
    END IF;
    IF NOT is_inside THEN
        PERFORM set_config('plinth.tenant_id', NEW.tenant_id::text, true);
    END IF;
    quotas := plinth_quotas(NEW.tenant_id);
    IF quotas IS NOT NULL THEN
        most := (SELECT (each ->> 'most')::bigint FROM jsonb_array_elements(quotas) AS each
                  WHERE each ->> 'name' = TG_ARGV[0]);
    END IF;
    IF most IS NOT NULL THEN
        -- Of two calls at the same time, the second one waits, and counts what the first one has committed.
        PERFORM pg_advisory_xact_lock(hashtextextended('quota ' || TG_ARGV[0] || ' ' || NEW.tenant_id, 0));
        EXECUTE format(
            'SELECT count(*) FROM (SELECT FROM %I WHERE tenant_id = $1 %s LIMIT $2) AS counted', TG_TABLE_NAME,
            CASE WHEN TG_ARGV[1] = 'soft' THEN 'AND delete_time IS NULL' ELSE '' END
        ) INTO used USING NEW.tenant_id, most + 1;
        IF used > most THEN
            RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'plinth_quota', TABLE = TG_TABLE_NAME,
                MESSAGE = 'the plan allows no more', DETAIL = most::text, HINT = TG_ARGV[0];
        END IF;
    END IF;
    IF NOT is_inside THEN
        PERFORM set_config('plinth.tenant_id', entered, true);
    END IF;
    RETURN NULL;
END $$;
"""

revision = "0036_ec224caa"
down_revision = "0035_c4e3c232"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=True),
        sa.Column("price_currency", sa.Text(), nullable=True),
        sa.Column("interval", sa.SmallInteger(), nullable=False),
        sa.Column("trial_days", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("quotas", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("self_service", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("retired", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("plans_pkey")),
    )
    op.create_index("plans_code_key", "plans", ["code"], unique=True)
    op.create_index("plans_create_time_idx", "plans", ["create_time", "id"], unique=False)
    op.create_index("plans_is_default_key", "plans", ["is_default"], unique=True, postgresql_where="is_default")
    op.create_table(
        "subscriptions",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("subscriber_kind", sa.SmallInteger(), nullable=False),
        sa.Column("subscriber_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("plan_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("quantity", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=True),
        sa.Column("price_currency", sa.Text(), nullable=True),
        sa.Column("interval", sa.SmallInteger(), nullable=False),
        sa.Column("trial_end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("anchor_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancel_at_period_end", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("cancel_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("subscriptions_plan_id_fkey")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("subscriptions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("subscriptions_pkey")),
    )
    op.create_index("subscriptions_create_time_idx", "subscriptions", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "subscriptions_period_end_time_idx",
        "subscriptions",
        ["period_end_time"],
        unique=False,
        postgresql_where=sa.text("end_time IS NULL"),
    )
    op.create_index("subscriptions_plan_id_idx", "subscriptions", ["plan_id"], unique=False)
    op.create_index(
        "subscriptions_subscriber_key",
        "subscriptions",
        ["tenant_id", "subscriber_kind", "subscriber_id"],
        unique=True,
        postgresql_where=sa.text("end_time IS NULL"),
    )
    wall("subscriptions", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    op.execute(QUOTAS)
    op.execute(KEEP_QUOTA)
    add_quota_trigger("pages", "pages", soft_deletes=True)
    add_quota_trigger("trips", "trips", soft_deletes=True)
    add_quota_trigger("webhooks", "webhooks", soft_deletes=False)
    add_quota_trigger("memberships", "members", soft_deletes=False)
