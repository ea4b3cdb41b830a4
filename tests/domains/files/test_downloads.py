"""Downloads: whole or in part, with credentials, by a signed URL, or by anyone."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.clients import Rest, Tenant, another_tenant, problem, reason
from tests.domains.files.samples import PDF, content, image, uploaded
from tests.stack import Stack

NOTHING = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
def asset(tenant: Tenant) -> dict[str, Any]:
    return uploaded(tenant, PDF, filename="Größe 'a\".pdf")


def ranged(tenant: Tenant, asset: dict[str, Any], wanted: str, **headers: str) -> httpx.Response:
    path = f"{tenant.path}/assets/{asset['id']}/content"
    return tenant.rest.get(path, headers={"range": wanted, **{k.replace("_", "-"): v for k, v in headers.items()}})


@pytest.mark.parametrize(
    ("wanted", "start", "end"), [("bytes=0-3", 0, 4), ("bytes=5-", 5, len(PDF)), ("bytes=-6", len(PDF) - 6, len(PDF))]
)
def test_a_part_is_sent(tenant: Tenant, asset: dict[str, Any], wanted: str, start: int, end: int) -> None:
    answer = ranged(tenant, asset, wanted)
    assert (answer.status_code, answer.content) == (206, PDF[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(PDF)}"
    assert int(answer.headers["content-length"]) == end - start


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "lines=1-2", "bytes=9-2", "bytes=-", "bytes=x"])
def test_what_is_no_range_gets_the_whole(tenant: Tenant, asset: dict[str, Any], wanted: str) -> None:
    answer = ranged(tenant, asset, wanted)
    assert (answer.status_code, answer.content) == (200, PDF)
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_range_beyond_the_end_is_refused(tenant: Tenant, asset: dict[str, Any]) -> None:
    answer = ranged(tenant, asset, f"bytes={len(PDF)}-")
    assert (reason(answer), problem(answer).metadata["size"]) == ((416, "RANGE_NOT_SATISFIABLE"), str(len(PDF)))


def test_who_knows_it_gets_nothing_and_a_part_of_another_version_is_the_whole(
    tenant: Tenant, asset: dict[str, Any]
) -> None:
    first = content(tenant, asset)
    path = f"{tenant.path}/assets/{asset['id']}/content"
    again = tenant.rest.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert ranged(tenant, asset, "bytes=0-1", if_range=first.headers["etag"]).status_code == 206
    assert ranged(tenant, asset, "bytes=0-1", if_range='"another"').status_code == 200


def test_head_tells_what_get_would(tenant: Tenant, asset: dict[str, Any]) -> None:
    head = tenant.rest.head(f"{tenant.path}/assets/{asset['id']}/content")
    assert (head.status_code, head.content) == (200, b"")
    whole = content(tenant, asset)
    for name in ("content-length", "content-type", "etag", "content-disposition", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


def test_the_name_is_told_in_ascii_and_as_it_is(tenant: Tenant, asset: dict[str, Any]) -> None:
    told = content(tenant, asset).headers["content-disposition"]
    assert told == "inline; filename=\"Gr__e 'a_.pdf\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%27a%22.pdf"


def test_a_thumbnail_and_copies_are_smaller(tenant: Tenant) -> None:
    asset = uploaded(tenant, image(size=(1000, 500)))
    assert asset["copies"] == [320, 640]
    thumbnail = tenant.rest.get(f"{tenant.path}/assets/{asset['id']}/thumbnail")
    assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/webp")
    assert content(tenant, asset, copy=320).content == thumbnail.content
    assert content(tenant, asset, copy=640).status_code == 200
    assert content(tenant, asset, copy=641).status_code == 404


def test_a_file_that_is_no_image_has_no_thumbnail(tenant: Tenant, asset: dict[str, Any]) -> None:
    assert tenant.rest.get(f"{tenant.path}/assets/{asset['id']}/thumbnail").status_code == 404


# Signed URLs -------------------------------------------------------------------------------------------------------


def signed(tenant: Tenant, asset: dict[str, Any], **query: Any) -> dict[str, Any]:
    answer = tenant.rest.get(f"{tenant.path}/assets/{asset['id']}/download-url", query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_signed_url_needs_no_credentials(tenant: Tenant) -> None:
    asset = uploaded(tenant, image())
    found = signed(tenant, asset)
    left = datetime.fromisoformat(found["expireTime"]) - datetime.now(UTC)
    assert 800 < left.total_seconds() <= 900
    whole, thumbnail = httpx.get(found["url"]), httpx.get(found["thumbnailUrl"])
    assert (whole.status_code, whole.headers["content-type"]) == (200, "image/png")
    assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/webp")
    assert whole.headers["cache-control"] == "private, no-cache, no-transform"


@pytest.mark.parametrize(
    "change",
    [
        {"signature": ""},
        {"signature": "AAAA"},
        {"signature": "é%"},
        {"expires": "2999-01-01T00:00:00Z"},
        {"copy": "320"},
    ],
)
def test_a_signature_is_for_one_file_and_one_time(stack: Stack, tenant: Tenant, change: dict[str, str]) -> None:
    asset = uploaded(tenant, image())
    parts = urlsplit(signed(tenant, asset)["url"])
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | change
    answer = Rest(stack).get(parts.path, query)
    assert reason(answer) == (403, "SIGNATURE_INVALID")
    other = uploaded(tenant, image(color="red"))
    elsewhere = parts.path.replace(asset["id"], other["id"])
    assert reason(Rest(stack).get(f"{elsewhere}?{parts.query}")) == (403, "SIGNATURE_INVALID")


def test_an_expired_signature_opens_nothing(tenant: Tenant, asset: dict[str, Any]) -> None:
    url = signed(tenant, asset, lifetimeSeconds=1)["url"]
    tenant.stack.wait_for(lambda: httpx.get(url).status_code == 403)


def test_strangers_do_not_learn_what_there_is(stack: Stack, tenant: Tenant, asset: dict[str, Any]) -> None:
    for asset_id in (asset["id"], NOTHING):
        answer = Rest(stack).get(f"{tenant.path}/assets/{asset_id}/download")
        assert reason(answer) == (403, "SIGNATURE_INVALID")


def test_what_is_public_is_public_until_it_is_not(tenant: Tenant) -> None:
    asset = uploaded(tenant, image(), is_public=True)
    answer = httpx.get(asset["url"])
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=3600, no-transform")
    changed = tenant.rest.patch(f"{tenant.path}/assets/{asset['id']}", {"isPublic": False})
    assert changed.json()["url"] == ""
    assert httpx.get(asset["url"]).status_code == 403
    tenant.rest.patch(f"{tenant.path}/assets/{asset['id']}", {"isPublic": True})
    assert tenant.rest.delete(f"{tenant.path}/assets/{asset['id']}").status_code == 204
    assert httpx.get(asset["url"]).status_code == 403


def test_a_deleted_asset_is_gone_by_every_address_and_comes_back(tenant: Tenant, asset: dict[str, Any]) -> None:
    url = signed(tenant, asset)["url"]
    assert tenant.rest.delete(f"{tenant.path}/assets/{asset['id']}").status_code == 204
    assert content(tenant, asset).status_code == 404
    assert httpx.get(url).status_code == 404
    assert tenant.rest.post(f"{tenant.path}/assets/{asset['id']}/undelete", {}).status_code == 200
    assert content(tenant, asset).content == PDF


def test_another_tenant_has_none_of_it(tenant: Tenant, asset: dict[str, Any]) -> None:
    other = another_tenant(tenant)
    for what in ("content", "thumbnail", "download-url"):
        assert other.rest.get(f"{other.path}/assets/{asset['id']}/{what}").status_code == 404
