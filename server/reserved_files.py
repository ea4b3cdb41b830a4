"""Files that processes map into memory, with their space reserved.

A file that was only made longer has no space yet: where the disk is full, a write to such a mapping ends the process by
SIGBUS. What is reserved here can always be written to.
"""

import os
from pathlib import Path

from server.faults import Fault


def reserve(descriptor: int, size: int) -> None:
    """Give a file this size, and all of its space. Raises OSError where the disk has none."""
    if os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    # macOS: what has been written has its space.
    held = os.fstat(descriptor).st_size
    os.pwrite(descriptor, bytes(size - held), held)


def open_reserved(path: Path, size: int) -> int:
    """A descriptor of a file of this size whose space is reserved; it is made when it is not there.

    Raises Fault, which names the folder, where that cannot be done.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Fault(f"{path} cannot be opened: {error.strerror}") from error
    try:
        reserve(descriptor, size)
    except OSError as error:
        os.close(descriptor)
        raise Fault(f"{path.parent} has no room for {path.name}, {size // 1024} KiB: {error.strerror}") from error
    return descriptor
