"""How Alembic reaches the database: as the owner, in one transaction per run, with a bounded wait for locks."""

import psycopg
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from server.data.tables import metadata

LOCK_TIMEOUT = "10s"


def run() -> None:
    """Apply the migrations that are missing."""
    dsn = context.config.attributes["dsn"]
    engine = create_engine("postgresql+psycopg://", poolclass=NullPool, creator=lambda: psycopg.connect(dsn))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        # What row-level security would hide from a statement makes it fail; see walls.every_row.
        connection.exec_driver_sql("SET row_security = off")
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()


run()
