"""A site leaves as one file, and comes back from it as it was."""

import hashlib
import json
from io import BytesIO
from typing import Any

import httpx
import pytest

from tests.clients import Rest, Tenant, new_member, new_tenant, reason, rows
from tests.domains.files.samples import image, noise, uploaded
from tests.domains.sites.archives import done, ended, exported, import_archive, read, written
from tests.stack import Stack

EMPTY_SITE = {"format": 1}
PAGE = {"slug": "home", "draft": {"title": "Home"}}


def post(tenant: Tenant, path: str, body: Any, status: int = 201) -> dict[str, Any]:
    answer = tenant.rest.post(f"{tenant.path}/{path}", body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def add_sections(tenant: Tenant, page: dict[str, Any], *sections: dict[str, Any]) -> None:
    requests = [{"section": section} for section in sections]
    post(tenant, f"pages/{page['id']}/sections:batchCreate", {"requests": requests}, 200)


def jpeg() -> bytes:
    file = BytesIO()
    noise((640, 480)).save(file, "JPEG", quality=70)
    return file.getvalue()


def built(stack: Stack) -> Tenant:
    """A site with something of everything."""
    tenant = new_tenant(stack)
    photo = uploaded(tenant, jpeg(), "photo.jpg", folder="images", alt="A street", is_public=True)
    logo = uploaded(tenant, image(), "logo.png", is_public=True)
    uploaded(tenant, image(color="red"), "unused.png", is_public=True)
    schema = {"type": "object", "properties": {"text": {"type": "string", "contentMediaType": "text/html"}}}
    post(tenant, "section-types", {"kind": "offer", "displayName": "Offer", "schema": schema})
    services = post(tenant, "pages", {"slug": "services", "title": "Services", "settings": {"wide": True, "n": 1.5}})
    oil = post(tenant, "pages", {"slug": "oil", "title": "Oil", "parentId": services["id"], "description": "Öl & <b>"})
    home = post(tenant, "pages", {"slug": "home", "title": "Home"})
    add_sections(
        tenant,
        home,
        {
            "kind": "hero",
            "title": "Top",
            "content": {"heading": "Hi", "image": {"url": photo["url"]}},
            "style": {"dark": True},
        },
        {"kind": "offer", "content": {"text": f'<p>See <img src="{photo["url"]}?copy=320" alt="x"></p>'}},
        {"kind": "hero", "content": {"heading": "Hidden"}, "hidden": True},
    )
    tenant.rest.patch(
        f"{tenant.path}/pages/{home['id']}/seo",
        {"title": "The home of all", "keywords": ["a", "b"], "card": "CARD_SUMMARY", "structuredData": {"@type": "X"}},
    )
    post(tenant, f"pages/{home['id']}/publish", {}, 200)
    # The draft of one that is published says something else.
    post(tenant, f"pages/{oil['id']}/publish", {}, 200)
    add_sections(tenant, oil, {"kind": "hero", "content": {"heading": "New"}})
    tenant.rest.patch(f"{tenant.path}/pages/{oil['id']}", {"title": "Oil change"})
    # A translation that is older than its parent, and one whose original comes later.
    german = post(tenant, "pages", {"slug": "heim", "title": "Heim", "locale": "de", "originalId": home["id"]})
    tenant.rest.patch(f"{tenant.path}/pages/{services['id']}", {"originalId": "", "parentId": home["id"]})
    when = {"publishTime": "2099-01-01T00:00:00Z", "unpublishTime": "2099-02-01T00:00:00Z"}
    post(tenant, f"pages/{german['id']}/schedule", when, 200)
    gone = post(tenant, "pages", {"slug": "gone", "title": "Gone"})
    tenant.rest.delete(f"{tenant.path}/pages/{gone['id']}")
    top = post(tenant, "navigation", {"title": "Services", "pageId": services["id"]})
    post(tenant, "navigation", {"title": "Oil", "pageId": oil["id"], "parentId": top["id"], "openInNewTab": True})
    post(tenant, "navigation", {"title": "Elsewhere", "url": "https://example.com/"})
    post(tenant, "redirects", {"path": "/old.html", "pageId": oil["id"], "note": "A flyer"})
    post(tenant, "redirects", {"path": "/away", "url": "https://example.com/", "isTemporary": True})
    seo = {"siteName": "Acme", "socialImageUrl": photo["url"]}
    assert tenant.rest.patch("/api/v1/cms/seo", seo).status_code == 200
    look = {"logoUrl": logo["url"], "primaryColor": "#123456"}
    assert tenant.rest.patch(f"{tenant.path}/branding", look).status_code == 200
    return tenant


@pytest.fixture(scope="module")
def site(stack: Stack) -> Tenant:
    return built(stack)


@pytest.fixture(scope="module")
def archive(site: Tenant) -> bytes:
    return exported(site)


def test_an_archive_holds_the_site_without_an_id(site: Tenant, archive: bytes) -> None:
    found = read(archive)
    text = json.dumps({name: value for name, value in found.items() if name.endswith(".json")})
    assert site.id not in text
    about = found["site.json"]
    assert about["pages"] == ["home", "services", "oil", "heim"]
    assert set(found) == {
        "site.json",
        *(f"pages/{slug}.json" for slug in about["pages"]),
        *(f"assets/{asset['sha256']}" for asset in about["assets"]),
    }
    assert [asset["filename"] for asset in about["assets"]] != ["unused.png"]
    assert sorted(asset["filename"] for asset in about["assets"]) == ["logo.png", "photo.jpg"]
    for asset in about["assets"]:
        assert hashlib.sha256(found[f"assets/{asset['sha256']}"]).hexdigest() == asset["sha256"]
    photo = next(asset["sha256"] for asset in about["assets"] if asset["filename"] == "photo.jpg")
    home = found["pages/home.json"]
    assert home["isPublished"]
    assert home["draft"]["sections"][0] == {
        "kind": "hero",
        "title": "Top",
        "content": {"heading": "Hi", "image": {"url": f"asset:{photo}"}},
        "style": {"dark": True},
    }
    assert f"asset:{photo}?copy=320" in home["draft"]["sections"][1]["content"]["text"]
    assert home["draft"]["seo"]["structuredData"] == {"@type": "X"}
    oil = found["pages/oil.json"]
    assert (oil["parent"], oil["draft"]["title"], oil["published"]["title"]) == ("services", "Oil change", "Oil")
    assert (found["pages/heim.json"]["original"], found["pages/heim.json"]["locale"]) == ("home", "de")
    assert [item["title"] for item in about["navigation"]] == ["Services", "Elsewhere"]
    assert about["navigation"][0]["items"] == [{"title": "Oil", "page": "oil", "openInNewTab": True}]
    assert [each["path"] for each in about["redirects"]] == ["/away", "/old.html"]
    assert about["branding"]["primaryColor"] == "#123456"


def test_what_is_imported_is_exported_byte_by_byte(stack: Stack, site: Tenant, archive: bytes) -> None:
    assert exported(site) == archive
    other = new_tenant(stack)
    operation = done(other, import_archive(other, archive))
    assert operation["result"] == {"pages": 4, "assets": 2}
    assert (operation["done"], operation["total"]) == (4, 4)
    assert exported(other) == archive
    # As somebody who opens it sees it.
    page = other.rest.get(f"{other.path}/pages/slug/oil").json()
    assert (page["path"], page["status"], page["title"]) == ("/home/services/oil", "STATUS_PUBLISHED", "Oil change")
    sections = other.rest.get(f"{other.path}/pages/{page['id']}/sections").json()["sections"]
    assert [section["content"]["heading"] for section in sections] == ["New"]
    logo = other.rest.get(f"{other.path}/branding").json()["logoUrl"]
    assert other.id in logo
    assert httpx.get(logo.replace(logo.split("/api")[0], stack.url)).status_code == 200


def test_what_an_import_makes_is_that_of_its_caller(stack: Stack) -> None:
    tenant = new_tenant(stack)
    operation = done(
        tenant,
        import_archive(tenant, written({"site.json": {"format": 1, "pages": ["home"]}, "pages/home.json": PAGE})),
    )
    found = rows(
        stack,
        "SELECT actor_id::text, request_id, for_webhooks FROM events WHERE tenant_id = %s AND type = 'page.created'",
        tenant.id,
    )
    assert found == [{"actor_id": tenant.owner.id, "request_id": operation["requestId"], "for_webhooks": True}]
    entries = tenant.rest.get(f"{tenant.path}/audit", {"filter": 'action = "page.created"'}).json()["auditEntries"]
    assert [entry["actorId"] for entry in entries] == [tenant.owner.id]


def test_a_site_is_made_only_where_there_is_none(site: Tenant, archive: bytes) -> None:
    refused = import_archive(site, archive)
    assert reason(refused) == (409, "STATE_FORBIDS")


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"pages/home.json": PAGE}, "site.json: is missing"),
        ({"site.json": {"format": 2}}, "site.json: has format 2"),
        ({"site.json": b"{"}, "site.json: is not what it should be"),
        ({"site.json": {"format": 1, "nonsense": True}}, "site.json: is not what it should be"),
        ({"site.json": {"format": 1, "pages": ["home"]}}, "pages/home.json: is missing"),
        (
            {"site.json": {"format": 1, "pages": ["home"]}, "pages/home.json": PAGE | {"parent": "elsewhere"}},
            "pages/home.json: page: `elsewhere` is none of the pages before",
        ),
        (
            {
                "site.json": {"format": 1, "pages": ["home", "b"]},
                "pages/home.json": PAGE | {"isPublished": True},
                "pages/b.json": {"slug": "b", "draft": {"title": "B", "sections": [{"kind": "nonsense"}]}},
            },
            "pages/b.json: requests[0].section.kind: is no type of section",
        ),
        (
            {"site.json": {"format": 1, "redirects": [{"path": "nowhere"}]}},
            "site.json: redirects: nowhere: redirect.path",
        ),
        ({"site.json": {"format": 1, "assets": [{"sha256": "0" * 64, "filename": "a"}]}}, f"assets/{'0' * 64}"),
        (
            {
                "site.json": {"format": 1, "assets": [{"sha256": "0" * 64, "filename": "a.svg"}]},
                f"assets/{'0' * 64}": b"<svg onload=x>",
            },
            f"assets/{'0' * 64}: This is",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(stack: Stack, entries: dict[str, Any], told: str) -> None:
    tenant = new_tenant(stack)
    operation = ended(tenant, import_archive(tenant, written(entries)))
    assert operation["state"] == "STATE_FAILED"
    assert operation["error"]["message"].startswith(told), operation["error"]
    assert tenant.rest.get(f"{tenant.path}/pages").json()["pages"] == []
    assert tenant.rest.get(f"{tenant.path}/assets").json()["assets"] == []
    published = rows(stack, "SELECT id FROM events WHERE tenant_id = %s AND type = 'page.published'", tenant.id)
    assert published == []
    # So it can be tried again.
    good = written({"site.json": {"format": 1, "pages": ["home"]}, "pages/home.json": PAGE})
    done(tenant, import_archive(tenant, good))


def test_what_is_no_archive_is_refused_at_once(stack: Stack) -> None:
    tenant = new_tenant(stack)
    for data in (b"PK", b"<html>", b""):
        answer = import_archive(tenant, data)
        assert answer.status_code == 415, answer.text
    cut = ended(tenant, import_archive(tenant, written({"site.json": EMPTY_SITE})[:-30]))
    assert cut["error"]["message"].startswith("archive: cannot be read"), cut


def test_bytes_without_a_valid_seal_are_cleaned(stack: Stack, archive: bytes) -> None:
    found = read(archive)
    for asset in found["site.json"]["assets"]:
        asset["seal"] = "made-up"
    tenant = new_tenant(stack)
    done(tenant, import_archive(tenant, written(found)))
    photo = next(
        each for each in tenant.rest.get(f"{tenant.path}/assets").json()["assets"] if each["filename"] == "photo.jpg"
    )
    known = {asset["sha256"] for asset in found["site.json"]["assets"]}
    assert photo["sha256"] not in known


def test_who_could_not_make_a_site_cannot_import_one(stack: Stack, archive: bytes) -> None:
    tenant = new_tenant(stack)
    _, editor = new_member(tenant, "viewer")
    path = f"{tenant.path}/site/import"
    refused = Rest(stack, editor.access_token).request(
        "POST", path, content=archive, headers={"content-type": "application/zip"}
    )
    assert reason(refused) == (403, "PERMISSION_MISSING")


def test_a_file_is_for_its_owner_and_for_a_week(site: Tenant, stack: Stack) -> None:
    operation = done(site, site.rest.post(f"{site.path}/site/export", {}))
    path = f"/api/v1/long-operations/{operation['id']}/file"
    answer = site.rest.get(path, headers={"range": "bytes=0-1"})
    assert (answer.status_code, answer.content) == (206, b"PK")
    assert answer.headers["content-disposition"] == f'attachment; filename="site-{site.id}.zip"'
    assert site.rest.head(path).headers["content-length"] == str(operation["file"]["size"])
    _, editor = new_member(site, "editor")
    assert Rest(stack, editor.access_token).get(path).status_code == 404
    rows(
        stack, "UPDATE operations SET end_time = now() - interval '8 days' WHERE id = %s RETURNING id", operation["id"]
    )
    assert reason(site.rest.get(path)) == (409, "STATE_FORBIDS")
