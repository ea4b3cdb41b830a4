"""Small file systems in memory that a test can fill. Mounting takes root; elsewhere such tests are skipped."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BALLAST = "ballast"
CHUNK = 64 * 1024


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator["Disk"]:
    """A file system of this size (`8m`) at a folder, which is made; it is gone after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {getattr(error, 'stderr', error)}")
    try:
        yield Disk(folder)
    finally:
        # Lazily: what is still open goes when it is closed.
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Disk:
    """One of them."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / BALLAST

    def fill(self) -> None:
        """Leave no room for anything, not even for a byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (CHUNK, 512, 1):
                with suppress(OSError):
                    while os.write(file.fileno(), b"\xff" * size):
                        pass

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)
