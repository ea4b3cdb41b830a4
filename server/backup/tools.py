"""PostgreSQL's own programs for dumps, found beside its server. Passwords are passed in the environment."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from server.backup.progress import shown
from server.embedded import engines
from server.faults import Fault
from server.settings import Settings

# Milliseconds that pg_dump waits for a table that is locked by a migration.
LOCK_WAIT = 60_000
# Entries of a dump that a restore skips: policies for a login, which `plinth migrate` makes because the login's name
# may differ, and the schema, which exists. They match the text after the three numbers of a line of `pg_restore
# --list`.
SKIPPED = ("SCHEMA - public ", "COMMENT - SCHEMA public ", "EXTENSION - plpgsql ", "COMMENT - EXTENSION plpgsql ")


def folder(settings: Settings, major: int) -> tuple[Path, int]:
    """Find the programs of this major version or a later one. Returns folder and version. Raises Fault."""
    server = engines.find(engines.POSTGRES, settings.postgres_bin, major=major)
    found = engines.version(engines.POSTGRES, server)[0]
    if found < major:
        raise Fault(
            f"pg_dump and pg_restore of PostgreSQL {major} are needed, and {server.parent} has those of {found}. "
            f"Install them, and name their folder in PLINTH_POSTGRES_BIN"
        )
    missing = [name for name in ("pg_dump", "pg_restore") if not shutil.which(server.with_name(name))]
    if missing:
        raise Fault(f"{server.parent} lacks {' and '.join(missing)}: install PostgreSQL's client programs")
    return server.parent, found


def dump(programs: Path, dsn: str, snapshot: str, target: Path) -> None:
    """Dump a snapshot. Raises Fault."""
    options = ["--format=custom", f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_WAIT}", "--no-password"]
    # pg_dump creates files with the permissions of the umask.
    target.touch(mode=0o600)
    with shown("pg_dump", target):
        _run(programs / "pg_dump", dsn, [*options, f"--file={target}"])


def load(programs: Path, dsn: str, source: Path) -> None:
    """Load a dump in one transaction as the role of `dsn`, without ownership and privileges. Raises Fault."""
    listed = _run(programs / "pg_restore", None, ["--list", str(source)])
    with TemporaryDirectory(prefix="plinth-restore-") as scratch:
        wanted = Path(scratch) / "list"
        wanted.write_text("\n".join(line for line in listed.splitlines() if _is_wanted(line)))
        options = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-password"]
        with shown("pg_restore"):
            _run(programs / "pg_restore", dsn, [*options, f"--use-list={wanted}", str(source)])


def _is_wanted(line: str) -> bool:
    if line.startswith(";"):
        return True
    entry = line.split(" ", 3)[-1]
    name = entry.split(" ")
    is_policy_of_login = entry.startswith("POLICY public ") and len(name) > 3 and name[3].endswith("_dispatch")  # noqa: PLR2004
    return not is_policy_of_login and not entry.startswith(SKIPPED)


def _run(program: Path, dsn: str | None, arguments: Sequence[str]) -> str:
    """Run a program without a timeout, because databases may be large. Returns its output.

    Raises Fault with its message.
    """
    environment = dict(os.environ)
    if dsn is not None:
        parts = conninfo_to_dict(dsn)
        # Other users of this machine may read the arguments of a process.
        password = parts.pop("password", None)
        if password is not None:
            environment["PGPASSWORD"] = str(password)
        arguments = [
            "--dbname",
            make_conninfo(**{name: str(value) for name, value in parts.items() if value is not None}),
            *arguments,
        ]
    done = subprocess.run(  # noqa: S603 - a program that was found, and no shell
        [str(program), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise Fault(f"{program.name} failed: {words}")
    return done.stdout
