"""Ranges of bytes: what is sent is what was asked for, or the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.kernel.problems import Malformed
from server.kernel.transfers.downloads import disposition
from server.kernel.transfers.ranges import ByteRange, asked_range

ETAG = '"v1"'
NOT_SATISFIABLE = 416
SIZES = st.integers(1, 1_000)


def asked(text: str, size: int) -> ByteRange | str | None:
    try:
        return asked_range({"range": text}, size, ETAG)
    except Malformed as refused:
        return "none" if refused.http_status == NOT_SATISFIABLE else str(refused)


@given(size=SIZES, first=st.integers(0, 2_000), length=st.integers(1, 2_000))
def test_a_range_ends_with_the_file(size: int, first: int, length: int) -> None:
    found = asked(f"bytes={first}-{first + length - 1}", size)
    assert found == (ByteRange(first, min(size, first + length)) if first < size else "none")
    assert asked(f"bytes={first}-", size) == (ByteRange(first, size) if first < size else "none")


@given(size=SIZES, last=st.integers(0, 2_000))
def test_the_last_bytes_are_at_most_all(size: int, last: int) -> None:
    assert asked(f"bytes=-{last}", size) == (ByteRange(max(0, size - last), size) if last else "none")


@given(size=SIZES, text=st.text("bytes=0123456789-, ", max_size=20) | st.text(max_size=20))
def test_whatever_is_asked_for_is_in_the_file(size: int, text: str) -> None:
    found = asked(text, size)
    assert found in (None, "none") or (isinstance(found, ByteRange) and 0 <= found.start < found.end <= size)


@pytest.mark.parametrize("text", ["bytes=5-2", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "bytes=1-2x", ""])
def test_what_is_no_single_range_is_passed_over(text: str) -> None:
    assert asked(text, 100) is None


def test_a_range_of_another_version_is_passed_over() -> None:
    wanted = {"range": "bytes=0-1"}
    assert asked_range(wanted | {"if-range": ETAG}, 9, ETAG) == ByteRange(0, 2)
    assert asked_range(wanted | {"if-range": '"v0"'}, 9, ETAG) is None
    assert asked_range(wanted | {"if-range": "Wed, 21 Oct 2026 07:28:00 GMT"}, 9, ETAG) is None


@given(st.text(min_size=1, max_size=60))
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    told = disposition(name, inline=False)
    assert told.isascii()
    assert told.isprintable()
    quoted = told.removeprefix('attachment; filename="').partition('"')[0]
    assert "\\" not in quoted
    assert told.count('"') == 2
