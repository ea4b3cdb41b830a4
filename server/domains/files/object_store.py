"""The store of bytes: a folder, or a bucket of S3. Keys are ours alone (object_keys.py): none has a name of a file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from server.domains.files.settings import FilesSettings
from server.kernel.problems import Unavailable

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import LocalStore, S3Store

NAME = "file storage"
"""What callers are told is away."""
PIECE_BYTES = 1024 * 1024
LISTED_AT_ONCE = 500
TIMEOUT, CONNECT_TIMEOUT, RETRY_TIMEOUT = timedelta(seconds=30), timedelta(seconds=5), timedelta(seconds=60)
MOST_RETRIES = 3


class StoredObject(NamedTuple):
    """What the store has under a key."""

    key: str
    modify_time: datetime


class ObjectWriter(Protocol):
    """Takes the bytes of one object. Every method may block, and raises Unavailable."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """All bytes are there. They are on disk when this returns; before, nothing has the key."""

    def abort(self) -> None:
        """Leave nothing. After `finish` this does nothing."""


class ObjectStore:
    """Stores bytes under keys. Every method may block, and raises Unavailable."""

    def __init__(self, settings: FilesSettings, data_dir: Path) -> None:
        self._settings = settings
        self._folder = data_dir / "files"

    def writer(self, key: str) -> ObjectWriter:
        """Begins to store bytes that come in pieces."""
        return _InFolder(self, key) if self._settings.files_bucket is None else _InBucket(self, key)

    def put(self, key: str, data: bytes | bytearray | IO[bytes]) -> None:
        """Store bytes; a file is read from where it is. They are on disk when this returns."""
        import obstore  # noqa: PLC0415 - loads 20 MB of Rust, which few processes need

        with _problems():
            obstore.put(self.store, key, data)
            if self._settings.files_bucket is None:
                self.flush(key)

    def read(self, key: str, part: tuple[int, int] | None = None) -> Iterator[bytes]:
        """The bytes, or those from one place up to another, in pieces of a megabyte."""
        import obstore  # noqa: PLC0415

        with _problems():
            found = obstore.get(self.store, key, options={"range": part} if part else {})
            for piece in found.stream(PIECE_BYTES):
                yield bytes(piece)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove what is there of these keys."""
        import obstore  # noqa: PLC0415

        if self._settings.files_bucket is not None and keys:
            with _problems():
                obstore.delete(self.store, list(keys))
            return
        for key in keys:
            # A folder, other than S3, takes offence at what is absent.
            with _problems(), suppress(FileNotFoundError):
                obstore.delete(self.store, key)

    def list(self, prefix: str) -> Iterator[list[StoredObject]]:
        """What is there under keys that begin so, some at a time."""
        import obstore  # noqa: PLC0415

        with _problems():
            for some in obstore.list(self.store, prefix, chunk_size=LISTED_AT_ONCE):
                yield [StoredObject(each["path"], each["last_modified"]) for each in some]

    @cached_property
    def store(self) -> "LocalStore | S3Store":
        """Made when it is first used: its threads do not survive a fork."""
        from obstore.store import LocalStore, S3Store  # noqa: PLC0415

        given = self._settings
        if given.files_bucket is None:
            return LocalStore(self._folder.absolute(), automatic_cleanup=True, mkdir=True)
        bucket = urlsplit(given.files_bucket)
        endpoint = given.files_s3_endpoint
        secret = given.files_s3_secret_key
        return S3Store(
            bucket.netloc,
            prefix=bucket.path.strip("/") or None,
            config={
                "region": given.files_s3_region,
                **({"endpoint": endpoint} if endpoint else {}),
                **({"access_key_id": given.files_s3_access_key} if given.files_s3_access_key else {}),
                **({"secret_access_key": secret.get_secret_value()} if secret else {}),
            },
            client_options={
                "timeout": TIMEOUT,
                "connect_timeout": CONNECT_TIMEOUT,
                # Only on loopback, as the setting says.
                "allow_http": bool(endpoint and endpoint.startswith("http:")),
            },
            retry_config={"max_retries": MOST_RETRIES, "retry_timeout": RETRY_TIMEOUT},
        )

    def flush(self, key: str) -> None:
        """Wait until a file of the folder and its name are on the disk, which the store itself does not."""
        path = self._folder / key
        for each in (path, path.parent):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class _InFolder:
    """Writes a file, which gets its name at the end. A third of the CPU that a file without a name and `put` take."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        import obstore  # noqa: PLC0415

        self._store, self._key = store, key
        with _problems():
            self._writer: WritableFile | None = obstore.open_writer(store.store, key, buffer_size=PIECE_BYTES)

    def write(self, data: bytes) -> None:
        with _problems():
            if self._writer is not None:
                self._writer.write(data)

    def finish(self) -> None:
        with _problems():
            if self._writer is not None:
                self._writer.close()
            self._store.flush(self._key)
        self._writer = None

    def abort(self) -> None:
        # What has no name yet goes with its writer.
        self._writer = None


class _InBucket:
    """Holds the bytes in a file without a name, so that none reach the bucket of what is refused at its end.

    A writer of the store that is given up leaves parts of a multipart upload, which nobody sees and somebody pays.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key = store, key
        self._file = TemporaryFile()  # noqa: SIM115 - closed when it is stored, or given up

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self) -> None:
        with self._file:
            self._file.seek(0)
            self._store.put(self._key, self._file)

    def abort(self) -> None:
        self._file.close()


@contextmanager
def _problems() -> Iterator[None]:
    """Raise Unavailable for what the store could not do. That bytes are gone which a row names is a fault of ours."""
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise Unavailable(NAME) from error
