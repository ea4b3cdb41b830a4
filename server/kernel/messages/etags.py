"""ETags (AIP-154, RFC 9110): weak, from the id and version of a row, so that they are cheap to make and compare.

The id is part of it because one address can show different resources over time (a page by its slug).
"""

ANY = "*"
ID_DIGITS = 8


def etag_of(resource_id: str, version: int) -> str:
    """The ETag of a row, as in headers and fields."""
    return f'W/"{resource_id[-ID_DIGITS:]}-{version:x}"'


def version_of(etag: str) -> int:
    """The version of the row in an ETag; 0 for the ETag of something without a version."""
    return int(_opaque(etag).rpartition("-")[2] or "0", 16)


def lists(header: str, etag: str) -> bool:
    """Whether an If-Match or If-None-Match header names this ETag (weak comparison: `W/` and quotes are ignored)."""
    opaque = _opaque(etag)
    return any(part in (ANY, opaque) for part in map(_opaque, header.split(",")))


def _opaque(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')
