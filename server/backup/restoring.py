"""Restoring a backup: its rows into an empty database, its secret to its place, and then `plinth migrate`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, LiteralString, TypedDict

import psycopg

from server.backup import manifest as files
from server.backup import rows, tools
from server.backup.manifest import Manifest, write_part
from server.backup.outcomes import Damaged
from server.backup.sealed_secret import SecretKeys, unseal
from server.embedded.alone import with_postgres
from server.embedded.database import create_database
from server.faults import Fault
from server.run import preflight
from server.settings import Settings

Tell = Callable[[str], object]
CONNECT_TIMEOUT = 5
# The name of the replaced schema until the restore has succeeded.
BEFORE: Final = "plinth_before_restore"
SET_ASIDE: LiteralString = f"ALTER SCHEMA public RENAME TO {BEFORE}"
REMOVE: LiteralString = "DROP SCHEMA public CASCADE"
BRING_BACK: LiteralString = f"ALTER SCHEMA {BEFORE} RENAME TO public"
# The same as after `CREATE DATABASE`.
MAKE_EMPTY: tuple[LiteralString, ...] = (
    "CREATE SCHEMA public",
    "COMMENT ON SCHEMA public IS 'standard public schema'",
    "ALTER SCHEMA public OWNER TO pg_database_owner",
    "GRANT USAGE ON SCHEMA public TO PUBLIC",
)
OBJECTS = """
SELECT count(*) FROM (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
                      UNION ALL SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace) objects
"""
OTHERS = """
SELECT count(*), min(usename || ', ' || application_name) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options of a restore: whether to `replace` existing data, and where the secret goes."""

    replace: bool
    # None leaves the secret out.
    passphrase: str | None
    secret_to: Path | None


def restore(settings: Settings, folder: Path, wish: Wish, tell: Tell) -> None:
    """Restore a backup.

    Raises Fault, and Damaged for a backup that does not match its manifest; then nothing has changed.
    """
    manifest = Manifest.read(folder)
    wrong = list(manifest.faults(folder))
    if wrong:
        raise Damaged(f"{folder}: {'; '.join(wrong)}")
    secrets = _secrets(folder, manifest, wish.passphrase)
    if secrets is not None:
        _require_place(settings, secrets, wish)
    work = partial(_load, settings, folder, manifest, secrets, wish)
    if settings.database_url is None:
        outcome = with_postgres(settings, "restore", partial(_outcome, work))
        if outcome["damaged"]:
            raise Damaged(outcome["damaged"])
        lines = outcome["lines"]
    else:
        lines = work()
    for line in lines:
        tell(line)


class _Outcome(TypedDict):
    """The outcome in a separate process, which passes on the text of a fault but not its type."""

    lines: list[str]
    damaged: str
    """The reason of a failure; empty without one."""


def _outcome(work: Callable[[], list[str]]) -> _Outcome:
    try:
        return {"lines": work(), "damaged": ""}
    except Damaged as fault:
        return {"lines": [], "damaged": str(fault)}


def _load(settings: Settings, folder: Path, manifest: Manifest, secrets: SecretKeys | None, wish: Wish) -> list[str]:
    """Load the rows and put the secret in its place. Returns lines to report."""
    # Imported here: the whole application takes seconds to import, and is needed only at the end.
    from server.run import processes  # noqa: PLC0415

    if settings.database_url is None:
        create_database(settings)
    preflight.check_owner(settings)
    with preflight.explained(settings, "owner"), _connect(settings.owner_dsn) as connection:
        programs, _ = tools.folder(settings, max(connection.info.server_version // 10_000, manifest.pg_dump))
        with _emptied(connection, settings, replace=wish.replace):
            tools.load(programs, settings.owner_dsn, folder / files.DATABASE)
            for signature in manifest.private_functions:
                _make_private(connection, signature)
            wrong = rows.differences(manifest.tables, rows.count_as_owner(connection))
            if wrong:
                raise Damaged(f"{folder}: {'; '.join(wrong)}")
    lines = [f"{sum(manifest.tables.values())} rows of {len(manifest.tables)} tables as of {manifest.create_time}"]
    lines.append(_place(settings, secrets, wish) if secrets else "secret left out: the deployment keeps its own")
    if secrets is not None and settings.secret != secrets.secret.encode():
        # Under the current secret the database would be refused, until the backup's secret is put in place.
        return [*lines, "files: none", "`plinth migrate` brings the schema up to date, and makes its logins"]
    # If the secret is left out by choice, the data that depend on it are lost.
    processes.migrate(settings, tell=lines.append, accept_new_secret=secrets is None)
    return [*lines, "files: none", "the schema is up to date, and its logins are made: `plinth up` goes on from here"]


def _connect(dsn: str) -> rows.Connection:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT, application_name="plinth restore")


@contextmanager
def _emptied(connection: rows.Connection, settings: Settings, *, replace: bool) -> Iterator[None]:
    """Provide an empty schema.

    With `replace`, the old one is dropped after the block, or restored if the block raises.
    """
    where = preflight.setting_of(settings, "owner")
    others, one_of_them = connection.execute(OTHERS).fetchone() or (0, "")
    if others:
        raise Fault(f"{where}: {others} others are connected to this database ({one_of_them}): stop the stack first")
    objects = (connection.execute(OBJECTS).fetchone() or (0,))[0]
    if objects and not replace:
        raise Fault(f"{where}: the database is not empty. `plinth restore --replace` replaces all that it holds")
    if connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (BEFORE,)).rowcount:
        raise Fault(
            f"{where}: a restore was cut short: what the database held before is in its schema {BEFORE}. Drop the "
            f"schema public and rename {BEFORE} to public to have it back, or drop {BEFORE}"
        )
    if objects:
        _run(connection, SET_ASIDE, *MAKE_EMPTY)
    try:
        yield
    except BaseException:
        _run(connection, REMOVE, *((BRING_BACK,) if objects else MAKE_EMPTY))
        raise
    if objects:
        _run(connection, f"DROP SCHEMA {BEFORE} CASCADE")


def _run(connection: rows.Connection, *statements: LiteralString) -> None:
    """Run statements in one transaction."""
    with connection.transaction():
        for statement in statements:
            connection.execute(statement)


def _make_private(connection: rows.Connection, signature: str) -> None:
    """Revoke a function from all but its owner. `plinth migrate` grants it to logins."""
    # The manifest's text is resolved to the name of a function, or fails. It is never run as SQL.
    known = connection.execute("SELECT %s::regprocedure::text", (signature,)).fetchone() or ("",)
    connection.execute(f"REVOKE ALL ON FUNCTION {known[0]} FROM PUBLIC")


def _secrets(folder: Path, manifest: Manifest, passphrase: str | None) -> SecretKeys | None:
    if manifest.secret != files.ENCRYPTED or passphrase is None:
        return None
    return unseal(folder / files.SECRET, passphrase, manifest.id)


def _require_place(settings: Settings, secrets: SecretKeys, wish: Wish) -> None:
    """Refuse, before any change, a restore after which the backup's secret would not be in force. Raises Fault."""
    if wish.secret_to is not None:
        if wish.secret_to.exists():
            raise Fault(f"{wish.secret_to} is there already")
        if settings.secret_key is None:
            return
    if settings.secret_key is not None:
        if settings.secret_key.get_secret_value() != secrets.secret and wish.secret_to is None:
            raise Fault(
                "PLINTH_SECRET_KEY is another one than that of the backup, which its keys and tokens need. "
                "`--secret-to FILE` restores and writes the backup's to a file; `--without-secret` leaves it out"
            )
        return
    path = settings.data_dir / "secret"
    if path.exists() and path.read_text().strip() != secrets.secret and not wish.replace:
        raise Fault(f"{path} holds another secret than the backup. `plinth restore --replace` replaces it")


def _place(settings: Settings, secrets: SecretKeys, wish: Wish) -> str:
    """Put the secret where the deployment expects it. Returns a line to report."""
    if wish.secret_to is not None:
        write_part(wish.secret_to, secrets.variables)
        told = f"secret written to {wish.secret_to}: put it into the deployment's settings, then run `plinth migrate`"
    elif settings.secret_key is not None:
        told = "secret: PLINTH_SECRET_KEY is that of the backup"
    else:
        told = f"secret restored to {settings.data_dir / 'secret'}"
    if settings.secret_key is None:
        _replace(settings.data_dir / "secret", secrets.secret)
    if (secrets.previous or secrets.next) and wish.secret_to is None:
        told += "; a rotation was under way, and `--secret-to FILE` writes its other secret as well"
    return told


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".restored")
    draft.unlink(missing_ok=True)
    write_part(draft, text)
    if path.exists():
        path.replace(path.with_suffix(".before"))
    draft.rename(path)
