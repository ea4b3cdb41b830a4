"""Trips."""

import sqlalchemy as sa
from alembic import op

from server.data.walls import wall

revision = "0019_aa7370da"
down_revision = "0018_7a86d4e7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trips",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("destination_name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("country", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("time_zone", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("purpose", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("travel_style", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("group_size", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("budget_minor", sa.BigInteger(), nullable=True),
        sa.Column("budget_currency", sa.Text(), nullable=True),
        sa.Column("base_currency", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("special_requirements", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("satisfaction", sa.SmallInteger(), nullable=True),
        sa.Column("feedback", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("trips_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("trips_pkey")),
    )
    op.create_index("trips_create_time_idx", "trips", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "trips_delete_time_idx",
        "trips",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index("trips_end_date_idx", "trips", ["tenant_id", "end_date", "id"], unique=False)
    op.create_index("trips_start_date_idx", "trips", ["tenant_id", "start_date", "id"], unique=False)
    op.create_index("trips_title_idx", "trips", ["tenant_id", "title", "id"], unique=False)
    op.create_index("trips_user_create_time_idx", "trips", ["tenant_id", "user_id", "create_time", "id"], unique=False)
    op.create_index("trips_user_end_date_idx", "trips", ["tenant_id", "user_id", "end_date", "id"], unique=False)
    op.create_index("trips_user_start_date_idx", "trips", ["tenant_id", "user_id", "start_date", "id"], unique=False)
    op.create_index("trips_user_title_idx", "trips", ["tenant_id", "user_id", "title", "id"], unique=False)
    op.create_table(
        "expenses",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("trip_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("category", sa.SmallInteger(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("amount_currency", sa.Text(), nullable=False),
        sa.Column("spend_date", sa.Date(), nullable=False),
        sa.Column("place", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("payment_method", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("exchange_rate", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("base_amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("base_amount_currency", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "trip_id"],
            ["trips.tenant_id", "trips.id"],
            name=op.f("expenses_tenant_id_trip_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("expenses_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("expenses_pkey")),
    )
    op.create_index(
        "expenses_amount_idx", "expenses", ["tenant_id", "amount_currency", "amount_minor", "id"], unique=False
    )
    op.create_index("expenses_create_time_idx", "expenses", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "expenses_delete_time_idx",
        "expenses",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index("expenses_spend_date_idx", "expenses", ["tenant_id", "spend_date", "id"], unique=False)
    op.create_index("expenses_trip_id_idx", "expenses", ["tenant_id", "trip_id", "spend_date", "id"], unique=False)
    op.create_index(
        "expenses_user_amount_idx",
        "expenses",
        ["tenant_id", "user_id", "amount_currency", "amount_minor", "id"],
        unique=False,
    )
    op.create_index(
        "expenses_user_create_time_idx", "expenses", ["tenant_id", "user_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "expenses_user_spend_date_idx", "expenses", ["tenant_id", "user_id", "spend_date", "id"], unique=False
    )
    wall("trips", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("expenses", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
