"""The files in a multipart/form-data body (RFC 7578), while the body arrives: its parts with a file name."""

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.kernel.problems import Malformed
from server.upload_limits import MOST_BESIDE_FILE

MULTIPART = "multipart/form-data"


class FilePart(NamedTuple):
    """The beginning of a file."""

    name: str
    """As its sender wrote it."""
    content_type: str
    """Likewise; empty if it has none."""


class FileParts:
    """Takes the bytes of a body, and gives the files in it. Other parts are dropped."""

    def __init__(self, content_type: str, most: int) -> None:
        """`most` is the number of files after which others are dropped. Raises Malformed without a boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Malformed("The content type multipart/form-data has no boundary.")
        self._most, self._count = most, 0
        self._headers: dict[str, bytes] = {}
        self._field, self._value = b"", b""
        self._found: list[FilePart | bytes] = []
        self._is_inside = self._is_over = False
        self._beside = 0
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise Malformed("The boundary of the body is not valid.") from error

    def feed(self, data: bytes) -> list[FilePart | bytes]:
        """What is in the next bytes of the body: beginnings of files, and bytes of the one that began last.

        Raises Malformed.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Malformed("The body is not multipart/form-data.") from error
        found, self._found = self._found, []
        self._beside += len(data) - sum(len(each) for each in found if isinstance(each, bytes))
        if self._beside > MOST_BESIDE_FILE:
            raise Malformed(f"The body has more than {MOST_BESIDE_FILE} bytes beside the file.", http_status=413)
        return found

    def finish(self) -> None:
        """Raise Malformed if the body is cut off, or has no file."""
        if not self._is_over:
            raise Malformed("The body is not whole.")
        if not self._count:
            raise Malformed("The body has no file: send a part with a file name.")

    def _begin(self) -> None:
        self._headers, self._field, self._value = {}, b"", b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value
        self._field, self._value = b"", b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition"))
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        if name and self._count < self._most:
            self._count += 1
            self._is_inside = True
            self._found.append(FilePart(name, self._headers.get("content-type", b"").decode("latin-1")))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_inside:
            self._found.append(data[start:end])

    def _end(self) -> None:
        self._is_inside = False

    def _on_end(self) -> None:
        self._is_over = True
