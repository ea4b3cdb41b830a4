"""The owner role and the database in the embedded PostgreSQL."""

import psycopg
from psycopg import sql

from server.embedded.postgres import ADMINISTRATOR
from server.settings import Settings

OWNER = "plinth"


def create_database(settings: Settings) -> None:
    """Create the role that owns the schema, which is no superuser, and its database, unless they exist."""
    owner = sql.Identifier(OWNER)
    with psycopg.connect(
        host=str(settings.socket_dir), user=ADMINISTRATOR, dbname="postgres", autocommit=True
    ) as database:
        if not database.execute("SELECT FROM pg_roles WHERE rolname = %s", (OWNER,)).rowcount:
            database.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(owner))
        # Lets health name the statement of a transaction that holds readers back.
        database.execute(sql.SQL("GRANT pg_read_all_stats TO {} WITH ADMIN OPTION").format(owner))
        if not database.execute("SELECT FROM pg_database WHERE datname = %s", (OWNER,)).rowcount:
            database.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owner, owner))
