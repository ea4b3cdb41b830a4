"""`make migration name=...`: writes what the tables describe and the newest schema lacks as a migration.

A scratch PostgreSQL is migrated to the newest schema and compared with the tables of all modules. The file that comes
of it is its writer's from then on: Alembic sees neither functions nor data, and takes a renamed column for two changes.

Two people can each write a migration that goes on from the same one. Both are applied, in either order. `make check`
refuses to leave two ends side by side; the next migration, such as `make migration name=merge`, goes on from both.
"""

import argparse
import re
import shutil
import sys
import tempfile
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import psycopg
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import ops
from psycopg.conninfo import make_conninfo
from sqlalchemy import MetaData, create_engine
from sqlalchemy.exc import SAWarning
from sqlalchemy.pool import NullPool

import server
from server.data import schema
from server.data.tables import metadata
from server.embedded.alone import with_postgres
from server.embedded.database import create_database
from server.faults import Fault
from server.modules import MODULES
from server.scaffold import migration
from server.scaffold.migration import heads
from server.settings import Settings

NAME = re.compile(r"[a-z][a-z0-9_]*")
# The tables of Alembic and of the job queue, and monthly partitions.
FOREIGN = re.compile(r"alembic_version|procrastinate_.*|.*_\d{4}_\d{2}")


def check() -> None:
    """Raise Fault if there are several heads."""
    ends = heads()
    if len(ends) > 1:
        raise Fault(
            f"the migrations {' and '.join(ends)} go on from the same one: `make migration name=merge` writes one that "
            "goes on from both"
        )


def write(name: str) -> Path | None:
    """Write a migration of this name. Returns its path, or None if nothing has to change. Raises Fault."""
    if not NAME.fullmatch(name):
        raise Fault(f"name={name}: a name has small letters, digits and `_`, such as vehicles")
    scratch = Path(tempfile.mkdtemp(prefix="plinth-migration-"))
    try:
        # The engines' user needs access to the folder.
        scratch.chmod(0o711)
        settings = Settings(data_dir=scratch / "data", database_url=None)
        written = with_postgres(settings, "migration", partial(_write, settings, name))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Path(written) if written else None


def describe_every_table() -> None:
    """Import every module that describes a table, whether or not a process needs it."""
    for module in walk_packages(server.__path__, "server."):
        if module.name.startswith(("server.data.", "server.domains.")) and ".migrations" not in module.name:
            import_module(module.name)


def _write(settings: Settings, name: str) -> str:
    create_database(settings)
    describe_every_table()
    schema.migrate(settings.owner_dsn)
    changes = lacking(settings.owner_dsn, metadata)
    ends = heads()
    if not changes.ops and len(ends) == 1:
        return ""
    return str(migration.write(Path(server.__path__[0]).parent, name, changes.ops))


def is_ours(_: object, name: str | None, kind: str, *__: object) -> bool:
    """Whether an object of the database belongs to tables that are described here."""
    return not (kind == "table" and FOREIGN.fullmatch(name or ""))


def lacking(dsn: str, described: MetaData) -> ops.UpgradeOps:
    """The operations that turn a database into what the tables describe."""
    options = {"compare_type": True, "compare_server_default": True, "include_object": is_ours}
    engine = create_engine(
        "postgresql+psycopg://", poolclass=NullPool, creator=lambda: psycopg.connect(make_conninfo(dsn))
    )
    with engine.connect() as connection, warnings.catch_warnings():
        # About xid8, which SQLAlchemy does not know.
        warnings.filterwarnings("ignore", "Did not recognize type 'xid8'", SAWarning)
        context = MigrationContext.configure(connection, opts=options)
        changes = produce_migrations(context, described).upgrade_ops
    if changes is None:
        raise LookupError("Alembic has compared nothing")
    return changes


def main() -> int:
    """Write a migration, or check that there is one head. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="make migration", description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    options = parser.parse_args()
    try:
        if not options.name:
            check()
            return 0
        written = write(options.name)
    except Fault as fault:
        sys.stderr.write(f"plinth: {fault}\n")
        return 1
    sys.stdout.write(f"{written or f'nothing has to be changed: the schema is what the {len(MODULES)} modules say'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
