"""Files in a bucket of S3: a real S3 API on loopback (moto's server)."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.clients import Tenant, new_tenant, reason
from tests.domains.files.samples import MEGABYTE, PDF, content, image, upload, uploaded
from tests.domains.files.test_resumable import LARGE, append, begun
from tests.stack import Stack

OK = 200
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
BUCKET, KEY, SECRET = "acme-files", "AKIDEXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    made = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def endpoint(server: ThreadedMotoServer) -> str:
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@pytest.fixture(scope="module")
def keys(endpoint: str) -> "Keys":
    return Keys(endpoint)


class Keys:
    """What the bucket has."""

    def __init__(self, endpoint: str) -> None:
        self._bucket = f"{endpoint}/{BUCKET}"
        assert httpx.put(self._bucket).status_code == OK

    def of(self, tenant: Tenant, kind: str) -> list[str]:
        """Those of a tenant."""
        asked = {"list-type": "2", "prefix": f"plinth/{kind}/{tenant.id}/"}
        root = ET.fromstring(httpx.get(self._bucket, params=asked).content)  # noqa: S314 - of our own server
        return [str(each.text).rpartition("/")[2] for each in root.iter("{http://s3.amazonaws.com/doc/2006-03-01/}Key")]


@pytest.fixture(scope="module")
def stored(endpoint: str, keys: Keys) -> Iterator[Stack]:
    del keys
    stack = Stack(
        api_workers=1,
        files_bucket=f"s3://{BUCKET}/plinth",
        files_s3_endpoint=endpoint,
        files_s3_access_key=KEY,
        files_s3_secret_key=SECRET,
    ).start()
    yield stack
    stack.remove()


@pytest.fixture(scope="module")
def tenant(stored: Stack) -> Tenant:
    return new_tenant(stored)


def test_files_come_and_go(stored: Stack, tenant: Tenant, keys: Keys) -> None:
    asset, large = uploaded(tenant, image()), uploaded(tenant, LARGE, "large.pdf")
    assert sorted(keys.of(tenant, "blobs")) == ["320", "original", "original"]
    assert content(tenant, large).content == LARGE
    assert content(tenant, asset, copy=320).headers["content-type"] == "image/webp"
    path = f"{tenant.path}/assets/{large['id']}/content"
    part = tenant.rest.get(path, headers={"range": f"bytes={5 * MEGABYTE}-"})
    assert (part.status_code, part.content) == (206, LARGE[5 * MEGABYTE :])
    uploaded(tenant, image())
    stored.wait_for(lambda: len(keys.of(tenant, "blobs")) == 3)


def test_uploads_are_resumed(stored: Stack, tenant: Tenant, keys: Keys) -> None:
    data = LARGE + b"\n"
    path = begun(tenant, len(data))
    assert append(tenant, path, 0, data[: 6 * MEGABYTE]).status_code == 204
    assert len(keys.of(tenant, "uploads")) == 2
    assert append(tenant, path, 6 * MEGABYTE, data[6 * MEGABYTE :]).status_code == 204
    assert content(tenant, {"id": path.rpartition("/")[2]}).content == data
    stored.wait_for(lambda: keys.of(tenant, "uploads") == [])


def test_what_is_refused_leaves_nothing(stored: Stack, tenant: Tenant, keys: Keys) -> None:
    before = keys.of(tenant, "blobs")
    assert reason(upload(tenant, PDF[:-6], "a.pdf")) == (422, "RULE_VIOLATED")
    stored.wait_for(lambda: keys.of(tenant, "blobs") == before)


def test_a_store_that_is_away_is_said(tenant: Tenant, server: ThreadedMotoServer) -> None:
    server.stop()
    answer = upload(tenant, PDF + b"another", "a.pdf")
    assert reason(answer) == (503, "DEPENDENCY_UNAVAILABLE")
    assert tenant.rest.get(f"{tenant.path}/assets").status_code == 200
