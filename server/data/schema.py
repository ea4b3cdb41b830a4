"""The schema of the database: migrations, roles, and the checks that refuse a start without row-level security."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from random import uniform
from time import sleep
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import MetaData, Table

from server.data.epochs import BEGIN_EPOCH
from server.data.grants import Grants
from server.data.liveness import keep_alive
from server.data.partitions import MONTHS_AHEAD
from server.data.tables import ROW_SECURITY
from server.faults import Fault

if TYPE_CHECKING:
    from alembic.config import Config

# Held by a process that migrates, makes logins or grants, so that several can run `plinth migrate` at once.
MIGRATION_LOCK = 0x706C696E7468
# Seconds that a process waits for another one to finish that.
LOCK_PATIENCE = 300.0
CONNECT_TIMEOUT = 5
# How long a grant waits for a table that is in use, in PostgreSQL's format.
GRANT_LOCK_TIMEOUT = "10s"
# Roles belong to the whole cluster, so no lock of one database excludes the migrations of others, nor the worker that
# makes next month's partitions. The second of two gets one of these errors, and succeeds on a retry.
RACES = ("tuple concurrently", "cache lookup failed", "pg_authid_rolname_index", "pg_auth_members_")
ATTEMPTS = 6
PARTITION_FUNCTIONS = "plinth_make_partitions, plinth_drop_partitions, plinth_partitions_ahead"
# The rows that the dispatch role sees in tables from which it only purges deleted rows.
DELETED = "delete_time IS NOT NULL"


Connection = psycopg.Connection[tuple[object, ...]]


class UnsafeDatabase(Fault):
    """The database does not isolate tenants, and the server must not start."""


class NewerSchema(Fault):
    """A newer version of Plinth has migrated the schema."""


@contextmanager
def exclusive(
    owner_dsn: str, patience: float = LOCK_PATIENCE, tell: Callable[[str], object] = lambda _: None
) -> Iterator[None]:
    """Hold the lock for changes of schema, logins and grants of this database.

    Waits up to `patience` seconds for the current holder, and reports the wait in a line. Raises Fault after that.
    """
    with _connect(owner_dsn) as connection:
        # The session idles while others do the work, and must not be ended for that.
        for name in ("statement_timeout", "idle_session_timeout"):
            connection.execute("SELECT set_config(%s, '0', false)", (name,))
        if not _is_true(connection.execute("SELECT pg_try_advisory_lock(%s)", (MIGRATION_LOCK,))):
            tell(f"{_holder(connection)} is migrating this database; waiting for it, up to {patience:g} s")
            connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{max(1, round(patience * 1000))}",))
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            except errors.LockNotAvailable:
                holder = _holder(connection)
                raise Fault(
                    f"{holder} has been migrating this database for more than {patience:g} s. Try again when it is "
                    "done (`plinth migrate --wait SECONDS` waits longer), or end it with pg_terminate_backend"
                ) from None
        yield


def _is_true(cursor: psycopg.Cursor[tuple[object, ...]]) -> bool:
    """Whether the query returned true."""
    row = cursor.fetchone()
    return row is not None and row[0] is True


def _holder(connection: Connection) -> str:
    """The holder of the lock, as it can be found in pg_stat_activity."""
    row = connection.execute(
        """SELECT a.pid, host(a.client_addr)
             FROM pg_locks l JOIN pg_database d ON d.oid = l.database JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()
              AND l.classid::bigint << 32 | l.objid::bigint = %s""",
        (MIGRATION_LOCK,),
    ).fetchone()
    process, address = row or ("unknown", None)
    return f"another process (PostgreSQL's {process}{f', from {address}' if address else ''})"


def migrate(owner_dsn: str) -> None:
    """Bring the schema up to date. Safe from several processes at once: the others wait, then find nothing to do."""
    with exclusive(owner_dsn):
        upgrade(owner_dsn)


def upgrade(owner_dsn: str, revision: str = "heads") -> None:
    """Apply the missing migrations up to a revision, or up to all heads. Raises NewerSchema."""
    # Imported here, because only migrations need Alembic, and it would cost every serving process 10 MB.
    from alembic import command  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = alembic_config(owner_dsn)
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    with _connect(owner_dsn) as connection:
        newer = sorted(_revisions(connection) - known)
        if newer:
            raise NewerSchema(
                f"the schema is at revision {', '.join(newer)}, which this version of Plinth does not know: a newer "
                "one has migrated it. Run that version, or restore a backup from before"
            )
        command.upgrade(config, revision)
        connection.execute("SELECT plinth_make_partitions(%s)", (MONTHS_AHEAD,))


def begin_epoch(owner_dsn: str) -> None:
    """Begin a new epoch of the logs in the same cluster (epochs.py)."""
    with _connect(owner_dsn) as connection:
        connection.execute(BEGIN_EPOCH)


def alembic_config(owner_dsn: str) -> "Config":
    """Alembic's configuration for the migrations of this schema."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("server.data") / "migrations"))
    config.set_main_option("sqlalchemy.url", "postgresql+psycopg://")
    config.attributes["dsn"] = owner_dsn
    return config


def _revisions(connection: Connection) -> set[str]:
    there = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
    if not _is_true(there):
        return set()
    return {str(row[0]) for row in connection.execute("SELECT version_num FROM alembic_version")}


def _connect(dsn: str, *, autocommit: bool = True) -> Connection:
    return psycopg.connect(
        dsn, autocommit=autocommit, connect_timeout=CONNECT_TIMEOUT, application_name="plinth migrate"
    )


def _until_alone(change: Callable[[], None]) -> None:
    """Make a change, with a bounded number of retries if another process made it at the same moment."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return change()
        except (errors.InternalError_, errors.UniqueViolation) as error:
            if attempt == ATTEMPTS or not any(race in str(error) for race in RACES):
                raise
            sleep(uniform(0.05, 0.1) * 2**attempt)  # noqa: S311 - so that two do not meet again
    return None


def ensure_logins(owner_dsn: str, role: str, logins: Mapping[str, str], former: str) -> None:
    """Make a role, and these logins (with their passwords) members of it. Drop its other logins that are not in use.

    Machines of versions before separate logins log in as the role itself. If it can log in, it gets the password
    `former`. Only SCRAM verifiers are sent, never a password.
    """
    with _connect(owner_dsn) as connection:
        _until_alone(lambda: _ensure_role(connection, role, former))
        for login, password in logins.items():
            _until_alone(partial(_ensure_login, connection, role, login, password))
            _until_alone(partial(_let_see_sessions, connection, login))
        for login in _unused(connection, role, logins):
            _until_alone(partial(_run, connection, "DROP ROLE IF EXISTS {}", login))


def _ensure_role(connection: Connection, role: str, former: str) -> None:
    known = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    if known is None:
        _run(connection, "CREATE ROLE {} NOLOGIN NOINHERIT", role)
    elif known[0]:
        _set_password(connection, role, former)


def _ensure_login(connection: Connection, role: str, login: str, password: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (login,)).fetchone():
        _run(connection, "CREATE ROLE {} LOGIN INHERIT", login)
    _set_password(connection, login, password)
    member = connection.execute(
        """SELECT EXISTS (SELECT 1 FROM pg_auth_members m
                           WHERE m.roleid = to_regrole(%s)::oid AND m.member = to_regrole(%s)::oid)""",
        (_quoted(role), _quoted(login)),
    )
    if not _is_true(member):
        _run(connection, "GRANT {} TO {}", role, login)


def _let_see_sessions(connection: Connection, login: str) -> None:
    """Let a login see the activity of other sessions, if the owner may: health names long open transactions."""
    row = connection.execute(
        """SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE WITH ADMIN OPTION')
              AND NOT pg_has_role(%s, 'pg_read_all_stats', 'USAGE')""",
        (login,),
    )
    if _is_true(row):
        _run(connection, "GRANT pg_read_all_stats TO {}", login)


def _set_password(connection: Connection, role: str, password: str) -> None:
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))


def _unused(connection: Connection, role: str, logins: Iterable[str]) -> list[str]:
    """Logins of other secrets without a session: their rotation has ended."""
    rows = connection.execute(
        r"""SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
             WHERE m.roleid = to_regrole(%s)::oid AND r.rolname ~ ('^' || %s || '_[0-9a-f]{8}$')
               AND r.rolname <> ALL (%s) AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = r.rolname)""",
        (_quoted(role), re.escape(role), list(logins)),
    )
    return [str(row[0]) for row in rows]


def _quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'


def _run(connection: Connection, statement: LiteralString, *roles: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, roles)))


def grant(owner_dsn: str, *, runtime: str, dispatch: str, grants: Grants, deletable: Iterable[Table]) -> None:
    """Let the runtime role work on all tables, and the dispatch role do background work across tenants.

    In the `deletable` tables, whose rows can be restored, the dispatch role sees and removes deleted rows.
    """

    def give() -> None:
        with _connect(owner_dsn, autocommit=False) as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (GRANT_LOCK_TIMEOUT,))
            _grant_all(connection, runtime, dispatch, grants, deletable)

    _until_alone(give)


def _grant_all(connection: Connection, runtime: str, dispatch: str, grants: Grants, deletable: Iterable[Table]) -> None:
    for role in (runtime, dispatch):
        _grant(connection, "GRANT USAGE ON SCHEMA public TO {}", role)
        _grant(connection, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}", role)
    _grant(connection, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}", runtime)
    _grant(connection, "REVOKE ALL ON alembic_version FROM {}", runtime)
    _grant(connection, f"GRANT EXECUTE ON FUNCTION {PARTITION_FUNCTIONS} TO {{}}", runtime)
    for statement in grants.runtime_limits:
        _grant(connection, statement, runtime)
    for table in grants.dispatch_reads:
        _let_dispatch(connection, table, dispatch, "SELECT")
    for table, rows in grants.dispatch_finds.items():
        _let_dispatch(connection, table, dispatch, "SELECT", rows)
    for table in grants.dispatch_appends:
        _let_dispatch(connection, table, dispatch, "SELECT, INSERT")
    for table in grants.dispatch_writes:
        _let_dispatch(connection, table, dispatch, "SELECT, INSERT, UPDATE, DELETE")
    for name in (table.name for table in deletable if table.name not in grants.dispatch_writes):
        _let_dispatch(connection, name, dispatch, "SELECT, DELETE", DELETED)


def _grant(connection: Connection, statement: LiteralString, role: str) -> None:
    connection.execute(sql.SQL(statement).format(sql.Identifier(role)))


def _let_dispatch(
    connection: Connection, table: str, role: str, what: LiteralString, rows: LiteralString = "true"
) -> None:
    """Grant privileges on a table, and add a policy for these rows if the table has row-level security."""
    # What is found and what is purged may be in one table.
    policy = f"{table}_dispatch" if rows in {"true", DELETED} else f"{table}_find_dispatch"
    names = {"table": sql.Identifier(table), "role": sql.Identifier(role), "policy": sql.Identifier(policy)}
    connection.execute(sql.SQL(f"GRANT {what} ON {{table}} TO {{role}}").format(**names))
    verb, check = ("SELECT", "") if what == "SELECT" else ("ALL", f"WITH CHECK ({rows})")
    # A change of a policy locks the table exclusively, which must not happen to a serving stack at every deployment.
    if _has_policy(connection, table, policy, role=role, verb=verb, rows=rows):
        return
    connection.execute(sql.SQL("DROP POLICY IF EXISTS {policy} ON {table}").format(**names))
    creation = sql.SQL(f"CREATE POLICY {{policy}} ON {{table}} FOR {verb} TO {{role}} USING ({rows}) {check}")
    connection.execute(creation.format(**names))


def _has_policy(connection: Connection, table: str, policy: str, *, role: str, verb: str, rows: str) -> bool:
    found = connection.execute(
        """SELECT EXISTS (SELECT 1 FROM pg_policies WHERE schemaname = 'public' AND tablename = %s AND policyname = %s
                             AND roles = ARRAY[%s::name] AND cmd = %s AND qual = ANY (%s))""",
        # PostgreSQL shows an expression in parentheses.
        (table, policy, role, verb, [rows, f"({rows})"]),
    )
    return _is_true(found)


def check_walls(runtime_dsn: str, described: MetaData) -> None:
    """Raise UnsafeDatabase if the runtime role can bypass row-level security, or if a table or a view lacks it."""
    with psycopg.connect(
        make_conninfo(runtime_dsn, **keep_alive(runtime_dsn)), autocommit=True, connect_timeout=CONNECT_TIMEOUT
    ) as connection:
        faults = [*_role_faults(connection), *_table_faults(connection, described), *_view_faults(connection)]
    if faults:
        raise UnsafeDatabase("tenants would not be kept apart:\n" + "\n".join(f"  - {fault}" for fault in faults))


def _role_faults(connection: psycopg.Connection[tuple[object, ...]]) -> Iterable[str]:
    """Faults of the role, and of the roles that SET ROLE may switch to."""
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


def _view_faults(connection: psycopg.Connection[tuple[object, ...]]) -> Iterable[str]:
    """Views through which the rows of other tenants would be seen. Those of extensions read no tenant's rows."""
    rows = connection.execute(
        """SELECT c.relname, c.relkind = 'm' FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm')
              AND NOT coalesce((SELECT option_value::boolean FROM pg_options_to_table(c.reloptions)
                                 WHERE option_name = 'security_invoker'), false)
              AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                 AND d.deptype = 'e')"""
    ).fetchall()
    for name, is_materialized in rows:
        if is_materialized:
            yield f"the materialized view {name} holds rows that no row-level security applies to"
        else:
            yield f"the view {name} reads with the rights of its owner: create it WITH (security_invoker = true)"


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
        # Partitions are accessed through their table, whose policy then applies. Accessed directly, they show no rows.
        if not (enabled and forced and (has_policy or is_partition)):
            state = f"enabled {enabled}, forced {forced}, policy {has_policy}"
            yield f"table {name} has no forced row-level security ({state})"
    missing = walled - {row[0] for row in rows}
    yield from (f"table {name} is missing: run `plinth migrate`" for name in sorted(missing))


def role_of(dsn: str) -> str:
    """The role that a connection string logs in as."""
    return str(conninfo_to_dict(dsn).get("user") or "")
