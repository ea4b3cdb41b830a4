"""Shared metrics of the processes on a host: each process maps files that are named after it.

prometheus_client writes them in its multiprocess mode. It would name them after process ids. Here they are named after
processes (`api-0`), so that a restarted process continues its counts, and no files pile up. A process holds the lock of
its name for as long as it lives. The lock shows whether it lives; a process id does not, because ids are reused.

Call `share` before importing anything that measures, and `join` before measuring anything.
"""

import fcntl
import json
import os
import secrets
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic, sleep

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Processes of the same name, such as several workers on one host, get numbers up to this one.
MOST_ALIKE = 100
# Seconds to wait for the lock of the folder, and between two looks.
LOCKED_WITHIN = 1.0
LOOK = 0.005
LIVE_GAUGES = "gauge_live*_{}.db"
# Prefix of a process's name until it joins. Its forks may have joined instead.
STARTING = "starting-"

# The name of this process, and the descriptor that holds the lock of the name.
_name = ""
_lock: int | None = None


def share(folder: Path) -> None:
    """Let this process and its forks keep their metrics in a folder. Clears the folder if no process in it lives.

    To be called before the first import of a module that defines metrics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder) as is_locked:
        if is_locked and not any(_is_held(path) for path in folder.glob("*.lock")):
            for path in [*folder.glob("*.db"), *folder.glob("*.lock")]:
                path.unlink()
        _take(folder, f"{STARTING}{secrets.token_hex(8)}")
    os.environ[FOLDER] = str(folder)
    # Imported late, because prometheus_client reads the variable at import.
    from prometheus_client import values  # noqa: PLC0415

    from server.metrics.values import ReservedValues  # noqa: PLC0415

    values.MmapedDict = ReservedValues  # type: ignore[attr-defined]
    values.ValueClass = values.MultiProcessValue(lambda: _name)  # type: ignore[no-untyped-call]


def shared() -> Path | None:
    """The folder of shared metrics, or None if this process does not share them."""
    folder = os.environ.get(FOLDER)
    return Path(folder) if folder and _name else None


def join(name: str) -> str:
    """Start to measure under this name. Returns the actual name, which has a number if the name is taken."""
    folder, before, lock = shared(), _name, _lock
    if folder is None:
        return name
    alike = (f"{name}-{number}" if number else name for number in range(MOST_ALIKE))
    with exclusive(folder):
        own = next((one for one in alike if _take(folder, one)), None)
        if own is None:
            raise LookupError(f"{MOST_ALIKE} processes are called {name} in {folder}")
        # The gauges of an earlier process of this name are outdated; its counters continue.
        for path in [*folder.glob(LIVE_GAUGES.format(own)), *folder.glob(f"*_{before}.db")]:
            path.unlink(missing_ok=True)
    if lock is not None:
        os.close(lock)
    return own


def sweep(folder: Path) -> None:
    """Remove the gauges of dead processes, and the files of those that died before joining.

    The caller holds the folder.
    """
    for path in [*folder.glob(LIVE_GAUGES.format("*")), *folder.glob(f"*{STARTING}*")]:
        if not _is_held(folder / f"{path.stem.rpartition('_')[2]}.lock"):
            path.unlink(missing_ok=True)


def live_gauges(folder: Path, names: Collection[str]) -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of these gauges in all living processes. They have mode livemostrecent."""
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - see `share`

    found = []
    with exclusive(folder) as is_locked:
        if is_locked:
            sweep(folder)
        for path in folder.glob("gauge_livemostrecent_*.db"):
            # Without the lock, a file may vanish or have just been created.
            with nullcontext() if is_locked else suppress(OSError, ValueError, struct.error):
                for key, value, _, _ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
                    metric, _, labels, _ = json.loads(key)
                    if metric in names:
                        found.append((metric, labels, value))
    return found


@contextmanager
def exclusive(folder: Path) -> Iterator[bool]:
    """Lock the folder, so that no other process adds or removes files, except those of its own metrics.

    Yields whether it is locked. It is not if another process keeps the lock, which is held for milliseconds unless its
    holder was stopped: that must stop neither the health of the others nor their start.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock_within(descriptor, LOCKED_WITHIN)
    finally:
        os.close(descriptor)


def _lock_within(descriptor: int, seconds: float) -> bool:
    deadline = monotonic() + seconds
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if monotonic() > deadline:
            return False
        # flock has no timeout.
        sleep(LOOK)


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock of a file until it is closed or the process ends; None if the lock is taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    descriptor = try_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _take(folder: Path, name: str) -> bool:
    """Take this name, unless another process has it."""
    global _name, _lock
    lock = try_lock(folder / f"{name}.lock")
    if lock is None:
        return False
    _name, _lock = name, lock
    return True
