"""Versions of pages: what is kept, what is told of changes, and what is restored."""

from typing import Any

import pytest

from tests.clients import Tenant, database, new_tenant, problem, reason, rows, unique
from tests.stack import Stack


@pytest.fixture
def site(stack: Stack) -> Tenant:
    return new_tenant(stack)


class Page:
    """A page of a site, through REST."""

    def __init__(self, site: Tenant) -> None:
        self.rest = site.rest
        facts = {"slug": unique("page"), "title": "Prices", "settings": {"width": 3}}
        self.made = site.rest.post(f"{site.path}/pages", facts).json()
        self.id = self.made["id"]
        self.path = f"{site.path}/pages/{self.id}"

    def add(self, **facts: Any) -> dict[str, Any]:
        """Add a section."""
        answer = self.rest.post(f"{self.path}/sections", {"kind": "text", **facts})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def do(self, what: str, **facts: Any) -> dict[str, Any]:
        """Do something with the page; what it is then."""
        answer = self.rest.post(f"{self.path}/{what}", facts)
        assert answer.status_code in {200, 201}, answer.text
        done: dict[str, Any] = answer.json()
        return done

    def change(self, below: str = "", **facts: Any) -> None:
        """Change the page, or something below it."""
        answer = self.rest.patch(f"{self.path}{below}", facts)
        assert answer.status_code == 200, answer.text

    def sections(self) -> list[dict[str, Any]]:
        """Its sections."""
        found: list[dict[str, Any]] = self.rest.get(f"{self.path}/sections").json()["sections"]
        return found

    def versions(self) -> list[dict[str, Any]]:
        """Its versions, newest first."""
        found: list[dict[str, Any]] = self.rest.get(f"{self.path}/versions").json()["pageVersions"]
        return found

    def changes(self, version: dict[str, Any], other: str = "") -> list[tuple[Any, ...]]:
        """What has changed since a version."""
        answer = self.rest.get(f"{self.path}/versions/{version['id']}/changes", {"withVersionId": other}).json()
        assert not answer["isTruncated"]
        return [(each["kind"], each["path"], each.get("before"), each.get("after")) for each in answer["changes"]]


@pytest.fixture
def page(site: Tenant) -> Page:
    return Page(site)


def test_publishing_makes_a_version_of_what_has_changed(page: Page) -> None:
    page.add(title="Oil", content={"text": "49 €"})
    assert page.do("publish")["versionNumber"] == 1
    # What says the same is no further version.
    assert page.do("publish")["versionNumber"] == 1
    page.change("/seo", title="All our prices")
    assert page.do("publish")["versionNumber"] == 2
    newest, oldest = page.versions()
    assert [newest["number"], newest["reason"], newest["title"]] == [2, "REASON_PUBLISHED", "Prices"]
    assert "content" not in newest
    content = page.rest.get(f"{page.path}/versions/{oldest['id']}").json()["content"]
    assert (content["title"], content["settings"], content.get("seo")) == ("Prices", {"width": 3}, None)
    assert [(each["title"], each["content"]) for each in content["sections"]] == [("Oil", {"text": "49 €"})]
    content = page.rest.get(f"{page.path}/versions/{newest['id']}").json()["content"]
    assert content["seo"]["title"] == "All our prices"


def test_a_version_can_be_saved_without_publishing(page: Page) -> None:
    saved = page.do("versions", note="Before the summer")
    assert (saved["number"], saved["reason"], saved["note"]) == (1, "REASON_SAVED", "Before the summer")
    assert page.rest.get(page.path).json()["versionNumber"] == 0
    refused = page.rest.post(f"{page.path}/versions", {})
    assert reason(refused) == (409, "STATE_FORBIDS")
    # It is what is published, if nothing has changed since.
    assert page.do("publish")["versionNumber"] == 1


def test_changes_are_told_one_by_one(page: Page) -> None:
    oil = page.add(title="Oil", content={"text": "49 €", "list": [1]})
    tyres = page.add(title="Tyres")
    first = page.do("versions")
    assert page.changes(first) == []
    page.change(title="New prices", settings={"width": 3, "dark": True})
    page.change(f"/sections/{oil['id']}", content={"text": "59 €", "list": [1]})
    assert page.rest.delete(f"{page.path}/sections/{tyres['id']}").status_code == 204
    page.change("/seo", noIndex=True)
    brakes = page.add(title="Brakes")
    order = {"ids": [brakes["id"], oil["id"]]}
    assert page.rest.put(f"{page.path}/sections/reorder", order).status_code == 200
    found = page.changes(first)
    assert found[:5] == [
        ("KIND_CHANGED", "title", "Prices", "New prices"),
        ("KIND_ADDED", "settings.dark", None, True),
        ("KIND_ADDED", "seo.no_index", None, True),
        ("KIND_REMOVED", f"sections[{tyres['id']}]", found[3][2], None),
        ("KIND_ADDED", f"sections[{brakes['id']}]", None, found[4][3]),
    ]
    assert (found[3][2]["title"], found[4][3]["title"]) == ("Tyres", "Brakes")
    assert found[5:] == [
        ("KIND_CHANGED", f"sections[{oil['id']}].place", 1, 2),
        ("KIND_CHANGED", f"sections[{oil['id']}].content.text", "49 €", "59 €"),
    ]
    second = page.do("versions")
    assert page.changes(first, second["id"]) == found
    assert [kind for kind, *_ in page.changes(second, first["id"])] == [
        f"KIND_{kind}" for kind in ("CHANGED", "REMOVED", "REMOVED", "REMOVED", "CHANGED", "CHANGED", "ADDED")
    ]


def test_many_changes_are_cut(page: Page) -> None:
    first = page.do("versions")
    page.change(settings={f"key-{number}": number for number in range(1200)})
    answer = page.rest.get(f"{page.path}/versions/{first['id']}/changes").json()
    assert (len(answer["changes"]), answer["isTruncated"]) == (1000, True)


def test_a_version_is_restored_with_its_sections_and_metadata(page: Page) -> None:
    oil = page.add(title="Oil", content={"text": "49 €"}, style={"wide": True})
    tyres = page.add(title="Tyres", hidden=True)
    page.change("/seo", title="All", keywords=["oil", "tyres"], structuredData={"@type": "Thing"}, noIndex=True)
    first = page.do("versions")
    before = (page.rest.get(page.path).json(), page.sections(), page.rest.get(f"{page.path}/seo").json())
    page.change(title="Other", description="More", settings=None, slug=unique("moved"))
    page.change("/seo", title="", keywords=[], structuredData=None, noIndex=False)
    page.change(f"/sections/{oil['id']}", content=None, title="Oil!")
    assert page.rest.delete(f"{page.path}/sections/{tyres['id']}").status_code == 204
    added = page.add(title="Brakes")
    slug, etag = (page.rest.get(page.path).json()[name] for name in ("slug", "etag"))
    stale = page.rest.post(f"{page.path}/versions/{first['id']}/restore", {"etag": page.made["etag"]})
    assert stale.status_code == 412
    restored = page.do(f"versions/{first['id']}/restore", etag=etag)
    assert (restored["title"], restored["description"], restored["settings"]) == ("Prices", "", {"width": 3})
    assert restored["slug"] == slug
    kept = ("id", "kind", "title", "content", "style", "hidden", "place")
    assert [[each.get(name) for name in kept] for each in page.sections()] == [
        [each.get(name) for name in kept] for each in before[1]
    ]
    seo = page.rest.get(f"{page.path}/seo").json()
    told = ("title", "keywords", "structuredData", "noIndex")
    assert [seo[name] for name in told] == [before[2][name] for name in told]
    assert page.changes(first) == []
    # What was there before is kept, and comes back.
    newest = page.versions()[0]
    assert newest["reason"] == "REASON_REPLACED"
    page.do(f"versions/{newest['id']}/restore")
    assert [each["id"] for each in page.sections()] == [oil["id"], added["id"]]
    assert (page.sections()[0]["title"], page.rest.get(page.path).json()["title"]) == ("Oil!", "Other")


def test_what_was_purged_comes_back_too(stack: Stack, page: Page) -> None:
    section = page.add(title="Oil")
    first = page.do("versions")
    with database(stack) as connection:
        connection.execute("DELETE FROM sections WHERE id = %s", (section["id"],))
    page.do(f"versions/{first['id']}/restore")
    assert [(each["id"], each["title"]) for each in page.sections()] == [(section["id"], "Oil")]


def test_restoring_tells_of_itself_even_where_only_sections_differ(stack: Stack, site: Tenant, page: Page) -> None:
    first = page.do("versions")
    page.add(title="Oil")
    before = page.rest.get(page.path).json()["etag"]
    after = page.do(f"versions/{first['id']}/restore")["etag"]
    assert (before != after, page.rest.get(page.path).json()["etag"]) == (True, after)
    [event] = rows(stack, "SELECT type FROM events WHERE tenant_id = %s AND type = 'page.restored'", site.id)
    assert event["type"] == "page.restored"


def test_versions_go_and_come_back_with_their_page(page: Page) -> None:
    first = page.do("versions")
    assert page.rest.delete(page.path).status_code == 204
    for below in ("", f"/{first['id']}", f"/{first['id']}/changes"):
        assert reason(page.rest.get(f"{page.path}/versions{below}")) == (404, "RESOURCE_NOT_FOUND")
    for what in ("versions", f"versions/{first['id']}/restore"):
        assert reason(page.rest.post(f"{page.path}/{what}", {})) == (404, "RESOURCE_NOT_FOUND")
    assert page.rest.post(f"{page.path}/undelete", {}).status_code == 200
    assert [each["id"] for each in page.versions()] == [first["id"]]


def test_a_version_of_another_page_is_not_found(site: Tenant, page: Page) -> None:
    other = Page(site)
    version = other.do("versions")
    for answer in (
        page.rest.get(f"{page.path}/versions/{version['id']}"),
        page.rest.post(f"{page.path}/versions/{version['id']}/restore", {}),
        other.rest.get(f"{other.path}/versions/{version['id']}/changes", {"withVersionId": page.do("versions")["id"]}),
    ):
        assert problem(answer).resource_type == "plinth.dev/PageVersion"


def test_the_newest_hundred_are_kept_and_what_is_published(stack: Stack, page: Page) -> None:
    page.do("publish")
    with database(stack) as connection:
        # As many as there would be after a while.
        connection.execute("UPDATE page_versions SET number = 1 WHERE page_id = %s", (page.id,))
        copy = """INSERT INTO page_versions (tenant_id, id, page_id, number, reason, title, content, digest)
                  SELECT tenant_id, gen_random_uuid(), page_id, n, 2, title, content, n::text::bytea
                    FROM page_versions, generate_series(2, 110) n WHERE page_id = %s"""
        connection.execute(copy, (page.id,))
    page.change(title="Other")
    page.do("versions")
    kept = rows(stack, "SELECT number FROM page_versions WHERE page_id = %s ORDER BY number", page.id)
    assert [row["number"] for row in kept] == [1, *range(12, 112)]


def test_a_draft_that_is_too_large_is_not_kept(page: Page) -> None:
    for number in range(36):
        page.add(title=str(number), content={"more": "x" * 60_000})
    for what in ("publish", "versions"):
        refused = page.rest.post(f"{page.path}/{what}", {})
        assert reason(refused) == (409, "LIMIT_REACHED")
    assert page.versions() == []


def test_a_copy_has_the_sections_and_metadata(page: Page) -> None:
    page.add(title="Oil", content={"text": "49 €"}, style={"wide": True}, hidden=True)
    page.change("/seo", title="All", keywords=["oil"], canonicalUrl="https://example.com/")
    copy = page.do("duplicate")
    path = page.path.replace(page.id, copy["id"])
    [section] = page.rest.get(f"{path}/sections").json()["sections"]
    assert section["id"] != page.sections()[0]["id"]
    assert (section["title"], section["content"], section["hidden"]) == ("Oil", {"text": "49 €"}, True)
    seo = page.rest.get(f"{path}/seo").json()
    assert (seo["title"], seo["keywords"], seo["canonicalUrl"]) == ("All", ["oil"], "")
    assert (copy["versionNumber"], copy["status"], copy["settings"]) == (0, "STATUS_DRAFT", {"width": 3})
