"""Files as the messages of an upload: the fields and the first bytes, and then the other bytes in pieces."""

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, Generic

from google.api.httpbody_pb2 import HttpBody
from plinth.client.rpc import Req

# Small enough to tell of progress often, and large enough that a message costs little.
PIECE_BYTES = 256 * 1024
Sent = Callable[[int, int | None], None]
"""Is told after each piece how many bytes were sent, and how many there are; None where the file does not say."""


class Pieces(Generic[Req]):
    """What is sent of a file."""

    def __init__(self, request: Req, file: BinaryIO, content_type: str, sent: Sent | None) -> None:
        """`request` has the fields beside the file. The file is read from where it stands, and not closed.

        Raises ValueError for a request that takes no file.
        """
        self._request = request
        self._file = file
        self._content_type = content_type
        self._sent = sent
        self._field = _field_of(request)
        self._count = 0
        self._total = _size_of(file)

    def messages(self) -> Iterator[Req]:
        """The messages. The next piece is read when there is room for it."""
        message = self._first()
        while True:
            piece = self._file.read(PIECE_BYTES)
            if not piece and self._count:
                return
            yield self._with(message, piece)
            # It was taken, since the next one is asked for.
            self._count += len(piece)
            if self._sent is not None:
                self._sent(self._count, self._total)
            if not piece:
                return
            message = type(self._request)()

    def _first(self) -> Req:
        message = type(self._request)()
        message.CopyFrom(self._request)
        getattr(message, self._field).content_type = self._content_type
        return message

    def _with(self, message: Req, piece: bytes) -> Req:
        getattr(message, self._field).data = piece
        return message


def _field_of(request: Req) -> str:
    """The field with the file."""
    for field in request.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.full_name == HttpBody.DESCRIPTOR.full_name:
            return str(field.name)
    raise ValueError(f"{request.DESCRIPTOR.name} takes no file")


def _size_of(file: BinaryIO) -> int | None:
    """Bytes from where the file stands to its end; None for a pipe."""
    try:
        place = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(place)
    except (OSError, ValueError):
        return None
    return end - place
