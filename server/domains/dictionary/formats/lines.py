"""Files that may be large, whose beginning is seen before they are read, line by line or piece by piece."""

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from server.domains.dictionary.formats.found import MOST_BYTES

HEAD_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class Source:
    """A file in UTF-8, without the byte order mark."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.head = without_mark(_beginning(file))
        """What it begins with: up to 64 KB."""
        self._unread = io.BytesIO(self.head)

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        return self._unread.read(size) or self._file.read(size)

    def readline(self, size: int) -> bytes:
        """The rest of the line, at most `size` bytes of it; none at the end."""
        line = self._unread.readline(size)
        if len(line) == size or line.endswith(b"\n"):
            return line
        return line + self._file.readline(size - len(line))


class Line(NamedTuple):
    """A line of a file."""

    number: int
    text: str
    """With its end. Only the end, if the line is too long."""
    fault: str
    """Why it is not to be read. Empty otherwise."""


def without_mark(head: bytes) -> bytes:
    """The beginning of a file, without the byte order mark."""
    return head.removeprefix(_BOM)


def lines_of(source: Source) -> Iterator[Line]:
    """The lines of a file, numbered from 1."""
    number = 0
    while line := source.readline(MOST_BYTES + 1):
        number += 1
        if len(line) > MOST_BYTES:
            _pass_over(source, line)
            yield Line(number, "\n", f"the line must have at most {MOST_BYTES:,} bytes")
        else:
            yield _decoded(number, line)


def _beginning(file: BinaryIO) -> bytes:
    pieces, left = [], HEAD_BYTES
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _pass_over(source: Source, line: bytes) -> None:
    """Read to the end of a line."""
    while line and not line.endswith(b"\n"):
        line = source.readline(MOST_BYTES)


def _decoded(number: int, line: bytes) -> Line:
    try:
        return Line(number, line.decode(), "")
    except UnicodeDecodeError:
        # What else is in the line still counts: a row of a CSV file may end in it.
        return Line(number, line.decode(errors="replace"), "the line must be UTF-8")
