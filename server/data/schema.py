"""The schema as the database has it: migrations, roles, and the checks that refuse a start without walls."""

from collections.abc import Iterable
from importlib.resources import files
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import MetaData

from server.data.partitions import MONTHS_AHEAD
from server.data.tables import ROW_SECURITY

# Held by whoever migrates, so that several processes can call `plinth migrate` at once.
MIGRATION_LOCK = 0x706C696E7468
# What the background work of every tenant reads, and what it writes.
DISPATCH_READS = ("tenants",)
DISPATCH_WRITES = (
    "event_cursors",
    "audit_leaves",
    "audit_nodes",
    "audit_checkpoints",
    "webhooks",
    "webhook_deliveries",
    "webhook_queues",
    "webhook_attempts",
)
# What tells a tenant of what the background work did: an event and its audit entry, which nobody changes afterwards.
DISPATCH_APPENDS = ("events", "audit_entries")
# What the runtime role may do with the audit log: an entry is written once; only an erasure changes one column.
AUDIT_GRANTS = (
    "REVOKE UPDATE, DELETE ON audit_entries, audit_leaves, audit_nodes, audit_checkpoints FROM {}",
    "REVOKE INSERT ON audit_leaves, audit_nodes, audit_checkpoints FROM {}",
    "GRANT UPDATE (personal) ON audit_entries TO {}",
)
PARTITION_FUNCTIONS = "plinth_make_partitions, plinth_drop_partitions, plinth_partitions_ahead"


Connection = psycopg.Connection[tuple[object, ...]]


class UnsafeDatabase(Exception):
    """The database would not keep tenants apart; the server must not start."""


def migrate(owner_dsn: str) -> None:
    """Bring the schema up to date. Safe from several processes at once: one works, the others wait, then do nothing."""
    # Only who migrates needs Alembic: it would cost every serving process 10 MB.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("server.data") / "migrations"))
    config.set_main_option("sqlalchemy.url", "postgresql+psycopg://")
    with psycopg.connect(owner_dsn, autocommit=True) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        config.attributes["dsn"] = owner_dsn
        command.upgrade(config, "head")
        lock.execute("SELECT plinth_make_partitions(%s)", (MONTHS_AHEAD,))


def ensure_login(owner_dsn: str, role: str, password: str) -> None:
    """Make a login role, or set its password anew. Only a SCRAM verifier is sent, never the password."""
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
        statement = "ALTER ROLE {} PASSWORD {}" if known else "CREATE ROLE {} LOGIN NOINHERIT PASSWORD {}"
        connection.execute(sql.SQL(statement).format(sql.Identifier(role), sql.Literal(verifier)))


def grant(owner_dsn: str, *, runtime: str, dispatch: str) -> None:
    """Let the runtime role work on all tables, and the dispatch role do the background work of every tenant."""
    with psycopg.connect(owner_dsn) as connection:
        for role in (runtime, dispatch):
            _grant(connection, "GRANT USAGE ON SCHEMA public TO {}", role)
            _grant(connection, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}", role)
        _grant(connection, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}", runtime)
        _grant(connection, "REVOKE ALL ON alembic_version FROM {}", runtime)
        _grant(connection, f"GRANT EXECUTE ON FUNCTION {PARTITION_FUNCTIONS} TO {{}}", runtime)
        for statement in AUDIT_GRANTS:
            _grant(connection, statement, runtime)
        for table in DISPATCH_READS:
            _let_dispatch(connection, table, dispatch, "SELECT")
        for table in DISPATCH_APPENDS:
            _let_dispatch(connection, table, dispatch, "SELECT, INSERT")
        for table in DISPATCH_WRITES:
            _let_dispatch(connection, table, dispatch, "SELECT, INSERT, UPDATE, DELETE")


def _grant(connection: Connection, statement: LiteralString, role: str) -> None:
    connection.execute(sql.SQL(statement).format(sql.Identifier(role)))


def _let_dispatch(connection: Connection, table: str, role: str, what: LiteralString) -> None:
    """Grant it, and open the table's wall, if it has one, as far."""
    names = {
        "table": sql.Identifier(table),
        "role": sql.Identifier(role),
        "policy": sql.Identifier(f"{table}_dispatch"),
    }
    connection.execute(sql.SQL(f"GRANT {what} ON {{table}} TO {{role}}").format(**names))
    connection.execute(sql.SQL("DROP POLICY IF EXISTS {policy} ON {table}").format(**names))
    verb, check = ("SELECT", "") if what == "SELECT" else ("ALL", "WITH CHECK (true)")
    policy = sql.SQL(f"CREATE POLICY {{policy}} ON {{table}} FOR {verb} TO {{role}} USING (true) {check}")
    connection.execute(policy.format(**names))


def check_walls(runtime_dsn: str, described: MetaData) -> None:
    """Refuse a runtime role that row-level security does not bind, and tables that lack it. Raises UnsafeDatabase."""
    with psycopg.connect(runtime_dsn, autocommit=True) as connection:
        faults = [*_role_faults(connection), *_table_faults(connection, described)]
    if faults:
        raise UnsafeDatabase("tenants would not be kept apart:\n" + "\n".join(f"  - {fault}" for fault in faults))


def _role_faults(connection: psycopg.Connection[tuple[object, ...]]) -> Iterable[str]:
    """What the role is, and what it may become with SET ROLE."""
    row = connection.execute(
        """SELECT current_user, bool_or(rolsuper), bool_or(rolbypassrls)
             FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')"""
    ).fetchone()
    role, is_superuser, bypasses = row or ("", True, True)
    if is_superuser:
        yield f"the runtime role {role} is or may become a superuser, which row-level security does not bind"
    if bypasses:
        yield f"the runtime role {role} has or may take BYPASSRLS"
    owned = connection.execute(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND pg_has_role(current_user, tableowner, 'MEMBER')"
    ).fetchone()
    if owned and owned[0]:
        yield f"the runtime role {role} owns {owned[0]} tables, or may, and could switch their row-level security off"


def _table_faults(connection: psycopg.Connection[tuple[object, ...]], described: MetaData) -> Iterable[str]:
    rows = connection.execute(
        """SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
                  EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid),
                  EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'),
                  c.relispartition
             FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"""
    ).fetchall()
    walled = {table.name for table in described.tables.values() if ROW_SECURITY in table.info}
    for name, enabled, forced, has_policy, has_tenant, is_partition in rows:
        if not has_tenant and name not in walled:
            continue
        # Partitions are reached through their table, whose policy then holds; reached directly, they show no row.
        if not (enabled and forced and (has_policy or is_partition)):
            state = f"enabled {enabled}, forced {forced}, policy {has_policy}"
            yield f"table {name} has no forced row-level security ({state})"
    missing = walled - {row[0] for row in rows}
    yield from (f"table {name} is missing: run `plinth migrate`" for name in sorted(missing))


def role_of(dsn: str) -> str:
    """The role that a connection string logs in as."""
    return str(conninfo_to_dict(dsn).get("user") or "")
