"""The content of a database that a backup compares: rows by table, checkpoints of the audit log, private functions."""

import json

import psycopg
from psycopg import errors, sql
from psycopg.rows import TupleRow

from server.backup.outcomes import HiddenRows

Connection = psycopg.Connection[TupleRow]
# The tables with rows of their own: partitions, but not partitioned tables.
TABLES = """
SELECT c.relname FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
"""
UNREADABLE = """
SELECT c.relname FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'S')
   AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
           ELSE has_table_privilege(c.oid, 'SELECT') END
 ORDER BY c.relname LIMIT 3
"""
CHECKPOINTS = """
SELECT DISTINCT ON (tenant_id) tenant_id::text, tree_size, encode(root_hash, 'hex'), note
  FROM audit_checkpoints ORDER BY tenant_id, tree_size DESC
"""
PRIVATE_FUNCTIONS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
 WHERE p.pronamespace = 'public'::regnamespace AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
 ORDER BY 1
"""
ADVICE = (
    "a superuser can make one: CREATE ROLE plinth_backup LOGIN BYPASSRLS PASSWORD '...'; GRANT pg_read_all_data TO "
    "plinth_backup; and DATABASE_BACKUP_URL names it"
)


def require_every_row(connection: Connection, setting: str) -> None:
    """Raise HiddenRows for a role that cannot see every row, because of row-level security or a missing grant."""
    role, sees_all = connection.execute(
        "SELECT current_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("", False)
    if not sees_all:
        raise HiddenRows(
            f"{setting}: row-level security hides rows from the role {role}, and the dump would be partial or empty. "
            f"It takes a role with BYPASSRLS, or a superuser; {ADVICE}"
        )
    unreadable = [name for (name,) in connection.execute(UNREADABLE).fetchall()]
    if unreadable:
        raise HiddenRows(
            f"{setting}: the role {role} may not read {', '.join(unreadable)}, and the dump would be partial. "
            f"It takes a role with pg_read_all_data; {ADVICE}"
        )


def count(connection: Connection) -> dict[str, int]:
    """Count the rows of every table. Raises HiddenRows if row-level security would hide some."""
    # A statement then fails instead of hiding rows.
    connection.execute("SET row_security = off")
    counted = {}
    try:
        for (table,) in connection.execute(TABLES).fetchall():
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(_public(table))).fetchone()
            counted[table] = row[0] if row else 0
    except errors.InsufficientPrivilege as error:
        raise HiddenRows(f"not every row can be counted: {error.diag.message_primary}") from error
    return counted


def count_as_owner(connection: Connection) -> dict[str, int]:
    """Count the rows of every table as the owner. Row-level security is suspended for the owner meanwhile."""
    with connection.transaction(force_rollback=True):
        for (table,) in connection.execute(TABLES).fetchall():
            connection.execute(sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(_public(table)))
        return count(connection)


def checkpoints(connection: Connection) -> list[str]:
    """The latest checkpoint of each tenant, one line of JSON each, ordered by tenant."""
    names = ("tenant_id", "tree_size", "root_hash", "note")
    found = connection.execute(CHECKPOINTS).fetchall()
    return [json.dumps(dict(zip(names, row, strict=True))) for row in found]


def private_functions(connection: Connection) -> list[str]:
    """The signatures of the functions that not every role may execute."""
    return [signature for (signature,) in connection.execute(PRIVATE_FUNCTIONS).fetchall()]


def differences(expected: dict[str, int], found: dict[str, int]) -> list[str]:
    """In words, the tables with another number of rows than expected."""
    return [
        f"table {table} holds {found.get(table, 'nothing, for it is missing')} instead of "
        f"{expected.get(table, 'not being there')}"
        for table in sorted(expected.keys() | found.keys())
        if expected.get(table) != found.get(table)
    ]


def _public(table: str) -> sql.Identifier:
    return sql.Identifier("public", table)
