"""Row-level security, as migrations put it on a table."""

from alembic import op


def wall(table: str, using: str) -> None:
    """Enable and force row-level security with one policy for reading and writing alike."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {table}_wall ON {table} USING ({using}) WITH CHECK ({using})")
