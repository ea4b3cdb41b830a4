"""Files that processes map into memory, with their disk space reserved.

A file that was only extended has no space yet: on a full disk, a write to its mapping ends the process with SIGBUS. A
file that is reserved here can always be written to.
"""

import os
from pathlib import Path

from server.faults import Fault


def reserve(descriptor: int, size: int) -> None:
    """Set the size of a file, and reserve all of its space. Raises OSError if the disk has no room."""
    if os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    # macOS: space is reserved by writing.
    held = os.fstat(descriptor).st_size
    os.pwrite(descriptor, bytes(size - held), held)


def open_reserved(path: Path, size: int) -> int:
    """A descriptor of a file of this size with its space reserved. The file is created if it is absent.

    Raises Fault, which names the folder, if that is not possible.
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
