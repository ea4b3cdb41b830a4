"""From where users have signed in, so that guesses from elsewhere do not lock them out there."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_in_networks",
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="sign_in_networks_user_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "network", name="sign_in_networks_pkey"),
    )
    op.create_index("sign_in_networks_last_time_idx", "sign_in_networks", ["last_time"])
