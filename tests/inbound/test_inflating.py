"""Inflating: every encoding gives back what was encoded, and none more than it may."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from server.kernel.inbound.inflating import inflate
from server.kernel.problems import Malformed

MOST = 1_000_000
BOMB = 10_000_000


def bare(data: bytes) -> bytes:
    """Deflate without the zlib format around it."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


DEFLATORS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
]
every = pytest.mark.parametrize(("encoding", "deflate"), DEFLATORS)


@every
@given(data=st.binary(max_size=2_000), times=st.integers(0, 200))
def test_what_was_deflated_comes_back(
    encoding: str, deflate: Callable[[bytes], bytes], data: bytes, times: int
) -> None:
    assert inflate(encoding, deflate(data * times), MOST) == data * times


@every
@given(size=st.integers(0, 300_000), most=st.integers(0, 300_000))
def test_the_limit_is_exact(encoding: str, deflate: Callable[[bytes], bytes], size: int, most: int) -> None:
    body = deflate(b"\0" * size)
    if size <= most:
        assert len(inflate(encoding, body, most)) == size
        return
    with pytest.raises(Malformed) as refused:
        inflate(encoding, body, most)
    assert (refused.value.http_status, refused.value.reason_name) == (413, "TOO_LARGE")


@every
def test_a_bomb_takes_no_memory(encoding: str, deflate: Callable[[bytes], bytes]) -> None:
    body = deflate(b"\0" * BOMB)
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            inflate(encoding, body, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@every
@given(data=st.binary(min_size=1, max_size=2_000), cut=st.integers(0, 1_000_000))
def test_a_body_that_is_cut_off_is_refused(
    encoding: str, deflate: Callable[[bytes], bytes], data: bytes, cut: int
) -> None:
    whole = deflate(data)
    with pytest.raises(Malformed) as refused:
        inflate(encoding, whole[: cut % len(whole)], MOST)
    assert refused.value.http_status == 400


@every
@given(data=st.binary(min_size=1, max_size=200))
def test_so_is_one_with_something_behind_it(encoding: str, deflate: Callable[[bytes], bytes], data: bytes) -> None:
    with pytest.raises(Malformed):
        inflate(encoding, deflate(data) + b"x", MOST)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
@given(data=st.binary(max_size=500))
def test_whatever_is_sent_is_inflated_or_refused(encoding: str, data: bytes) -> None:
    try:
        inflated = inflate(encoding, data, 10_000)
    except Malformed:
        return
    assert len(inflated) <= 10_000
