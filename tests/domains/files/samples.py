"""Files to upload."""

from io import BytesIO
from typing import Any

import httpx
from PIL import Image

from tests.clients import Tenant

PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
MEGABYTE = 1024 * 1024


def image(form: str = "PNG", size: tuple[int, int] = (400, 300), color: Any = "teal", **options: Any) -> bytes:
    """An image of one colour."""
    written = BytesIO()
    Image.new("RGB", size, color).save(written, form, **options)
    return written.getvalue()


def noise(size: tuple[int, int], seed: int = 1) -> Image.Image:
    """An image that hardly gets smaller."""
    return Image.effect_noise(size, 50 + seed).convert("RGB")


def upload(tenant: Tenant, data: bytes, name: str = "logo.png", **query: Any) -> httpx.Response:
    """Upload a file as the first of a form."""
    return tenant.rest.request(
        "POST", f"{tenant.path}/assets/upload", files={"file": (name, data, "image/png")}, params=query
    )


def uploaded(tenant: Tenant, data: bytes, name: str = "logo.png", **query: Any) -> dict[str, Any]:
    """The asset that came of it."""
    answer = upload(tenant, data, name, **query)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def content(tenant: Tenant, asset: dict[str, Any], **query: Any) -> httpx.Response:
    """What is in an asset, with credentials."""
    return tenant.rest.get(f"{tenant.path}/assets/{asset['id']}/content", query)
