"""Account letters."""

import sqlalchemy as sa
from alembic import op

revision = "0029_327e30b3"
down_revision = "0028_d06401df"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_letters",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("account_letters_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("account_letters_pkey")),
        postgresql_partition_by=None,
    )
    op.create_index("account_letters_expire_time_idx", "account_letters", ["expire_time"], unique=False)
    op.create_index("account_letters_token_hash_key", "account_letters", ["token_hash"], unique=True)
    op.create_index("account_letters_user_id_idx", "account_letters", ["user_id", "kind", "create_time"], unique=False)
    op.add_column("users", sa.Column("email_verify_time", sa.DateTime(timezone=True), nullable=True))
