"""Uploads: what they are is what their bytes say, and equal files are stored once."""

import hashlib
from io import BytesIO

import pytest
from PIL import Image

from tests.clients import Tenant, problem, reason
from tests.domains.files.samples import PDF, content, image, upload, uploaded


def test_an_image_is_described_and_read_back(tenant: Tenant) -> None:
    asset = uploaded(tenant, image(), "Größe.png", folder="images/2026", alt="A wall")
    assert asset | {"id": "", "createTime": "", "updateTime": "", "etag": "", "sha256": "", "size": ""} == {
        "id": "",
        "tenantId": tenant.id,
        "filename": "Größe.png",
        "folder": "images/2026",
        "alt": "A wall",
        "isPublic": False,
        "size": "",
        "state": "STATE_READY",
        "contentType": "image/png",
        "width": 400,
        "height": 300,
        "copies": [320],
        "sha256": "",
        "uploadedBy": tenant.owner.id,
        "url": "",
        "createTime": "",
        "updateTime": "",
        "etag": "",
    }
    answer = content(tenant, asset)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert hashlib.sha256(answer.content).hexdigest() == asset["sha256"]
    assert int(answer.headers["content-length"]) == len(answer.content) == int(asset["size"])
    assert Image.open(BytesIO(answer.content)).getpixel((5, 5)) == (0, 128, 128)


def test_a_pdf_is_stored_as_it_is(tenant: Tenant) -> None:
    asset = uploaded(tenant, PDF, "terms.txt")
    assert (asset["contentType"], asset["filename"], asset["copies"]) == ("application/pdf", "terms.txt", [])
    assert content(tenant, asset).content == PDF
