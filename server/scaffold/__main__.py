"""What `make check` and `make migration` call: `heads`, and `migration NAME`."""

import argparse
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from server.embedded.alone import with_postgres
from server.embedded.database import create_database
from server.faults import Fault
from server.scaffold import migration
from server.settings import Settings
from server.settings_loading import load


def main() -> int:
    """Run one of them; its exit status. A fault is one line on standard error."""
    parser = argparse.ArgumentParser(prog="server.scaffold", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    commands.add_parser("heads")
    commands.add_parser("migration").add_argument("name")
    options = parser.parse_args()
    try:
        if options.command == "heads":
            migration.check()
        else:
            sys.stdout.write(f"{_written(options.name)}\n")
    except Fault as fault:
        sys.stderr.write(f"plinth: {fault}\n")
        return fault.status
    return 0


def _written(name: str) -> Path:
    """The migration, from a database of its own that is gone afterwards."""
    migration.refuse_name(name)
    if len(migration.heads()) > 1:
        return migration.write(migration.ROOT, name, "pass")
    scratch = Path(tempfile.mkdtemp(prefix="plinth-migration-"))
    try:
        # The engine's user has to reach what is below.
        scratch.chmod(0o711)
        own = Settings(data_dir=scratch / "data", postgres_bin=load(with_certificates=False).postgres_bin)
        told: Any = with_postgres(own, "migration", partial(_told, own, name))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if told["fault"]:
        raise Fault(told["fault"])
    return Path(told["path"])


def _told(settings: Settings, name: str) -> dict[str, str]:
    """What was written, or why nothing was, as JSON carries it from one process to another."""
    create_database(settings)
    try:
        return {"path": str(migration.from_database(name, settings.owner_dsn)), "fault": ""}
    except Fault as fault:
        return {"path": "", "fault": str(fault)}


if __name__ == "__main__":
    sys.exit(main())
