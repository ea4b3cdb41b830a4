"""Other settings than usual: larger files, in flat memory, and more types, which browsers do not show."""

import os
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.clients import Tenant, new_tenant
from tests.domains.files.samples import MEGABYTE, uploaded
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
LARGE = 200
MOST_GROWTH = 20
TYPES = "application/pdf,image/svg+xml,text/html,text/csv,text/plain,application/zip"
SCRIPT = b"<script>alert(document.domain)</script>"


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    stack = Stack(api_workers=1, files_max_bytes=256 * MEGABYTE, files_content_types=TYPES)
    yield stack.start()
    stack.remove()


@pytest.fixture(scope="module")
def tenant(own: Stack) -> Tenant:
    return new_tenant(own)


def send(tenant: Tenant, megabytes: int) -> int:
    """Upload and download a file of this size; the largest resident memory of the server meanwhile, in bytes."""
    server = psutil.Process(tenant.stack.pid("realtime-0"))
    piece, most = os.urandom(MEGABYTE), 0

    def pieces() -> Iterator[bytes]:
        nonlocal most
        yield b"%PDF-1.7\n"
        for _ in range(megabytes):
            most = max(most, server.memory_info().rss)
            yield piece
        yield b"%%EOF\n"

    answer = tenant.rest.request(
        "POST", f"{tenant.path}/assets/upload", content=pieces(), headers={"content-type": "application/pdf"}
    )
    assert answer.status_code == 201, answer.text
    asset = answer.json()
    assert asset["size"] == megabytes * MEGABYTE + 15
    read = tenant.rest.get(f"{tenant.path}/assets/{asset['id']}/content")
    assert len(read.content) == asset["size"]
    return max(most, server.memory_info().rss)


def test_a_large_file_takes_no_more_memory_than_a_small_one(tenant: Tenant) -> None:
    # What is loaded and reserved with the first ones stays.
    small = max(send(tenant, 1) for _ in range(12))
    # What the first large one reserves serves the next ones: memory that is not given back is no growth.
    grown = (min(send(tenant, LARGE) for _ in range(2)) - small) / MEGABYTE
    assert grown < MOST_GROWTH, f"{grown:.1f} MB more for {LARGE} MB than for 1 MB"
    print(f"{grown:.1f} MB more for {LARGE} MB than for 1 MB")  # noqa: T201 - for who measures


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.png", b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>", "image/svg+xml"),
        ("a.png", b"<!doctype html>" + SCRIPT, "text/html"),
        ("a.csv", b"a,b\n1,2\n", "text/csv"),
        ("a.html", b"just text", "text/plain"),
    ],
)
def test_what_is_no_image_is_for_saving(tenant: Tenant, name: str, data: bytes, kind: str) -> None:
    asset = uploaded(tenant, data, name, is_public=True)
    answer = httpx.get(asset["url"])
    assert (answer.content, answer.headers["content-type"]) == (data, kind)
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
