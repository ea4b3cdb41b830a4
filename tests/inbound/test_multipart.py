"""The file in a form: found whatever the pieces are in which the form arrives."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.kernel.problems import Malformed
from server.kernel.transfers.multipart import FilePart, FileParts
from server.upload_limits import MOST_BESIDE_FILE

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
KINDS = st.sampled_from(["image/png", "text/plain; charset=utf-8", "application/octet-stream"])


def form(files: list[tuple[str, bytes, str]], fields: dict[str, str]) -> tuple[str, bytes]:
    """A form as a client writes it: its content type and its bytes."""
    request = httpx.Request("POST", "http://x/", data=fields, files=[("file", each) for each in files])
    return request.headers["content-type"], request.read()


def taken(content_type: str, body: bytes, size: int, most: int = 1) -> tuple[FileParts, list[tuple[FilePart, bytes]]]:
    parts = FileParts(content_type, most)
    found: list[tuple[FilePart, bytes]] = []
    for start in range(0, len(body), size):
        for each in parts.feed(body[start : start + size]):
            if isinstance(each, FilePart):
                found.append((each, b""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + each)
    return parts, found


@given(
    files=st.lists(st.tuples(NAMES, st.binary(max_size=300), KINDS), min_size=1, max_size=3),
    fields=st.dictionaries(st.text("abc", min_size=1), st.text(max_size=20), max_size=3),
    size=st.integers(1, 400),
    most=st.integers(1, 4),
)
def test_files_are_found(files: list[tuple[str, bytes, str]], fields: dict[str, str], size: int, most: int) -> None:
    parts, found = taken(*form(files, fields), size, most)
    parts.finish()
    assert len(found) == min(most, len(files))
    for (name, content, kind), (part, taken_content) in zip(files, found, strict=False):
        assert (taken_content, part.content_type) == (content, kind)
        # Clients write quotes and backslashes in ways of their own.
        assert part.name == name or {'"', "\\"} & set(name)


@given(content=st.binary(min_size=1, max_size=300), cut=st.integers(1, 100), size=st.integers(1, 400))
def test_a_form_that_is_cut_off_is_refused(content: bytes, cut: int, size: int) -> None:
    content_type, body = form([("a", content, "image/png")], {})
    # The last line ends after the boundary.
    part, _ = taken(content_type, body[: -2 - cut], size)
    with pytest.raises(Malformed):
        part.finish()


@given(body=st.binary(max_size=300) | st.lists(st.sampled_from([b"--b", b"\r\n", b"--", b"x", b":"])).map(b"".join))
def test_whatever_is_sent_is_read_or_refused(body: bytes) -> None:
    parts = FileParts("multipart/form-data; boundary=b", 1)
    try:
        found = parts.feed(body)
        parts.finish()
    except Malformed:
        return
    assert b"".join(each for each in found if isinstance(each, bytes)) in body


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", f"x/y; boundary={'b' * 300}"]
)
def test_a_content_type_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(Malformed):
        FileParts(content_type, 1)


def test_a_form_without_a_file_and_one_with_much_beside_it_are_refused() -> None:
    content_type, body = form([("a", b"x", "image/png")], {"before": "y" * MOST_BESIDE_FILE})
    with pytest.raises(Malformed) as refused:
        taken(content_type, body, 1000)
    assert refused.value.http_status == 413
    part, _ = taken(
        "multipart/form-data; boundary=b", b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n', 7
    )
    with pytest.raises(Malformed, match="no file"):
        part.finish()
