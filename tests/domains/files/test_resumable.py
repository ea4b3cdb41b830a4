"""Uploads in pieces: nothing that has arrived is sent twice, whatever breaks."""

import base64
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tusclient.client import TusClient

from server.domains.files.asset_uploads import metadata_of
from server.kernel.problems import RuleViolated
from tests.clients import Tenant, another_tenant, problem, reason, rows
from tests.domains.files.samples import MEGABYTE, PDF, content, image
from tests.domains.files.test_uploads import EVENTS, objects, usage
from tests.node import packages
from tests.stack import Stack

LARGE = PDF[:9] + os.urandom(9 * MEGABYTE) + PDF[9:]
OFFSET = "application/offset+octet-stream"


def begun(tenant: Tenant, length: int, name: str = "terms.pdf") -> str:
    """The address of a new upload, as a client of tus begins it."""
    told = f"filename {base64.b64encode(name.encode()).decode()},filetype YQ=="
    headers = {"tus-resumable": "1.0.0", "upload-length": str(length), "upload-metadata": told}
    answer = tenant.rest.request("POST", f"{tenant.path}/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return str(answer.headers["location"])


def append(tenant: Tenant, path: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    given = {"tus-resumable": "1.0.0", "upload-offset": str(offset), "content-type": OFFSET, **headers}
    return tenant.rest.request("PATCH", path, content=data, headers=given)


def offset_of(tenant: Tenant, path: str) -> int:
    answer = tenant.rest.head(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    return int(answer.headers["upload-offset"])


def asset_at(tenant: Tenant, path: str) -> dict[str, Any]:
    answer = tenant.rest.get(f"{tenant.path}/assets/{path.rpartition('/')[2]}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_client_of_python_uploads(tenant: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "large.pdf"
    path.write_bytes(LARGE)
    client = TusClient(
        f"{tenant.stack.url}{tenant.path}/uploads", headers={"authorization": f"Bearer {tenant.access_token}"}
    )
    with path.open("rb") as file:
        uploader = client.uploader(file_stream=file, chunk_size=4 * MEGABYTE, metadata={"filename": "large.pdf"})
        uploader.upload()
    asset = asset_at(tenant, str(uploader.url))
    assert (asset["state"], asset["filename"], asset["size"]) == ("STATE_READY", "large.pdf", len(LARGE))
    assert content(tenant, asset).content == LARGE
    types = [row["type"] for row in rows(tenant.stack, EVENTS, tenant.id)]
    assert sorted(types) == ["asset.created", "asset.uploaded"]
    tenant.stack.wait_for(lambda: objects(tenant.stack, tenant, "uploads") == [])


@pytest.mark.heavy
@packages.needs_npm
def test_the_client_of_its_authors_breaks_off_and_resumes(tenant: Tenant, tmp_path: Path) -> None:
    (tmp_path / "file.pdf").write_bytes(LARGE)
    endpoint = f"{tenant.stack.url}{tenant.path}/uploads"
    piece = 3 * MEGABYTE
    seen = packages.run("tus_upload.mjs", tmp_path, endpoint, tenant.access_token, "file.pdf", "Größe.pdf", piece)
    assert seen["broken"] == [piece]
    assert seen["resumed"] == [2 * piece, 3 * piece, len(LARGE)]
    asset = asset_at(tenant, seen["url"])
    assert (asset["filename"], asset["alt"], content(tenant, asset).content == LARGE) == ("Größe.pdf", "Größe", True)
    assert tenant.rest.head(seen["cancelled"]).status_code == 404


def test_pieces_become_a_file(tenant: Tenant) -> None:
    data = image("JPEG", (700, 300))
    path = begun(tenant, len(data), "a.jpg")
    assert asset_at(tenant, path)["state"] == "STATE_PENDING"
    answer = append(tenant, path, 0, data[:1000])
    assert (answer.status_code, answer.headers["upload-offset"], answer.content) == (204, "1000", b"")
    assert offset_of(tenant, path) == 1000
    assert append(tenant, path, 1000, data[1000:]).headers["upload-offset"] == str(len(data))
    asset = asset_at(tenant, path)
    assert (asset["state"], asset["contentType"], asset["width"]) == ("STATE_READY", "image/jpeg", 700)
    assert content(tenant, asset).status_code == 200
    assert tenant.rest.head(path).status_code == 404


@pytest.mark.parametrize("cut", [0, 1, 4 * MEGABYTE, 5 * MEGABYTE, len(LARGE) - 1])
def test_the_rest_may_be_larger_than_a_part(tenant: Tenant, cut: int) -> None:
    path = begun(tenant, len(LARGE))
    if cut:
        assert append(tenant, path, 0, LARGE[:cut]).status_code == 204
    answer = append(tenant, path, cut, LARGE[cut:])
    assert answer.status_code == 204, answer.text
    assert content(tenant, asset_at(tenant, path)).content == LARGE


def test_a_record_that_was_made_as_json_takes_its_bytes(tenant: Tenant) -> None:
    asset = tenant.rest.post(f"{tenant.path}/assets", {"filename": "a.pdf", "size": len(PDF)}).json()
    assert tenant.rest.get(f"{tenant.path}/assets/{asset['id']}/content").status_code == 404
    assert reason(tenant.rest.get(f"{tenant.path}/assets/{asset['id']}/download-url")) == (409, "STATE_FORBIDS")
    assert append(tenant, f"{tenant.path}/uploads/{asset['id']}", 0, PDF).status_code == 204
    assert content(tenant, asset).content == PDF


@pytest.mark.parametrize("offset", [1, 5, 999])
def test_a_piece_begins_where_the_upload_is(tenant: Tenant, offset: int) -> None:
    path = begun(tenant, len(PDF))
    assert append(tenant, path, 0, PDF[:4]).status_code == 204
    refused = append(tenant, path, offset, PDF[4:])
    assert (reason(refused), problem(refused).metadata["offset"]) == ((409, "STATE_FORBIDS"), "4")
    assert append(tenant, path, 4, PDF[4:]).status_code == 204


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({"upload-offset": ""}, (400, "MALFORMED")),
        ({"upload-offset": "-1"}, (400, "MALFORMED")),
        ({"upload-offset": "1e3"}, (400, "MALFORMED")),
        ({"content-type": "application/octet-stream"}, (415, "CONTENT_TYPE_UNSUPPORTED")),
    ],
)
def test_what_is_no_piece_is_refused(tenant: Tenant, headers: dict[str, str], refusal: tuple[int, str]) -> None:
    path = begun(tenant, len(PDF))
    assert reason(append(tenant, path, 0, PDF, **headers)) == refusal
    assert offset_of(tenant, path) == 0


def test_more_than_was_announced_is_refused(tenant: Tenant) -> None:
    path = begun(tenant, len(PDF) - 1)
    assert reason(append(tenant, path, 0, PDF)) == (413, "TOO_LARGE")


def test_what_it_turns_out_to_be_is_refused_at_the_end(tenant: Tenant) -> None:
    data = b"<!doctype html><script>1</script>"
    path = begun(tenant, len(data), "a.pdf")
    assert append(tenant, path, 0, data[:10]).status_code == 204
    assert reason(append(tenant, path, 10, data[10:])) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert asset_at(tenant, path)["state"] == "STATE_PENDING"
    tenant.stack.wait_for(lambda: objects(tenant.stack, tenant) == [])
    assert tenant.rest.delete(path).status_code == 204
    assert tenant.rest.get(f"{tenant.path}/assets/{path.rpartition('/')[2]}").status_code == 404


def test_a_connection_that_breaks_keeps_what_has_come(tenant: Tenant) -> None:
    path = begun(tenant, len(LARGE))
    head = (
        f"PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {OFFSET}\r\ncontent-length: {len(LARGE)}\r\n"
        f"upload-offset: 0\r\ntus-resumable: 1.0.0\r\nauthorization: Bearer {tenant.access_token}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", tenant.stack.port)) as connection:
        connection.sendall(head + LARGE[: 6 * MEGABYTE])
        tenant.stack.wait_for(lambda: offset_of(tenant, path) > 0)
    # What came after the first part is stored when the connection is gone.
    tenant.stack.wait_for(lambda: offset_of(tenant, path) % MEGABYTE > 0 or offset_of(tenant, path) > 5 * MEGABYTE)

    def resumed() -> bool:
        offset = offset_of(tenant, path)
        assert offset <= 6 * MEGABYTE
        # 409 while the rest of what has come is being stored.
        return append(tenant, path, offset, LARGE[offset:]).status_code == 204

    tenant.stack.wait_for(resumed)
    assert content(tenant, asset_at(tenant, path)).content == LARGE


def test_of_two_pieces_for_one_place_one_is_kept(tenant: Tenant) -> None:
    path = begun(tenant, len(LARGE))
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(append(tenant, path, 0, LARGE[: 5 * MEGABYTE]))

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.status_code for each in answers) == [204, 409, 409]
    assert append(tenant, path, 5 * MEGABYTE, LARGE[5 * MEGABYTE :]).status_code == 204
    assert content(tenant, asset_at(tenant, path)).content == LARGE


def test_equal_files_are_stored_once_however_they_came(tenant: Tenant) -> None:
    for _ in range(2):
        path = begun(tenant, len(PDF))
        assert append(tenant, path, 0, PDF).status_code == 204
    tenant.stack.wait_for(lambda: len(objects(tenant.stack, tenant)) == 1)
    assert (usage(tenant)["assetCount"], usage(tenant)["storedBytes"]) == (2, len(PDF))


def test_the_upload_of_another_tenant_is_not_there(tenant: Tenant) -> None:
    path = begun(tenant, len(PDF))
    other = another_tenant(tenant)
    theirs = path.replace(tenant.id, other.id)
    assert append(other, theirs, 0, PDF).status_code == 404
    assert other.rest.head(theirs).status_code == 404
    assert other.rest.delete(theirs).status_code == 404
    assert offset_of(tenant, path) == 0


def test_pages_of_other_origins_read_what_the_protocol_says(stack: Stack, tenant: Tenant) -> None:
    origin = {"origin": "http://localhost:5173"}
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "tus-resumable,upload-offset"}
    preflight = httpx.options(f"{stack.url}{tenant.path}/uploads/x", headers=origin | asked)
    assert {"tus-resumable", "upload-offset"} <= set(preflight.headers["access-control-allow-headers"].split(", "))
    answer = tenant.rest.head(begun(tenant, 10), headers=origin)
    assert "upload-offset" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("key", "value"), [("folder", "a//b"), ("folder", "/x"), ("alt", "x" * 501), ("folder", "a\nb")]
)
def test_what_metadata_say_follows_the_rules_of_the_asset(tenant: Tenant, key: str, value: str) -> None:
    told = f"filename {base64.b64encode(b'a.pdf').decode()},{key} {base64.b64encode(value.encode()).decode()}"
    headers = {"upload-length": "10", "upload-metadata": told}
    answer = tenant.rest.request("POST", f"{tenant.path}/uploads", headers=headers)
    assert (answer.status_code, problem(answer).rules) == (422, (f"asset.{key}",))


@given(st.dictionaries(st.text("abcdefg_", min_size=1, max_size=9), st.text(max_size=30), max_size=5))
def test_metadata_is_read_as_it_is_written(pairs: dict[str, str]) -> None:
    told = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    assert metadata_of(told) == pairs


@given(st.text(max_size=60))
def test_other_metadata_is_refused_in_words(text: str) -> None:
    with suppress(RuleViolated):
        assert all(metadata_of(text))
