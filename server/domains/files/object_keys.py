"""Keys of the store: they tell whose bytes are there, and of which row."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

BLOBS, UPLOADS, WORK = "blobs", "uploads", "work"
ORIGINAL = 0
"""In place of the edge of a copy: the file itself."""


def blob_key(tenant_id: str, blob_id: str, copy: int = ORIGINAL) -> str:
    """That of a file, or of the copy of an image with this longest edge."""
    return f"{BLOBS}/{tenant_id}/{blob_id}/{copy or 'original'}"


def blob_keys(tenant_id: str, blob_id: str, copies: Iterable[int]) -> list[str]:
    """Those of a file and of its copies."""
    return [blob_key(tenant_id, blob_id, copy) for copy in (ORIGINAL, *copies)]


def part_key(tenant_id: str, upload_id: str, part_id: str) -> str:
    """That of a piece of an upload."""
    return f"{UPLOADS}/{tenant_id}/{upload_id}/{part_id}"


def work_key(tenant_id: str, file_id: str) -> str:
    """That of a file which an operation takes or makes."""
    return f"{WORK}/{tenant_id}/{file_id}/file"


class Named(NamedTuple):
    """The row that a key names."""

    tenant_id: str
    id: str


def named_by(key: str) -> Named | None:
    """The row that a key names; None for a key that is none of ours."""
    parts: Sequence[str] = key.split("/")
    return Named(parts[1], parts[2]) if len(parts) == len(("kind", "tenant", "row", "object")) else None
