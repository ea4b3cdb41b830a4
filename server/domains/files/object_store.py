"""The store of bytes: a folder, or a bucket of S3. Keys are ours alone (object_keys.py): none has a name of a file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from server.domains.files.settings import FilesSettings
from server.kernel.problems import Unavailable

if TYPE_CHECKING:
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


class ObjectStore:
    """Stores bytes under keys. Every method may block, and raises Unavailable."""

    def __init__(self, settings: FilesSettings, data_dir: Path) -> None:
        self._settings = settings
        self._folder = data_dir / "files"

    def put(self, key: str, data: bytes | bytearray | IO[bytes]) -> None:
        """Store bytes; a file is read from its beginning. They are on disk when this returns."""
        import obstore  # noqa: PLC0415 - loads 20 MB of Rust, which few processes need

        if not isinstance(data, bytes | bytearray):
            data.seek(0)
        with _problems():
            obstore.put(self._store, key, data)
            if self._settings.files_bucket is None:
                self._flush(self._folder / key)

    def read(self, key: str, part: tuple[int, int] | None = None) -> Iterator[bytes]:
        """The bytes, or those from one place up to another, in pieces of a megabyte."""
        import obstore  # noqa: PLC0415

        with _problems():
            found = obstore.get(self._store, key, options={"range": part} if part else {})
            for piece in found.stream(PIECE_BYTES):
                yield bytes(piece)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove what is there of these keys."""
        import obstore  # noqa: PLC0415

        if keys:
            with _problems():
                obstore.delete(self._store, list(keys))

    def list(self, prefix: str) -> Iterator[list[StoredObject]]:
        """What is there under keys that begin so, some at a time."""
        import obstore  # noqa: PLC0415

        with _problems():
            for some in obstore.list(self._store, prefix, chunk_size=LISTED_AT_ONCE):
                yield [StoredObject(each["path"], each["last_modified"]) for each in some]

    @cached_property
    def _store(self) -> "LocalStore | S3Store":
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

    def _flush(self, path: Path) -> None:
        """Wait until a file and its name are on the disk, which the store itself does not."""
        for each in (path, path.parent):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


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
