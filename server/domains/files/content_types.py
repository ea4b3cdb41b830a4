"""What a file is, by its bytes: a name or a header says only what its sender wants it to be."""

import re
from pathlib import PurePosixPath

HEAD_BYTES = 8192
"""How much of a file is looked at."""
UNKNOWN = "application/octet-stream"
IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"))
"""The images that are read and written anew."""
PDF = "application/pdf"
SHOWN = IMAGES | {PDF}
"""What browsers may show. Everything else is for saving."""
TEXTS = {".csv": "text/csv", ".json": "application/json", ".md": "text/markdown", ".vtt": "text/vtt"}
"""Texts have no mark of their own, so that the end of the name tells which they are. None of them runs anywhere."""
MARKUP = re.compile(rb"<\s*(?:!doctype\s+html|html|head|body|script|iframe|svg|\?xml)\b|<\?xml\b", re.IGNORECASE)
SVG = re.compile(rb"<\s*svg\b", re.IGNORECASE)


def type_of(head: bytes, name: str) -> str:
    """The type of a file whose first bytes these are."""
    if head.startswith(b"%PDF-"):
        return PDF
    if MARKUP.search(head) and _is_text(head):
        return "image/svg+xml" if SVG.search(head) else "text/html"
    found = _by_its_mark(head)
    if found and not found.startswith("text/"):
        return found
    if not _is_text(head):
        return UNKNOWN
    return TEXTS.get(PurePosixPath(name.lower()).suffix, "text/plain")


def _by_its_mark(head: bytes) -> str:
    import puremagic  # noqa: PLC0415 - reads a table of all marks

    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return ""
    # puremagic lists the best match first. Only `%PDF-` at the very beginning makes a file a PDF.
    kind = found[0].mime_type.lower() if found else ""
    return "" if kind == PDF else kind


def _is_text(head: bytes) -> bool:
    """Whether these bytes are UTF-8 without control characters. The last character may be cut."""
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and len(head) >= HEAD_BYTES
    return True
