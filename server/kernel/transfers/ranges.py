"""Ranges of bytes, as a client asks for them (RFC 9110, section 14)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from server.kernel.problems import Malformed, Reason

ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


class ByteRange(NamedTuple):
    """A part of a file: from `start` up to but without `end`."""

    start: int
    end: int


def asked_range(headers: Mapping[str, str], size: int, etag: str) -> ByteRange | None:
    """The part of a file that is asked for; None for the whole file.

    Several ranges, other units and forms that are no range are passed over, as the RFC allows, and so is a range of
    another version (`If-Range`). Raises Malformed with 416 for a range that has no byte of the file.
    """
    found = ONE_RANGE.fullmatch(headers.get("range", ""))
    if found is None or headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    if first:
        part = ByteRange(int(first), min(int(last) + 1, size) if last else size)
    else:
        part = ByteRange(max(0, size - int(last)), size)
    if part.start >= part.end:
        raise _not_satisfiable(size)
    return part


def _not_satisfiable(size: int) -> Malformed:
    return Malformed(
        f"The file has {size} bytes, and none of them is in this range.",
        reason=Reason.REASON_RANGE_NOT_SATISFIABLE,
        http_status=416,
        metadata={"size": str(size)},
    )
