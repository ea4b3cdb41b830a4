"""Names and titles in NFC, as requests bring them from now on: filters compare code points."""

from alembic import op

from server.data.walls import every_row

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXTS = (("api_keys", "name"), ("pages", "title"), ("tenants", "name"))


def upgrade() -> None:
    for table, column in TEXTS:
        # One scan, which writes what is not composed and nothing else.
        compose = f"UPDATE {table} SET {column} = normalize({column}, NFC) WHERE {column} IS NOT NFC NORMALIZED"  # noqa: S608
        with every_row(table):
            op.execute(compose)
