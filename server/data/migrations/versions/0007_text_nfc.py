"""Names and titles in NFC, as requests bring them from now on: filters compare code points."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXTS = (("api_keys", "name"), ("pages", "title"), ("tenants", "name"))


def upgrade() -> None:
    for table, column in TEXTS:
        # The rows of every tenant, which row-level security keeps from the owner as well.
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        # One scan, which writes what is not composed and nothing else.
        op.execute(
            f"UPDATE {table} SET {column} = normalize({column}, NFC) WHERE {column} IS NOT NFC NORMALIZED"  # noqa: S608
        )
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
