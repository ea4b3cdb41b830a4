"""The file in a multipart/form-data body (RFC 7578), while the body arrives: its first part with a file name."""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.kernel.problems import Malformed
from server.upload_limits import MOST_BESIDE_FILE

MULTIPART = "multipart/form-data"


class FilePart:
    """Takes the bytes of a body, and gives those of the file in it. Parts before and after it are dropped."""

    def __init__(self, content_type: str) -> None:
        """Raises Malformed for a content type without a boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Malformed("The content type multipart/form-data has no boundary.")
        self.content_type = ""
        """That of the file; empty if it has none."""
        self.name = ""
        """The name of the file, as its sender wrote it. Empty until its part begins."""
        self._headers: dict[str, bytes] = {}
        self._field, self._value = b"", b""
        self._pieces: list[bytes] = []
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

    def feed(self, data: bytes) -> bytes:
        """The bytes of the file that are in the next bytes of the body. Raises Malformed."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Malformed("The body is not multipart/form-data.") from error
        found, self._pieces = b"".join(self._pieces), []
        self._beside += len(data) - len(found)
        if self._beside > MOST_BESIDE_FILE:
            raise Malformed(f"The body has more than {MOST_BESIDE_FILE} bytes beside the file.", http_status=413)
        return found

    def finish(self) -> None:
        """Raise Malformed if the body is cut off, or has no file."""
        if not self._is_over:
            raise Malformed("The body is not whole.")
        if not self.name:
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
        if name and not self.name:
            self.name, self._is_inside = name, True
            self.content_type = self._headers.get("content-type", b"").decode("latin-1")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_inside:
            self._pieces.append(data[start:end])

    def _end(self) -> None:
        self._is_inside = False

    def _on_end(self) -> None:
        self._is_over = True
