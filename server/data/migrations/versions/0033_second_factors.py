"""Second factors, passkeys, and when a session's user last proved who they are."""

import sqlalchemy as sa
from alembic import op

revision = "0033_0ca1778a"
down_revision = "0032_ba82c300"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "used_challenges",
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("challenge", name=op.f("used_challenges_pkey")),
    )
    op.create_index("used_challenges_expire_time_idx", "used_challenges", ["expire_time"], unique=False)
    op.create_table(
        "authenticators",
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("enable_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_secret", sa.LargeBinary(), nullable=True),
        sa.Column("next_expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lock_expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("authenticators_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("authenticators_pkey")),
    )
    op.create_table(
        "passkeys",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_synced", sa.Boolean(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_use_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("passkeys_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("passkeys_pkey")),
    )
    op.create_index("passkeys_credential_id_key", "passkeys", ["credential_id"], unique=True)
    op.create_index("passkeys_user_id_idx", "passkeys", ["user_id", "create_time"], unique=False)
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("recovery_codes_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name=op.f("recovery_codes_pkey")),
    )
    # Sessions from before count as proven long ago, without a write to any of their rows.
    long_ago = sa.text("'1970-01-01 00:00+00'")
    op.add_column(
        "sessions", sa.Column("auth_time", sa.DateTime(timezone=True), server_default=long_ago, nullable=False)
    )
    op.alter_column("sessions", "auth_time", server_default=sa.text("now()"))
