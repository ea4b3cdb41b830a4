"""Inflating the body of a request, up to a limit: a few bytes can hold gigabytes (a decompression bomb).

It is done here and not in the gateway, whose one thread would inflate before the caller is known, and whose libraries
limit a ratio instead of a size.
"""

import zlib
from collections.abc import Callable

import brotli
import zstandard

from server.kernel.problems import Malformed
from server.kernel.raw_bodies import too_large

# A stream of zstd names the memory that it needs. Browsers and RFC 9659 allow 8 MiB.
ZSTD_WINDOW = 8 * 1024 * 1024
# Bytes that brotli is asked for at a time.
STEP = 64 * 1024
GZIP = 16 + zlib.MAX_WBITS

Inflate = Callable[[bytes, int], bytes | None]
"""Takes a body and a limit. Returns at most limit + 1 bytes, which shows an excess; None for a body that is cut off."""


def inflate(encoding: str, body: bytes, most: int) -> bytes:
    """The body without its Content-Encoding. Raises Malformed if it is broken, or has more than `most` bytes inside."""
    try:
        inflated = ENCODINGS[encoding](body, most)
    except (zlib.error, brotli.error, zstandard.ZstdError):
        inflated = None
    if inflated is None:
        raise Malformed(f"The body is not whole, or not {encoding}.", metadata={"encoding": encoding})
    if len(inflated) > most:
        raise too_large(most)
    return inflated


def _zlib(body: bytes, most: int, window: int) -> bytes | None:
    stream = zlib.decompressobj(window)
    inflated = stream.decompress(body, most + 1)
    is_whole = stream.eof and not stream.unused_data
    return inflated if is_whole or len(inflated) > most else None


def _gzip(body: bytes, most: int) -> bytes | None:
    return _zlib(body, most, GZIP)


def _deflate(body: bytes, most: int) -> bytes | None:
    """RFC 9110 means the zlib format; some clients send bare deflate (RFC 1951)."""
    try:
        return _zlib(body, most, zlib.MAX_WBITS)
    except zlib.error:
        return _zlib(body, most, -zlib.MAX_WBITS)


def _brotli(body: bytes, most: int) -> bytes | None:
    stream, pieces, room = brotli.Decompressor(), [], most + 1
    while room > 0 and not stream.is_finished():
        piece = stream.process(body, output_buffer_limit=min(STEP, room))
        body = b""
        if not piece and not stream.is_finished() and stream.can_accept_more_data():
            return None
        pieces.append(piece)
        room -= len(piece)
    return b"".join(pieces)


def _zstd(body: bytes, most: int) -> bytes | None:
    reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).stream_reader(body)
    inflated = bytes(reader.read(most + 1))
    if len(inflated) > most:
        return inflated
    # The reader does not tell a body that is cut off. The other interface does, and has no limit, which is kept by now.
    stream = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
    inflated = stream.decompress(body)
    return inflated if stream.eof and not stream.unused_data else None


ENCODINGS: dict[str, Inflate] = {"gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}
"""By the name in Content-Encoding (RFC 9110, 7932, 8878)."""
