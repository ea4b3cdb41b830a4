"""The bytes of one file on their way into the store: looked at, limited, cleaned, and only then stored."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from server.domains.files.content_types import HEAD_BYTES, IMAGES, PDF, type_of
from server.domains.files.images import clean_image
from server.domains.files.object_keys import blob_key, blob_keys
from server.domains.files.object_store import ObjectStore, ObjectWriter
from server.domains.files.settings import FilesSettings
from server.kernel.ids import new_id
from server.kernel.problems import RuleViolated, Violation, broken_rules
from server.kernel.raw_bodies import too_large, unsupported

TAIL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What was stored of a file."""

    blob_id: str
    content_type: str
    size: int
    digest: str
    """SHA-256 in hexadecimal digits."""
    width: int = 0
    height: int = 0
    copies: tuple[int, ...] = ()
    """Longest edges of the copies of an image, the smallest first."""
    copy_sizes: tuple[int, ...] = ()
    """Their bytes."""

    @property
    def stored_bytes(self) -> int:
        """With the copies."""
        return self.size + sum(self.copy_sizes)


class Content:
    """Takes the bytes of a file. Images are held in memory, as they are small; other files go on to the store."""

    def __init__(
        self,
        store: ObjectStore,
        settings: FilesSettings,
        tenant_id: str,
        name: str,
        *,
        kinds: frozenset[str] | None = None,
        is_sealed: Callable[[str, str], bool] = lambda _kind, _sha256: False,
    ) -> None:
        """`kinds` are the types that are taken; by default those of the settings.

        `is_sealed` takes a type and a hash: whether such bytes are known to be clean.
        """
        self._store, self._settings, self._tenant_id, self._name = store, settings, tenant_id, name
        self._kinds = frozenset(settings.files_content_types) if kinds is None else kinds
        self._is_sealed = is_sealed
        self._blob_id = new_id()
        self._head = bytearray()
        self._size = 0
        self._kind = ""
        self._image: bytearray | None = None
        self._file: ObjectWriter | None = None
        self._tail = b""
        self._keys: list[str] = []

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises Malformed if there are too many, or they are of a type that is not taken."""
        self._size += len(data)
        if self._kind:
            self._pass_on(data)
            return
        self._head += data
        if len(self._head) >= HEAD_BYTES:
            self._pass_on(self._begin())

    def store(self, sha256: bytes) -> StoredContent:
        """All bytes are there, and this is their hash: store them. Raises Malformed and RuleViolated."""
        if not self._size:
            raise _wrong("is empty")
        if not self._kind:
            self._pass_on(self._begin())
        return self._store_file(sha256) if self._image is None else self._store_image(self._image, sha256)

    def abort(self) -> None:
        """Leave nothing."""
        if self._file is not None:
            self._file.abort()
        self._store.delete(self._keys)

    def _begin(self) -> bytes:
        """Decide what it is. Returns what has come so far."""
        head = bytes(self._head)
        self._head.clear()
        self._kind = type_of(head[:HEAD_BYTES], self._name)
        if self._kind not in self._kinds:
            raise unsupported(f"This is {self._kind}. Files may be {', '.join(sorted(self._kinds))}.")
        if self._kind in IMAGES:
            self._image = bytearray()
        else:
            self._keys = [blob_key(self._tenant_id, self._blob_id)]
            self._file = self._store.writer(self._keys[0])
        return head

    def _pass_on(self, data: bytes) -> None:
        most = self._settings.files_max_bytes if self._image is None else self._settings.files_max_image_bytes
        if self._size > most:
            raise too_large(most)
        if self._image is not None:
            self._image += data
        elif self._file is not None:
            self._file.write(data)
            # Without the rest of what may be a megabyte.
            self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def _store_file(self, sha256: bytes) -> StoredContent:
        if self._kind == PDF and b"%%EOF" not in self._tail:
            raise _wrong("is a PDF that is cut off")
        if self._file is None:
            raise LookupError("no byte has come")
        self._file.finish()
        return StoredContent(self._blob_id, self._kind, self._size, sha256.hex())

    def _store_image(self, data: bytearray, sha256: bytes) -> StoredContent:
        is_clean = self._is_sealed(self._kind, sha256.hex())
        image = clean_image(data, self._kind, self._settings.files_max_image_pixels, is_clean=is_clean)
        self._image = None
        # Before the first one is stored, so that an abort removes what is there of them.
        self._keys = blob_keys(self._tenant_id, self._blob_id, image.copies)
        for key, each in zip(self._keys, (image.data, *image.copies.values()), strict=True):
            self._store.put(key, each)
        return StoredContent(
            self._blob_id,
            self._kind,
            len(image.data),
            hashlib.sha256(image.data).hexdigest(),
            image.width,
            image.height,
            tuple(image.copies),
            tuple(len(each) for each in image.copies.values()),
        )


def _wrong(fault: str) -> RuleViolated:
    return broken_rules([Violation("content", fault, "asset.content")])
