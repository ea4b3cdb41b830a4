"""The files of prometheus_client's multiprocess mode, with their disk space reserved.

A full disk must neither make measuring fail nor end the process. If no space can be reserved, a process measures in its
own memory and logs that once; its metrics then are not exposed until it is restarted.
"""

import logging
import mmap
import os
import tempfile
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from server.reserved_files import reserve

log = logging.getLogger("plinth.metrics")
# The same size as in prometheus_client.
FIRST_SIZE = 1 << 16


class ReservedValues(MmapedDict):
    """One such file."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        if read_mode or _is_reserved(Path(filename)):
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
            return
        descriptor = _memory()
        super().__init__(f"/dev/fd/{descriptor}")  # type: ignore[no-untyped-call]
        os.close(descriptor)

    def _init_value(self, key: str) -> None:
        """Make room for a value. The library would extend the file without reserving space."""
        try:
            self._grow(key)
        except OSError as error:
            log.warning("%s cannot grow, so new metrics stay unseen: %s", self._fname, error.strerror)
            self._move_to_memory()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self, key: str) -> None:
        # The entry, the padding of its key, and its numbers, rounded up.
        needed = self._used + len(key.encode()) + 64
        if needed <= self._capacity:
            return
        capacity = self._capacity
        while capacity < needed:
            capacity *= 2
        reserve(self._f.fileno(), capacity)
        self._capacity = capacity
        self._m = mmap.mmap(self._f.fileno(), capacity)

    def _move_to_memory(self) -> None:
        """Continue in a file without a disk. The file that others read stays unchanged."""
        held: bytes = self._m[:]
        self._f.close()
        self._f = os.fdopen(_memory(), "r+b")
        self._capacity = 2 * len(held)
        self._f.truncate(self._capacity)
        self._m = mmap.mmap(self._f.fileno(), self._capacity)
        self._m[: len(held)] = held


def _is_reserved(path: Path) -> bool:
    """Reserve the space of a file. Returns whether that succeeded."""
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        reserve(descriptor, max(FIRST_SIZE, os.fstat(descriptor).st_size))
    except OSError as error:
        log.warning("%s has no room for metrics, so these stay unseen: %s", path.parent, error.strerror)
        if descriptor >= 0:
            path.unlink(missing_ok=True)
        return False
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return True


def _memory() -> int:
    """A file that takes no space on the full disk: in memory on Linux, else in the system's temporary folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("metrics")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
