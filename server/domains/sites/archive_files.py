"""The files of archives: a ZIP file that is written the same each time, and read within limits."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from server.kernel.ports import WorkFile
from server.kernel.problems import RuleViolated, Violation, broken_rules

M = TypeVar("M", bound=Message)
SITE = "site.json"
MOST_BYTES = 256 * 1024 * 1024
MOST_ENTRIES = 30_000
MOST_JSON_BYTES = 16 * 1024 * 1024
MOST_JSON_LEVELS = 100
PIECE_BYTES = 1024 * 1024
# What a ZIP file can tell at the earliest: the same each time.
LONG_AGO = (1980, 1, 1, 0, 0, 0)
FOR_ALL_TO_READ = 0o644 << 16
UNIX = 3


def page_entry(slug: str) -> str:
    """Where a page is."""
    return f"pages/{slug}.json"


def asset_entry(sha256: str) -> str:
    """Where the bytes of an asset are."""
    return f"assets/{sha256}"


def as_json(message: Message) -> str:
    """A message as JSON, the same each time."""
    return json.dumps(json_format.MessageToDict(message), ensure_ascii=False, sort_keys=True, indent=1) + "\n"


class ArchiveWriter:
    """Writes an archive piece by piece."""

    def __init__(self, file: WorkFile) -> None:
        self._file = _Hashed(file)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)

    def add_text(self, name: str, text: str) -> None:
        """Add a text."""
        self._zip.writestr(_entry(name, zipfile.ZIP_DEFLATED), text.encode())

    def add(self, name: str, pieces: Iterator[bytes]) -> None:
        """Add bytes that are small already."""
        with self._zip.open(_entry(name, zipfile.ZIP_STORED), "w", force_zip64=False) as entry:
            for piece in pieces:
                entry.write(piece)

    def finish(self) -> bytes:
        """Store the file. Returns its hash."""
        self._zip.close()
        return self._file.finish()


class _Hashed:
    """What a ZIP file is written to."""

    def __init__(self, file: WorkFile) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._file.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """See `finish`."""

    def finish(self) -> bytes:
        digest = self._digest.digest()
        self._file.finish(digest)
        return digest


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, LONG_AGO)
    entry.compress_type, entry.create_system, entry.external_attr = compression, UNIX, FOR_ALL_TO_READ
    return entry


class ArchiveReader:
    """Reads an archive. Every method raises RuleViolated for what is broken, missing or too large."""

    def __init__(self, file: IO[bytes]) -> None:
        with _problems(""):
            self._zip = zipfile.ZipFile(file)
        entries = self._zip.infolist()
        if len(entries) > MOST_ENTRIES:
            raise _wrong("", f"has more than {MOST_ENTRIES:,} entries")
        if len({entry.filename for entry in entries}) < len(entries):
            raise _wrong("", "has two entries of one name")

    def message(self, name: str, message: M, *, edit: Callable[[str], str] = str) -> M:
        """A message that an entry holds as JSON, whose text is edited before."""
        pieces, size = [], 0
        for piece in self.pieces(name):
            size += len(piece)
            if size > MOST_JSON_BYTES:
                raise _wrong(name, f"has more than {MOST_JSON_BYTES:,} bytes")
            pieces.append(piece)
        try:
            text = edit(b"".join(pieces).decode())
            return json_format.Parse(text, message, max_recursion_depth=MOST_JSON_LEVELS)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise _wrong(name, f"is not what it should be: {error}"[:500]) from error

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of an entry."""
        with _problems(name), self._zip.open(name) as entry:
            while piece := entry.read(PIECE_BYTES):
                yield piece


@contextmanager
def _problems(name: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise _wrong(name, "is missing") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: it is encrypted.
        raise _wrong(name, f"cannot be read: {error}") from error


def _wrong(name: str, fault: str) -> RuleViolated:
    return broken_rules([Violation(name or "archive", fault, "site_archive")])
