"""Uploads: what they are is what their bytes say, and equal files are stored once."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.clients import Rest, Tenant, new_member, problem, reason, rows, unique
from tests.domains.files.samples import PDF, content, image, upload, uploaded
from tests.stack import Stack

EVENTS = "SELECT type, resource_id FROM events WHERE tenant_id = %s AND type LIKE 'asset.%%' ORDER BY id"


def usage(tenant: Tenant) -> dict[str, Any]:
    answer = tenant.rest.get(f"{tenant.path}/storage-usage")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def objects(stack: Stack, tenant: Tenant, kind: str = "blobs") -> list[Path]:
    """What the store has of a tenant."""
    return [path for path in (stack.settings.data_dir / "files" / kind / tenant.id).rglob("*") if path.is_file()]


def test_an_image_is_described_and_read_back(tenant: Tenant) -> None:
    asset = uploaded(tenant, image(), "Größe.png", folder="images/2026", alt="A wall")
    varies = {"id": "", "createTime": "", "updateTime": "", "etag": "", "sha256": "", "size": 0}
    assert asset | varies == varies | {
        "tenantId": tenant.id,
        "filename": "Größe.png",
        "folder": "images/2026",
        "alt": "A wall",
        "isPublic": False,
        "state": "STATE_READY",
        "contentType": "image/png",
        "width": 400,
        "height": 300,
        "copies": [320],
        "uploadedBy": tenant.owner.id,
        "url": "",
    }
    answer = content(tenant, asset)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert hashlib.sha256(answer.content).hexdigest() == asset["sha256"]
    assert int(answer.headers["content-length"]) == len(answer.content) == asset["size"]
    assert Image.open(BytesIO(answer.content)).getpixel((5, 5)) == (0, 128, 128)
    assert tenant.rest.get(f"{tenant.path}/assets/{asset['id']}").json() == asset
    assert tenant.rest.get("/api/v1/files").json()["assets"] == [asset]


def test_the_file_may_be_the_body_itself(tenant: Tenant) -> None:
    answer = tenant.rest.request(
        "POST",
        f"{tenant.path}/assets/upload",
        content=PDF,
        params={"filename": "terms.pdf"},
        headers={"content-type": "application/octet-stream"},
    )
    assert answer.status_code == 201, answer.text
    asset = answer.json()
    assert (asset["contentType"], asset["filename"], asset["copies"]) == ("application/pdf", "terms.pdf", [])
    assert answer.headers["location"] == f"{tenant.path}/assets/{asset['id']}"
    assert content(tenant, asset).content == PDF
    assert rows(tenant.stack, EVENTS, tenant.id) == [{"type": "asset.created", "resource_id": asset["id"]}]


def test_equal_files_are_stored_once_and_count_each(stack: Stack, tenant: Tenant) -> None:
    first, second = (uploaded(tenant, image(), name) for name in ("a.png", "b.png"))
    stack.wait_for(lambda: len(objects(stack, tenant)) == 2)
    found = usage(tenant)
    assert (found["assetCount"], found["bytes"]) == (2, first["size"] * 2)
    assert found["storedBytes"] == sum(path.stat().st_size for path in objects(stack, tenant))
    assert found["types"] == [{"contentType": "image/png", "assetCount": 2, "bytes": first["size"] * 2}]
    assert content(tenant, first).content == content(tenant, second).content
    uploaded(tenant, image(color="red"))
    assert usage(tenant)["storedBytes"] == sum(path.stat().st_size for path in objects(stack, tenant))


def test_many_files_come_in_one_form_all_or_none(stack: Stack, tenant: Tenant) -> None:
    path = f"{tenant.path}/assets/bulk-upload"
    files = [("file", ("a.png", image(), "")), ("file", ("b.pdf", PDF, "")), ("other", ("c.jpg", image("JPEG"), ""))]
    answer = tenant.rest.request("POST", path, files=files, params={"folder": "new"})
    assert answer.status_code == 201, answer.text
    found = answer.json()["assets"]
    assert [each["filename"] for each in found] == ["a.png", "b.pdf", "c.jpg"]
    assert [each["contentType"] for each in found] == ["image/png", "application/pdf", "image/jpeg"]
    assert {each["folder"] for each in found} == {"new"}
    assert {row["resource_id"] for row in rows(stack, EVENTS, tenant.id)} == {each["id"] for each in found}
    before = objects(stack, tenant)
    refused = tenant.rest.request("POST", path, files=[*files, ("file", ("d.exe", b"MZ\0\0" * 9, ""))])
    assert reason(refused) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert reason(tenant.rest.request("POST", path, files=files * 7)) == (413, "TOO_LARGE")
    stack.wait_for(lambda: objects(stack, tenant) == before)
    assert usage(tenant)["assetCount"] == 3


def test_everyone_uploads_pictures_and_deletes_their_own(tenant: Tenant) -> None:
    _, session = new_member(tenant, "member")
    member = Rest(tenant.stack, session.access_token)
    answer = member.request("POST", "upload/image", files={"image": ("beach.jpg", image("JPEG"), "")})
    assert answer.status_code == 201, answer.text
    two = [("images", (name, image("WEBP", color=name), "")) for name in ("red", "blue")]
    several = member.request("POST", "upload/images", files=two)
    assert [each["filename"] for each in several.json()["assets"]] == ["red", "blue"]
    pdf = member.request("POST", "upload/image", files={"image": ("a.jpg", PDF, "image/jpeg")})
    assert reason(pdf) == (415, "CONTENT_TYPE_UNSUPPORTED")
    theirs = uploaded(tenant, image())
    assert member.delete(f"upload/{theirs['id']}").status_code == 404
    assert member.delete(f"upload/{answer.json()['id']}").status_code == 204
    assert content(tenant, answer.json()).status_code == 404


def test_a_call_that_is_repeated_stores_one(stack: Stack, tenant: Tenant) -> None:
    key = {"idempotency-key": unique("key")}
    answers = [
        tenant.rest.request("POST", f"{tenant.path}/assets/upload", files={"f": ("a.pdf", PDF, "")}, headers=key)
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    stack.wait_for(lambda: len(objects(stack, tenant)) == 1)
    assert usage(tenant)["assetCount"] == 1


def test_the_pictures_of_a_person_are_theirs_and_the_files_of_a_tenant_nobodys(stack: Stack, tenant: Tenant) -> None:
    answer = tenant.rest.request("POST", "upload/image", files={"image": ("a.png", image(), "")})
    uploaded(tenant, image())
    owners = "SELECT id, owner_id FROM assets WHERE tenant_id = %s AND owner_id IS NOT NULL"
    [row] = rows(stack, owners, tenant.id)
    assert (str(row["id"]), str(row["owner_id"])) == (answer.json()["id"], tenant.owner.id)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.png", "a.png"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("..", "file"),
        ("x" * 300 + ".png", ("x" * 300 + ".png")[-255:]),
    ],
)
def test_names_lead_nowhere(tenant: Tenant, name: str, kept: str) -> None:
    assert uploaded(tenant, image(size=(9, 9)), name)["filename"] == kept


def test_a_name_with_a_folder_in_it_is_refused(tenant: Tenant) -> None:
    answer = upload(tenant, image(), filename="../a.png")
    assert reason(answer) == (422, "RULE_VIOLATED")
    asset = uploaded(tenant, image())
    changed = tenant.rest.patch(f"{tenant.path}/assets/{asset['id']}", {"filename": "a\u202eb.png"})
    assert problem(changed).rules == ("asset.filename",)
