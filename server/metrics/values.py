"""The files of prometheus_client's multiprocess mode, with their space reserved.

Measuring must not fail, and must not end the process, because a disk is full. Where no space can be reserved, a process
measures into memory of its own, and says so once: nobody else sees these metrics until it is started again.
"""

import logging
import mmap
import os
import tempfile
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from server.reserved_files import reserve

log = logging.getLogger("plinth.metrics")
# As large as prometheus_client makes them.
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
        """Make room for a value; the library would make the file longer without reserving anything."""
        try:
            self._grow(key)
        except OSError as error:
            log.warning("%s cannot grow, so new metrics stay unseen: %s", self._fname, error.strerror)
            self._move_to_memory()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self, key: str) -> None:
        # The entry, the padding of its key, and its numbers; a little more than it takes.
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
        """Go on in a file without a disk; what others read stays as it was."""
        held: bytes = self._m[:]
        self._f.close()
        self._f = os.fdopen(_memory(), "r+b")
        self._capacity = 2 * len(held)
        self._f.truncate(self._capacity)
        self._m = mmap.mmap(self._f.fileno(), self._capacity)
        self._m[: len(held)] = held


def _is_reserved(path: Path) -> bool:
    """Reserve the space of a file; whether it has it."""
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
    """A file that takes no space of the full disk: in memory on Linux, else in the system's temporary folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("metrics")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
