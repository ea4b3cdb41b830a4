"""Files that want to be something else, or more than they are: refused or cleaned, and nothing half stored."""

import os
import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from server.domains.files.content_types import type_of
from server.domains.files.images import clean_image
from server.kernel.problems import RuleViolated
from tests.clients import Tenant, problem, reason
from tests.domains.files.samples import PDF, content, image, upload, uploaded
from tests.domains.files.test_uploads import objects, usage

SCRIPT = b"<script>alert(document.domain)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
FEW_PIXELS = 1_000_000


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, lines: int = 0) -> bytes:
    """A small file that says that it is a large image."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * (lines * (width * 3 + 1)), 9))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG whose comment inflates to 100 MB."""
    whole = image(size=(4, 4))
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 100_000_000, 9))
    return whole[:33] + bomb + whole[33:]


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "30,000 x 30,000 pixels": (png_of(30_000, 30_000, lines=100), 422, "RULE_VIOLATED"),
    "a comment that inflates": (text_bomb(), 422, "RULE_VIOLATED"),
    "an image that is cut off": (image("JPEG", (900, 900))[:-2000], 422, "RULE_VIOLATED"),
    "an image of noise": (b"\x89PNG\r\n\x1a\n" + os.urandom(2000), 422, "RULE_VIOLATED"),
    "a PDF that is cut off": (PDF[:-6], 422, "RULE_VIOLATED"),
    "a PDF behind something else": (b"MZ" + PDF, 415, "CONTENT_TYPE_UNSUPPORTED"),
    "SVG with a script": (SVG, 415, "CONTENT_TYPE_UNSUPPORTED"),
    "SVG behind a comment": (b"\xef\xbb\xbf<!-- " + b"x" * 500 + b" -->" + SVG, 415, "CONTENT_TYPE_UNSUPPORTED"),
    "HTML": (b"<!doctype html>" + SCRIPT, 415, "CONTENT_TYPE_UNSUPPORTED"),
    "text": (b"just some text", 415, "CONTENT_TYPE_UNSUPPORTED"),
    "a zip archive": (b"PK\x03\x04" + b"\0" * 4000, 415, "CONTENT_TYPE_UNSUPPORTED"),
    "a program": (b"MZ" + os.urandom(4000), 415, "CONTENT_TYPE_UNSUPPORTED"),
    "nothing": (b"", 422, "RULE_VIOLATED"),
    "an image of a format that is not taken": (image("BMP", (10, 10)), 415, "CONTENT_TYPE_UNSUPPORTED"),
    "6 MB of an image": (b"\xff\xd8\xff\xe0" + b"\0\x10JFIF\0" + os.urandom(6_000_000), 413, "TOO_LARGE"),
    "21 MB of a PDF": (b"%PDF-1.7\n" + b"\0" * 21_000_000 + b"%%EOF", 413, "TOO_LARGE"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_hostile_is_refused_and_leaves_nothing(tenant: Tenant, what: str) -> None:
    data, status, why = HOSTILE[what]
    answer = upload(tenant, data, "a.png")
    assert reason(answer) == (status, why), answer.text
    tenant.stack.wait_for(lambda: objects(tenant.stack, tenant) == [])
    assert usage(tenant)["assetCount"] == 0
    assert tenant.rest.get(f"{tenant.path}/assets").json()["assets"] == []


def test_a_file_that_is_also_a_page_is_only_an_image_afterwards(tenant: Tenant) -> None:
    commented = PngImagePlugin.PngInfo()
    commented.add_text("Comment", SCRIPT.decode())
    polyglots = [
        image("PNG", pnginfo=commented) + SCRIPT,
        image("JPEG", comment=SCRIPT) + b"PK\x03\x04" + PDF,
        image("GIF", comment=SCRIPT) + SCRIPT,
        image("WEBP", exif=b"Exif\0\0" + SCRIPT),
    ]
    for each in polyglots:
        sent = content(tenant, uploaded(tenant, each, "page.html")).content
        assert SCRIPT not in sent
        assert b"%PDF" not in sent
        assert b"PK\x03\x04" not in sent


def test_where_a_picture_was_taken_is_not_kept_and_it_stands_upright(tenant: Tenant) -> None:
    picture = Image.new("RGB", (60, 40), "red")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "home"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    written = BytesIO()
    picture.save(written, "JPEG", exif=exif)
    asset = uploaded(tenant, written.getvalue())
    assert (asset["width"], asset["height"]) == (40, 60)
    kept = Image.open(BytesIO(content(tenant, asset).content))
    assert dict(kept.getexif()) == {}


def test_a_film_keeps_its_frames_within_limits() -> None:
    frames = [Image.new("RGB", (50, 50), color) for color in ("red", "green", "blue")]
    for form, kind in (("GIF", "image/gif"), ("WEBP", "image/webp")):
        written = BytesIO()
        frames[0].save(written, form, save_all=True, append_images=frames[1:], duration=100, loop=0)
        clean = clean_image(written.getvalue(), kind, FEW_PIXELS)
        assert getattr(Image.open(BytesIO(clean.data)), "n_frames", 1) == 3
        with pytest.raises(RuleViolated):
            clean_image(written.getvalue(), kind, 50 * 50 * 2)


def test_a_picture_of_a_telephone_with_a_second_image_is_the_first(tenant: Tenant) -> None:
    first, second = Image.new("RGB", (600, 400), "red"), Image.new("RGB", (300, 200), "blue")
    written = BytesIO()
    first.save(written, "MPO", save_all=True, append_images=[second])
    asset = uploaded(tenant, written.getvalue(), "IMG_0001.JPG")
    assert (asset["contentType"], asset["width"], asset["height"]) == ("image/jpeg", 600, 400)
    kept = Image.open(BytesIO(content(tenant, asset).content))
    assert (kept.format, getattr(kept, "n_frames", 1)) == ("JPEG", 1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("CMYK", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}),
        ("RGB", {"icc_profile": b"no profile"}),
    ],
)
def test_pictures_as_programs_write_them_are_taken(tenant: Tenant, kind: str, options: dict[str, Any]) -> None:
    written = BytesIO()
    Image.new(kind, (50, 40)).save(written, "JPEG", **options)
    asset = uploaded(tenant, written.getvalue(), "a.jpg")
    assert (asset["contentType"], asset["width"]) == ("image/jpeg", 50)
    assert "icc_profile" not in Image.open(BytesIO(content(tenant, asset).content)).info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
def test_every_mode_of_pixels_is_written_anew(mode: str, form: str) -> None:
    written = BytesIO()
    try:
        Image.new(mode, (33, 21)).save(written, form)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"{form} has no {mode}")
    clean = clean_image(written.getvalue(), f"image/{form.lower()}", FEW_PIXELS)
    assert (clean.width, clean.height, list(clean.copies)) == (33, 21, [33])
    assert Image.open(BytesIO(clean.data)).format == form


@settings(max_examples=150, deadline=None)
@given(data=st.data(), form=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "AVIF"]))
def test_a_broken_image_is_refused_or_cleaned(data: Any, form: str) -> None:
    """Nothing else is raised, whatever is broken in it."""
    whole = bytearray(image(form, (32, 32)))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole)))
    try:
        clean = clean_image(whole[:cut], f"image/{form.lower()}", FEW_PIXELS)
    except RuleViolated:
        return
    assert Image.open(BytesIO(clean.data)).format == form


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "AVIF"])
def test_an_image_with_one_broken_byte_is_refused_or_cleaned(form: str) -> None:
    whole = image(form, (32, 32))
    refused = 0
    for place in range(min(len(whole), 400)):
        broken = bytearray(whole)
        broken[place] ^= 255
        try:
            clean = clean_image(broken, f"image/{form.lower()}", FEW_PIXELS)
        except RuleViolated:
            refused += 1
        else:
            assert Image.open(BytesIO(clean.data)).format == form
    assert refused


@given(st.binary(max_size=300), st.text(max_size=20))
def test_every_file_has_one_type(head: bytes, name: str) -> None:
    kind = type_of(head, name)
    assert kind.count("/") == 1
    # Nothing that begins otherwise passes for what browsers show.
    assert (kind == "application/pdf") is head.startswith(b"%PDF-")


def test_a_size_that_no_file_may_have_is_refused_before_its_first_byte(tenant: Tenant) -> None:
    answer = tenant.rest.post(f"{tenant.path}/assets", {"filename": "a.pdf", "size": 300_000_000})
    assert problem(answer).rules == ("asset.size",)
