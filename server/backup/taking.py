"""Taking a backup: every row of one snapshot, counted and dumped; old backups are removed afterwards."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psycopg

from server.backup import manifest as files
from server.backup import rows, tools
from server.backup.manifest import Manifest, measure, write_part
from server.backup.sealed_secret import SecretKeys, seal
from server.faults import Fault
from server.run import preflight
from server.settings import Settings

Tell = Callable[[str], object]
PREFIX = "plinth-"
DRAFT = ".draft"
CONNECT_TIMEOUT = 5
# Timeouts of a server for short transactions, which must not end the one that holds the snapshot.
UNBOUNDED = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
FACTS = """
SELECT pg_export_snapshot(), to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       (SELECT string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version)
"""


def take(settings: Settings, folder: Path, *, passphrase: str | None, keep: int | None, tell: Tell) -> Path:
    """Write a backup into a folder of backups. Returns its own folder, which is complete as soon as it exists.

    Without a passphrase, the secret is left out. `keep` is how many backups stay, including this one. Raises Fault.
    """
    with _alone(folder):
        draft = folder / f".{uuid.uuid4().hex}{DRAFT}"
        draft.mkdir(mode=0o700)
        try:
            taken = _write(settings, draft, passphrase)
            final = folder / f"{PREFIX}{taken.create_time[:19].replace('-', '').replace(':', '')}Z-{taken.id[:8]}"
            _sync(draft)
            draft.rename(final)
            _sync(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        tell(f"{final}: {sum(taken.tables.values())} rows of {len(taken.tables)} tables, secret {taken.secret}")
        for old in _superseded(folder, keep, final):
            shutil.rmtree(old)
            tell(f"{old} was removed")
    return final


def _write(settings: Settings, draft: Path, passphrase: str | None) -> Manifest:
    backup_id = uuid.uuid4().hex
    dsn = settings.backup_dsn
    with preflight.explained(settings, "backup"), _snapshot(dsn) as connection:
        rows.require_every_row(connection, preflight.setting_of(settings, "backup"))
        snapshot, create_time, revision = connection.execute(FACTS).fetchone() or ("", "", "")
        major = connection.info.server_version // 10_000
        programs, of_programs = tools.folder(settings, major)
        tools.dump(programs, dsn, snapshot, draft / files.DATABASE)
        counted = rows.count(connection)
        checkpoints = rows.checkpoints(connection)
        private = rows.private_functions(connection)
    write_part(draft / files.CHECKPOINTS, "".join(f"{line}\n" for line in checkpoints))
    if passphrase is not None:
        write_part(draft / files.SECRET, seal(SecretKeys.of(settings), passphrase, backup_id))
    taken = Manifest(
        format=files.FORMAT,
        id=backup_id,
        plinth_version=version("plinth-server"),
        schema_revision=revision,
        create_time=create_time,
        postgresql=major,
        pg_dump=of_programs,
        tables=counted,
        audit_checkpoints=len(checkpoints),
        private_functions=private,
        secret=files.LEFT_OUT if passphrase is None else files.ENCRYPTED,
        files="none",
        parts={name: measure(draft / name) for name in files.PARTS if (draft / name).exists()},
    )
    taken.write(draft)
    return taken


@contextmanager
def _snapshot(dsn: str) -> Iterator[rows.Connection]:
    """A connection whose transaction sees one snapshot until the block ends."""
    with psycopg.connect(
        dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT, application_name="plinth backup"
    ) as connection:
        for name in UNBOUNDED:
            connection.execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = %s", (name,))
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            yield connection


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the folder against other backups, and remove unfinished ones. Raises Fault."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Fault(f"{folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for leftover in folder.glob(f".*{DRAFT}"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    except BlockingIOError:
        raise Fault(f"another backup is being written to {folder}") from None
    except OSError as error:
        raise Fault(f"{error.filename or folder}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _superseded(folder: Path, keep: int | None, latest: Path) -> list[Path]:
    """The backups in a folder beyond the `keep` newest. A folder that is no backup stays.

    Names sort by the times in them. The latest backup stays even if PostgreSQL's clock was set back.
    """
    if keep is None:
        return []
    others = [path for path in folder.glob(f"{PREFIX}*") if (path / files.MANIFEST).is_file() and path != latest]
    return sorted(others, reverse=True)[keep - 1 :]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
