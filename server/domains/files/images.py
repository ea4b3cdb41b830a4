"""Images: read within limits, and written anew, so that nothing else that stood in the file is kept or served.

What is lost: metadata, among them places and names; colour profiles, as colours become those of sRGB; a direction in
which it was to be turned, as it is turned; and whatever a file has behind its image. A file that is an image and
something else at once is only an image afterwards.
"""

import struct
import warnings
from collections.abc import Iterator, Mapping
from io import BytesIO
from threading import Semaphore
from typing import TYPE_CHECKING, NamedTuple

from server.kernel.problems import RuleViolated, Violation, broken_rules

if TYPE_CHECKING:
    from PIL.Image import Image

# Of all calls of a process: an image takes up to 100 MB while it is read, by the default of its setting.
_ONE_AT_A_TIME = Semaphore(1)
EDGES = (320, 640, 1280, 1920)
"""Longest edges of copies."""
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP", "image/avif": "AVIF"}
COPY_QUALITY = 80
# Of formats that lose something: twice written, no difference is seen.
QUALITY: Mapping[str, Mapping[str, int]] = {
    "JPEG": {"quality": 90},
    "PNG": {"compress_level": 6},
    "WEBP": {"quality": 90, "method": 2},
    "AVIF": {"quality": 85, "speed": 8},
    "GIF": {},
}
OPAQUE_MODES, CLEAR_MODES = ("L", "RGB"), ("LA", "RGBA")
FASTEST_FRAME = 20
"""Milliseconds."""


class CleanImage(NamedTuple):
    """An image as it is stored."""

    data: bytes
    width: int
    height: int
    copies: Mapping[int, bytes]
    """Smaller ones as WebP, by their longest edge, the smallest first; there is always one."""


def clean_image(data: bytes | bytearray, content_type: str, most_pixels: int, *, is_clean: bool = False) -> CleanImage:
    """Read an image of this type and write it anew. Raises RuleViolated if it is broken or too large. May block.

    Of one that is clean already, only the copies are made.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cleaned = _clean(data, FORMATS[content_type], most_pixels)
            return cleaned._replace(data=bytes(data)) if is_clean else cleaned
        except (
            OSError,
            SyntaxError,
            ValueError,
            ArithmeticError,
            EOFError,
            IndexError,
            KeyError,
            TypeError,
            RuntimeError,
            struct.error,
        ) as error:
            # What the readers of Pillow raise for files that are broken in ways of their own.
            raise _broken("cannot be read: it is broken, or cut off") from error


def _clean(data: bytes | bytearray, form: str, most_pixels: int) -> CleanImage:
    from PIL import Image  # noqa: PLC0415 - only processes that take files load it

    # The limit is ours, and is checked before anything is inflated.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(BytesIO(data), formats=[form]) as image:
        width, height = image.size
        _check_pixels(width * height, most_pixels)
        # A JPEG of a telephone often has a second image behind the first, such as a map of its brightness. It goes.
        frames = 1 if form == "JPEG" else int(getattr(image, "n_frames", 1))
        _check_pixels(width * height * frames, most_pixels)
        if frames > 1:
            written, first = _rewritten_frames(image, form, frames)
        else:
            first = _upright(image)
            written = _rewritten(first, form)
        return CleanImage(written, *first.size, dict(_copies(first)))


def _check_pixels(pixels: int, most: int) -> None:
    if pixels > most:
        raise _broken(f"has {pixels:,} pixels, more than the {most:,} that are taken")


def _upright(image: "Image") -> "Image":
    """The image turned as its metadata say, in sRGB, without its metadata."""
    from PIL import ImageOps  # noqa: PLC0415

    try:
        turned = ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        # Metadata that cannot be read say nothing of a direction.
        turned = image
    return _plain(_in_srgb(turned))


def _in_srgb(image: "Image") -> "Image":
    from PIL import ImageCms  # noqa: PLC0415

    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "CMYK", "L"}:
        return image
    try:
        own, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, own, target, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # A profile that cannot be read says nothing.
        return image


def _plain(image: "Image") -> "Image":
    """The pixels alone, in a mode that every format has."""
    is_clear = image.mode in {*CLEAR_MODES, "PA", "La", "RGBa"} or "transparency" in image.info
    if is_clear:
        plain = image if image.mode in CLEAR_MODES else image.convert("RGBA")
    elif image.mode == "I;16":
        plain = image.point(lambda value: value / 256).convert("L")
    else:
        plain = image if image.mode in OPAQUE_MODES else image.convert("RGB")
    plain = plain.copy()
    plain.info.clear()
    return plain


def _rewritten(image: "Image", form: str) -> bytes:
    if form in {"JPEG", "AVIF"} and image.mode not in OPAQUE_MODES:
        image = image.convert("RGB" if form == "JPEG" else "RGBA")
    written = BytesIO()
    image.save(written, form, **QUALITY[form])
    return written.getvalue()


def _rewritten_frames(image: "Image", form: str, count: int) -> tuple[bytes, "Image"]:
    """A film, and its first frame."""
    durations: list[int] = []
    frames: list[Image] = []
    for number in range(count):
        image.seek(number)
        durations.append(max(FASTEST_FRAME, int(image.info.get("duration", 0) or 0)))
        frames.append(image.convert("RGBA"))
        frames[-1].info.clear()
    written = BytesIO()
    first, *others = frames
    loop = int(image.info.get("loop", 0))
    first.save(written, form, save_all=True, append_images=others, duration=durations, loop=loop, **QUALITY[form])
    return written.getvalue(), first


def _copies(image: "Image") -> Iterator[tuple[int, bytes]]:
    """Copies that are smaller, and one in any case, each made from the next larger one."""
    longest = max(image.size)
    found: dict[int, bytes] = {}
    for edge in reversed([each for each in EDGES if each < longest] or [min(longest, EDGES[0])]):
        image = image.copy()
        image.thumbnail((edge, edge))
        written = BytesIO()
        image.save(written, "WEBP", quality=COPY_QUALITY, method=2)
        found[edge] = written.getvalue()
    yield from sorted(found.items())


def _broken(fault: str) -> RuleViolated:
    return broken_rules([Violation("content", fault, "asset.image")])
