"""The embedded PostgreSQL: its programs, a data folder of Plinth, and a unix socket.

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
# Seconds that a PostgreSQL which lost its supervisor may take to end, by itself and then after each signal.
LEFTOVER_PATIENCE = 10.0
# Sized for development: a few dozen connections, little memory, a small write-ahead log.
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
    # Short statements by key gain nothing from it, and each plan would cost more.
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %u ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "lc_messages": "C",
}
# Parameters by the version that introduced them.
PARAMETERS_SINCE = {
    # The default method would add three worker processes.
    18: {"io_method": "sync"},
}
# The version that introduced a built-in locale, which is the same on every system.
BUILTIN_LOCALE_SINCE = 17
# For older versions: character types that know every letter, by their names on Linux and macOS.
CHARACTER_TYPES = ("C.UTF-8", "UTF-8", "en_US.UTF-8")


def data_folder(settings: Settings) -> Path:
    """The folder of the database."""
    return settings.data_dir.resolve() / "postgres"


def binaries(settings: Settings) -> Path:
    """The folder of the programs, of the same version as the data if there are any. Raises Fault without programs."""
    return engines.find(engines.POSTGRES, settings.postgres_bin, major=_major_of_data(settings)).parent


def major(settings: Settings) -> int:
    """The major version of the programs."""
    return engines.version(engines.POSTGRES, binaries(settings) / "postgres")[0]


def is_new(settings: Settings) -> bool:
    """Whether there is no database yet."""
    return not data_folder(settings).exists()


def examine(settings: Settings) -> None:
    """Refuse data of another major version, and end a PostgreSQL that a killed supervisor left behind."""
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
    """The program that creates an empty database in a draft folder, so that an interrupted run leaves none behind."""
    draft = _draft(settings)
    shutil.rmtree(draft, ignore_errors=True)
    own(draft, identity)
    programs = binaries(settings)
    argv = [str(programs / "initdb"), "--pgdata", str(draft), "--username", ADMINISTRATOR, "--encoding", "UTF8"]
    argv += _locale(major(settings))
    # The socket is in a folder that only one user can enter, so every connection is trusted.
    argv += ["--auth-local", "trust", "--auth-host", "reject", "--no-instructions"]
    return Program(name="initdb", argv=tuple(argv), folder=draft.parent, identity=identity, urgent=_never)


def adopt(settings: Settings) -> None:
    """Rename the draft folder to that of the database."""
    _draft(settings).rename(data_folder(settings))


def program(settings: Settings, identity: Identity | None) -> Program:
    """The server as a program."""
    folder = data_folder(settings)
    parameters = _parameters(major(settings)) | {"unix_socket_directories": str(settings.socket_dir)}
    options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        argv=(str(binaries(settings) / "postgres"), "-D", str(folder), *options),
        folder=folder,
        identity=identity,
        ready_line=READY,
        # Fast, then immediate shutdown. Even SIGKILL afterwards loses no committed transaction.
        stop=((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)),
        death_signal=signal.SIGINT,
        urgent=lambda line: URGENT.search(line) is not None,
    )


def _major_of_data(settings: Settings) -> int | None:
    """The major version that wrote the data; None before the first start."""
    try:
        return int((data_folder(settings) / "PG_VERSION").read_text().strip().partition(".")[0])
    except FileNotFoundError:
        return None


def _parameters(version: int) -> dict[str, str]:
    """The parameters of the server for a major version."""
    parameters = dict(PARAMETERS)
    for since, more in PARAMETERS_SINCE.items():
        if version >= since:
            parameters |= more
    return parameters


def _locale(version: int) -> list[str]:
    """The arguments with which text sorts by code points, and case folds in every script."""
    if version >= BUILTIN_LOCALE_SINCE:
        return ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    known = next(filter(_is_locale, CHARACTER_TYPES), "C")
    return ["--locale", "C", "--locale-provider", "libc", "--lc-ctype", known]


def _is_locale(name: str) -> bool:
    """Whether the C library has a locale. The locale of this process stays unchanged."""
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
    """The server that postmaster.pid names, if it runs and works on this very folder."""
    try:
        process = psutil.Process(int((folder / "postmaster.pid").read_text().split("\n", 1)[0]))
        return process if process.cwd() == str(folder) else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None


def _end(process: psutil.Process) -> None:
    # It got SIGINT when its supervisor died, and is usually ending already.
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
