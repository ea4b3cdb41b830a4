"""Federated identities."""

import sqlalchemy as sa
from alembic import op

revision = "0034_0061227e"
down_revision = "0033_0ca1778a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "federated_identities",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_use_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("federated_identities_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("federated_identities_pkey")),
    )
    op.create_index("federated_identities_subject_key", "federated_identities", ["provider", "subject"], unique=True)
    op.create_index(
        "federated_identities_user_id_idx", "federated_identities", ["user_id", "create_time"], unique=False
    )
