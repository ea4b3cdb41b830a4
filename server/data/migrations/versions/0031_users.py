"""Users."""

import sqlalchemy as sa
from alembic import op

revision = "0031_1483a5e9"
down_revision = "0030_232710ae"
branch_labels = None
depends_on = None

# State 1 is invited, 2 active, 3 deleted. The version of a member grows with the membership and with the account.
# Both halves of the union are one table each, without a condition, so that PostgreSQL merges their indexes in order,
# and looks up only the accounts of a page. The second view has the same rows and begins with the account, for a
# search by address. tests/domains/identity/test_people_plans.py holds the plans.
TENANT_USERS = """
CREATE VIEW tenant_users WITH (security_invoker = true) AS
SELECT p.id, p.tenant_id, coalesce(u.email, p.email) AS email, coalesce(u.first_name, p.first_name) AS first_name,
       coalesce(u.last_name, p.last_name) AS last_name, p.roles, p.state, u.email_verify_time,
       CASE WHEN u.last_tenant_id = p.tenant_id THEN u.last_login_time END AS last_login_time,
       p.version + coalesce(u.version, 0) AS version, p.create_time,
       greatest(p.update_time, u.update_time) AS update_time
FROM (
  SELECT m.tenant_id, m.user_id AS id, m.user_id AS account_id, NULL AS email, NULL AS first_name, NULL AS last_name,
         m.roles, 2::smallint AS state, m.version, m.create_time, m.update_time, NULL::timestamptz AS accept_time
  FROM memberships m
  UNION ALL
  SELECT i.tenant_id, i.id, NULL::uuid, i.email, i.first_name, i.last_name, i.roles, 1::smallint,
         i.version, i.create_time, i.update_time, i.accept_time
  FROM invitations i
) p LEFT JOIN users u ON u.id = p.account_id
WHERE p.accept_time IS NULL AND (p.account_id IS NULL OR u.id IS NOT NULL AND u.delete_time IS NULL)"""
TENANT_USERS_BY_EMAIL = """
CREATE VIEW tenant_users_by_email WITH (security_invoker = true) AS
SELECT u.id, m.tenant_id, u.email, u.first_name, u.last_name, m.roles, 2::smallint AS state, u.email_verify_time,
       CASE WHEN u.last_tenant_id = m.tenant_id THEN u.last_login_time END AS last_login_time,
       m.version + u.version AS version, m.create_time, greatest(m.update_time, u.update_time) AS update_time
FROM memberships m JOIN users u ON u.id = m.user_id AND u.delete_time IS NULL
UNION ALL
SELECT i.id, i.tenant_id, i.email, i.first_name, i.last_name, i.roles, 1::smallint, NULL, NULL,
       i.version, i.create_time, i.update_time
FROM invitations i WHERE i.accept_time IS NULL"""
# An erased account has no address.
PLATFORM_USERS = """
CREATE VIEW platform_users WITH (security_invoker = true) AS
SELECT id, email, first_name, last_name, ARRAY[]::text[] AS roles,
       CASE WHEN delete_time IS NULL THEN 2 ELSE 3 END::smallint AS state, email_verify_time, last_login_time,
       version, create_time, update_time, delete_time
FROM users WHERE email <> ''"""


def upgrade() -> None:
    op.add_column("invitations", sa.Column("first_name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("invitations", sa.Column("last_name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.create_index(
        "invitations_open_idx",
        "invitations",
        ["tenant_id", "create_time", "id"],
        unique=False,
        postgresql_where=sa.text("accept_time IS NULL"),
    )
    op.create_index("invitations_email_idx", "invitations", ["tenant_id", "email"], unique=False)
    op.add_column("memberships", sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column(
        "memberships",
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_index("memberships_create_time_idx", "memberships", ["tenant_id", "create_time", "user_id"], unique=False)
    op.create_index("users_create_time_idx", "users", ["create_time", "id"], unique=False)
    op.create_index("users_email_idx", "users", ["email"], unique=False)
    op.execute(TENANT_USERS)
    op.execute(TENANT_USERS_BY_EMAIL)
    op.execute(PLATFORM_USERS)
