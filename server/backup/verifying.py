"""Verification of a backup: it is restored into a scratch database and compared with its manifest."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from server.backup import manifest as files
from server.backup import rows, tools
from server.backup.manifest import Manifest
from server.backup.sealed_secret import unseal
from server.embedded.alone import with_postgres
from server.embedded.database import create_database
from server.run import preflight
from server.settings import Settings

CONNECT_TIMEOUT = 5


def findings(settings: Settings, folder: Path, passphrase: str | None) -> list[str]:
    """The findings about a backup; empty if it is intact. Raises Fault if it could not be checked.

    The scratch database is in the configured PostgreSQL. Instead of the embedded one, a separate cluster is used, so
    that a backup can be verified on any machine. Without a passphrase, the secret is not opened.
    """
    manifest = Manifest.read(folder)
    found = list(manifest.faults(folder))
    if not found and manifest.secret == files.ENCRYPTED and passphrase is not None:
        unseal(folder / files.SECRET, passphrase, manifest.id)
    # A changed dump is not loaded, because it may contain anything.
    return found or _restored(settings, folder, manifest)


def _restored(settings: Settings, folder: Path, manifest: Manifest) -> list[str]:
    if settings.database_url is not None or settings.database_backup_url is not None:
        with preflight.explained(settings, "backup"):
            return _compare(settings, folder, manifest)
    scratch = Path(tempfile.mkdtemp(prefix="plinth-verify-"))
    try:
        # The engines' user needs access to the folder.
        scratch.chmod(0o711)
        own = Settings(data_dir=scratch / "data", postgres_bin=settings.postgres_bin)
        return with_postgres(own, "verify", partial(_compare_alone, own, folder, manifest))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _compare_alone(settings: Settings, folder: Path, manifest: Manifest) -> list[str]:
    create_database(settings)
    return _compare(settings, folder, manifest)


def _compare(settings: Settings, folder: Path, manifest: Manifest) -> list[str]:
    with _scratch_database(settings.backup_dsn) as (dsn, major):
        programs, _ = tools.folder(settings, max(major, manifest.pg_dump))
        tools.load(programs, dsn, folder / files.DATABASE)
        with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT) as connection:
            found = rows.differences(manifest.tables, rows.count(connection))
            checkpoints = rows.checkpoints(connection)
    return found + _checkpoint_differences(folder, manifest, checkpoints)


def _checkpoint_differences(folder: Path, manifest: Manifest, restored: list[str]) -> list[str]:
    kept = (folder / files.CHECKPOINTS).read_text(encoding="utf-8").splitlines()
    found = [f"audit checkpoint of the backup is not in its database: {line}" for line in kept if line not in restored]
    found += [f"audit checkpoint of the database is not in the backup: {line}" for line in restored if line not in kept]
    if len(kept) != manifest.audit_checkpoints:
        found.append(f"{len(kept)} audit checkpoints instead of {manifest.audit_checkpoints}")
    return found


@contextmanager
def _scratch_database(dsn: str) -> Iterator[tuple[str, int]]:
    """Make a temporary database. Gives its connection string and the server's major version."""
    name = f"plinth_verify_{uuid4().hex[:12]}"
    with psycopg.connect(
        dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT, application_name="plinth backup"
    ) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
        connection.execute(create.format(sql.Identifier(name)))
        try:
            yield make_conninfo(dsn, dbname=name), connection.info.server_version // 10_000
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
