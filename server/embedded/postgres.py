"""The embedded PostgreSQL: its programs on a folder of ours, over a unix socket.

Durability is never traded for speed: fsync and synchronous_commit stay on.
"""

import locale
import re
import shutil
import signal
from pathlib import Path

import psutil

from server.embedded import engines
from server.embedded.children import Program
from server.embedded.faults import Fault
from server.embedded.privileges import Identity, own
from server.settings import Settings

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
# Parameters by the version that brought them.
PARAMETERS_SINCE = {
    # The workers of the default method would be three processes more.
    18: {"io_method": "sync"},
}
# The version that brought a locale of its own, alike on every system.
BUILTIN_LOCALE_SINCE = 17
# Where there is none: character types that know every letter, by the names that Linux and macOS give them.
CHARACTER_TYPES = ("C.UTF-8", "UTF-8", "en_US.UTF-8")


def data_folder(settings: Settings) -> Path:
    """Tell where the database is."""
    return settings.data_dir.resolve() / "postgres"


def binaries(settings: Settings) -> Path:
    """Find the folder of its programs, of the version that the data is of if there is one. Raises Fault without any."""
    return engines.find(engines.POSTGRES, settings.postgres_bin, major=_major_of_data(settings)).parent


def major(settings: Settings) -> int:
    """Tell which major version the programs are of."""
    return engines.version(engines.POSTGRES, binaries(settings) / "postgres")[0]


def is_new(settings: Settings) -> bool:
    """Tell whether there is no database yet."""
    return not data_folder(settings).exists()


def examine(settings: Settings) -> None:
    """Refuse the data of another major version, and end a PostgreSQL that a killed supervisor left behind."""
    folder = data_folder(settings)
    made, found = _major_of_data(settings), major(settings)
    if made != found:
        raise Fault(
            f"{folder} holds the data of PostgreSQL {made}, and this is PostgreSQL {found}. Name the programs of "
            f"PostgreSQL {made} in PLINTH_POSTGRES_BIN, or dump the data with them and load it into a new folder "
            "(PLINTH_DATA_DIR)."
        )
    leftover = _leftover(folder)
    if leftover is not None:
        _end(leftover)


def initialise(settings: Settings, identity: Identity | None) -> Program:
    """Describe the making of an empty database, in a draft folder: cut short, it leaves nothing that looks finished."""
    draft = _draft(settings)
    shutil.rmtree(draft, ignore_errors=True)
    own(draft, identity)
    programs = binaries(settings)
    argv = [str(programs / "initdb"), "--pgdata", str(draft), "--username", ADMINISTRATOR, "--encoding", "UTF8"]
    argv += _locale(major(settings))
    # The socket lies in a folder that nobody else can enter, so that whoever gets there may come in.
    argv += ["--auth-local", "trust", "--auth-host", "reject", "--no-instructions"]
    return Program(name="initdb", argv=tuple(argv), folder=draft.parent, identity=identity, urgent=_never)


def adopt(settings: Settings) -> None:
    """Make the draft the database."""
    _draft(settings).rename(data_folder(settings))


def program(settings: Settings, identity: Identity | None) -> Program:
    """Describe the server."""
    folder = data_folder(settings)
    parameters = _parameters(major(settings)) | {"unix_socket_directories": str(settings.socket_dir)}
    options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        argv=(str(binaries(settings) / "postgres"), "-D", str(folder), *options),
        folder=folder,
        identity=identity,
        ready_line=READY,
        # Fast, then immediate shutdown. Even what comes after loses nothing that was committed.
        stop=((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)),
        death_signal=signal.SIGINT,
        urgent=lambda line: URGENT.search(line) is not None,
    )


def _major_of_data(settings: Settings) -> int | None:
    """Tell which version made the database; None while there is none."""
    try:
        return int((data_folder(settings) / "PG_VERSION").read_text().strip().partition(".")[0])
    except FileNotFoundError:
        return None


def _parameters(version: int) -> dict[str, str]:
    """Give what the server of a major version is started with."""
    parameters = dict(PARAMETERS)
    for since, more in PARAMETERS_SINCE.items():
        if version >= since:
            parameters |= more
    return parameters


def _locale(version: int) -> list[str]:
    """Give the arguments with which text sorts by its code points and folds case in every script."""
    if version >= BUILTIN_LOCALE_SINCE:
        return ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    known = next(filter(_is_locale, CHARACTER_TYPES), "C")
    return ["--locale", "C", "--locale-provider", "libc", "--lc-ctype", known]


def _is_locale(name: str) -> bool:
    """Ask the C library for a locale, and leave this process in the one it has."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return True


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
