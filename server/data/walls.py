"""Row-level security in migrations: adding it to a table, and suspending it."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op


def wall(table: str, using: str) -> None:
    """Enable and force row-level security with one policy for reads and writes."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {table}_wall ON {table} USING ({using}) WITH CHECK ({using})")


@contextmanager
def every_row(*tables: str) -> Iterator[None]:
    """Let the owner read and write the rows of all tenants in these tables, until the block ends.

    Forced row-level security applies to the owner as well. A migration that reads or writes rows outside such a block
    fails, because env.py switches `row_security` off. No other session sees more meanwhile: the change is part of the
    migration's transaction, whose lock excludes all others from the tables until it ends. If the block raises, the
    transaction is rolled back, and the change with it.
    """
    for table in tables:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    yield
    for table in tables:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
