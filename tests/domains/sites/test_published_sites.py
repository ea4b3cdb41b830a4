"""What visitors see of a site: pages by host and path, as they were published."""

from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from server.domains.sites.built_in_sections import BUILT_IN
from tests.clients import Rest, Tenant, database, new_tenant, reason
from tests.stack import Stack

SITES = "/api/v1/published-sites"


class Site:
    """A site, and its visitors."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.rest = tenant.rest
        self.host = f"{tenant.subdomain}.{tenant.stack.settings.sites_domain}"

    def add(self, slug: str, heading: str = "", **facts: Any) -> dict[str, Any]:
        """Add a page with a section."""
        page = self.rest.post(f"{self.tenant.path}/pages", {"slug": slug, "title": slug.title(), **facts})
        assert page.status_code == 201, page.text
        made: dict[str, Any] = page.json()
        section = {"kind": "hero", "content": {"heading": heading or slug}}
        assert self.rest.post(f"{self.path(made)}/sections", section).status_code == 201
        return made

    def path(self, page: dict[str, Any]) -> str:
        """The path of a page in the API."""
        return f"{self.tenant.path}/pages/{page['id']}"

    def publish(self, page: dict[str, Any], what: str = "publish") -> None:
        """Publish a page, or take it off."""
        answer = self.rest.post(f"{self.path(page)}/{what}", {})
        assert answer.status_code == 200, answer.text

    def live(self, slug: str, heading: str = "", **facts: Any) -> dict[str, Any]:
        """Add a page and publish it."""
        page = self.add(slug, heading, **facts)
        self.publish(page)
        return page

    def visit(self, path: str = "/", method: str = "GET", **headers: str) -> httpx.Response:
        """What a visitor of the site gets."""
        return httpx.request(method, f"{self.tenant.stack.url}{path}", headers={"host": self.host, **headers})

    def content(self, path: str) -> dict[str, Any]:
        """What a front end gets."""
        answer = Rest(self.tenant.stack, None).get(f"{SITES}/{self.host}/content", {"path": path})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def listed(self) -> list[str]:
        """The addresses in the map."""
        answer = self.visit("/sitemap.xml")
        assert answer.headers["content-type"] == "application/xml; charset=utf-8"
        root = ET.fromstring(answer.content)  # noqa: S314 - of our own server
        return [str(each.text) for each in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]


@pytest.fixture
def site(stack: Stack) -> Site:
    return Site(new_tenant(stack))


def test_visitors_see_what_was_published_last(site: Site) -> None:
    page = site.live("home", "Welcome")
    [section] = site.rest.get(f"{site.path(page)}/sections").json()["sections"]
    change = {"content": {"heading": "Not yet"}}
    assert site.rest.patch(f"{site.path(page)}/sections/{section['id']}", change).status_code == 200
    shown = site.visit()
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>Welcome</h1>" in shown.text
    site.publish(page)
    assert "<h1>Not yet</h1>" in site.visit().text
    site.publish(page, "unpublish")
    gone = site.visit()
    assert (gone.status_code, "Nothing is at this address" in gone.text) == (404, True)


def test_drafts_and_hidden_sections_are_not_shown(site: Site) -> None:
    draft = site.add("draft")
    assert site.visit("/draft").status_code == 404
    assert reason(Rest(site.tenant.stack, None).get(f"{SITES}/{site.host}/content", {"path": "/draft"}))[0] == 404
    hidden = {"kind": "hero", "content": {"heading": "Secret"}, "hidden": True}
    assert site.rest.post(f"{site.path(draft)}/sections", hidden).status_code == 201
    site.publish(draft)
    assert "Secret" not in site.visit("/draft").text
    assert [each["content"] for each in site.content("/draft")["content"]["sections"]] == [{"heading": "draft"}]


def test_a_page_from_before_there_were_versions_shows_its_draft(site: Site) -> None:
    page = site.live("old", "As it was")
    with database(site.tenant.stack) as connection:
        connection.execute("UPDATE pages SET version_number = 0 WHERE id = %s", (page["id"],))
    assert "<h1>As it was</h1>" in site.visit("/old").text


def test_pages_are_at_their_path_and_other_addresses_lead_there(site: Site) -> None:
    above = site.live("services")
    page = site.live("oil", parentId=above["id"])
    assert site.visit("/services/oil").status_code == 200
    assert site.visit("/services/oil/?utm_source=x").status_code == 200
    for address in ("/oil", "/other/oil"):
        moved = site.visit(address)
        assert (moved.status_code, moved.headers["location"]) == (308, "/services/oil")
    assert site.rest.patch(site.path(page), {"slug": "oil-change"}).status_code == 200
    for address in ("/services/oil", "/oil"):
        assert site.visit(address).headers["location"] == "/services/oil-change"
    redirects = f"{site.tenant.path}/redirects"
    flyer = {"path": "/flyer.html", "url": "https://example.com/flyer", "isTemporary": True}
    assert site.rest.post(redirects, flyer).status_code == 201
    assert site.rest.post(redirects, {"path": "/start/here"}).status_code == 201
    moved = site.visit("/flyer.html")
    assert (moved.status_code, moved.headers["location"]) == (307, "https://example.com/flyer")
    assert site.visit("/start/here").headers["location"] == "/"
    told = site.content("/flyer.html")
    assert (told["redirectUrl"], told["isTemporary"], told["pageId"]) == ("https://example.com/flyer", True, "")
    # What a page that is no longer there has left leads nowhere.
    site.publish(page, "unpublish")
    assert site.visit("/oil").status_code == 404


def test_a_page_has_the_look_of_its_site(site: Site) -> None:
    tenant = site.tenant
    branding = {"primaryColor": "#aa1122", "headingFont": "Fraunces", "logoUrl": "https://example.com/logo.svg"}
    assert site.rest.patch(f"{tenant.path}/branding", branding).status_code == 200
    seo = {"siteName": "The garage", "socialImageUrl": "https://example.com/car.jpg"}
    assert site.rest.patch("/api/v1/cms/seo", seo).status_code == 200
    home, draft = site.live("home"), site.add("draft")
    items = [{"title": "Start", "pageId": home["id"]}, {"title": "Later", "pageId": draft["id"]}]
    items.append({"title": "Shop", "url": "https://example.com/shop", "openInNewTab": True})
    made = [site.rest.post(f"{tenant.path}/navigation", item).json() for item in items]
    below = {"title": "Below", "parentId": made[2]["id"], "url": "/below"}
    assert site.rest.post(f"{tenant.path}/navigation", below).status_code == 201
    assert site.rest.post(f"{tenant.path}/navigation", {"title": "Unseen", "hidden": True}).status_code == 201
    facts = {"title": "All about cars", "description": "Oil & tyres", "structuredData": {"@type": "</script><b>"}}
    assert site.rest.patch(f"{site.path(home)}/seo", facts).status_code == 200
    site.publish(home)
    html = site.visit().text
    assert "<title>All about cars</title>" in html
    assert '<meta name="description" content="Oil &amp; tyres">' in html
    assert '<meta property="og:image" content="https://example.com/car.jpg">' in html
    assert '<img src="https://example.com/logo.svg" alt="The garage">' in html
    assert "--primary:#aa1122" in html
    assert '--heading:"Fraunces"' in html
    assert f'<link rel="canonical" href="https://{site.host}/">' in html
    assert '{"@type": "\\u003c/script>\\u003cb>"}' in html
    assert '<li><a href="/">Start</a></li>' in html
    shop = (
        '<a href="https://example.com/shop" target="_blank" rel="noopener">Shop</a><ul><li><a href="/below">Below</a>'
    )
    assert shop in html
    assert "Later" not in html
    assert "Unseen" not in html


def test_translations_name_each_other(site: Site) -> None:
    page = site.live("hours", locale="en")
    german = site.live("zeiten", locale="de", originalId=page["id"])
    for slug in ("hours", "zeiten"):
        html = site.visit(f"/{slug}").text
        assert f'<link rel="alternate" hreflang="en" href="https://{site.host}/hours">' in html
        assert f'<link rel="alternate" hreflang="de" href="https://{site.host}/zeiten">' in html
    assert '<html lang="de">' in site.visit("/zeiten").text
    # What names no language is in that of the tenant.
    site.live("news")
    assert '<html lang="en">' in site.visit("/news").text
    chosen = {"localization": {"defaultLanguage": "fr-CA"}}
    assert site.rest.patch("/api/v1/settings", chosen).status_code == 200
    assert '<html lang="fr-CA">' in site.visit("/news").text
    site.publish(german, "unpublish")
    assert "hreflang" not in site.visit("/hours").text


def test_content_of_any_form_is_shown_without_a_fault(site: Site) -> None:
    """A type of the site's own may have the kind of a built-in one, and another form."""
    forms: list[Any] = [7, "text", True, [7, "text", None, []], {"title": {"url": []}}]
    names = ("items", "images", "image", "button", "heading", "text", "html", "url", "email", "phone", "address")
    kinds = (*BUILT_IN, "picture", "words")
    page = site.add("forms")
    for kind in kinds:
        made = site.rest.post(f"{site.tenant.path}/section-types", {"kind": kind, "schema": {"type": "object"}})
        assert made.status_code == 201, made.text
    sections = [
        {"kind": kind, "content": dict.fromkeys(names, form)} for form in forms for kind in (*BUILT_IN, "words")
    ]
    for section in sections:
        assert site.rest.post(f"{site.path(page)}/sections", section).status_code == 201
    site.publish(page)
    shown = site.visit("/forms")
    assert shown.status_code == 200
    assert shown.text.count("<section ") == len(sections) + 1


def test_caches_may_keep_pages_for_a_minute(site: Site) -> None:
    page = site.live("home")
    first = site.visit()
    assert first.headers["cache-control"] == "public, max-age=0, s-maxage=60, stale-while-revalidate=600"
    assert site.visit(**{"if-none-match": first.headers["etag"]}).status_code == 304
    content = f"{site.tenant.stack.url}{SITES}/{site.host}/content"
    etag = httpx.get(content).headers["etag"]
    assert httpx.get(content, headers={"if-none-match": etag}).status_code == 304
    head = site.visit(method="HEAD")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", first.headers["etag"])
    assert site.rest.patch(site.path(page), {"title": "Other"}).status_code == 200
    site.publish(page)
    assert site.visit(**{"if-none-match": first.headers["etag"]}).status_code == 200


def test_search_engines_get_a_map_and_a_file_for_robots(site: Site) -> None:
    above = site.live("services")
    site.live("oil", parentId=above["id"])
    site.add("draft")
    secret = site.live("secret")
    assert site.rest.patch(f"{site.path(secret)}/seo", {"noIndex": True}).status_code == 200
    assert site.listed() == [f"https://{site.host}/services", f"https://{site.host}/services/oil"]
    robots = site.visit("/robots.txt")
    assert robots.headers["content-type"] == "text/plain; charset=utf-8"
    assert robots.text.splitlines() == [
        "User-agent: *", "Disallow: /api/", f"Sitemap: https://{site.host}/sitemap.xml"
    ]  # fmt: skip
    assert site.rest.patch("/api/v1/cms/seo", {"noIndex": True}).status_code == 200
    assert site.listed() == []
    assert site.visit("/robots.txt").text.splitlines() == ["User-agent: *", "Disallow: /"]
    assert '<meta name="robots" content="noindex">' in site.visit("/services").text


def test_hosts_are_told_apart(stack: Stack, site: Site) -> None:
    site.live("home", "Ours")
    other = Site(new_tenant(stack))
    other.live("home", "Theirs")
    assert ("Ours" in site.visit().text, "Ours" in other.visit().text) == (True, False)
    shouted = httpx.get(stack.url, headers={"host": f"{site.host.upper()}:8080"})
    assert "Ours" in shouted.text
    nobody = httpx.get(stack.url, headers={"host": f"nobody.{stack.settings.sites_domain}"})
    assert (nobody.status_code, "Nothing is at this address" in nobody.text) == (404, True)
    # The API is at every host, and what the gateway answers itself is at its own.
    assert site.visit("/api/v1/health").json()["status"]
    assert "/docs" in httpx.get(stack.url).text
    assert site.visit("/docs").status_code == 404
    assert site.visit(method="POST").status_code == 405
    with database(stack) as connection:
        connection.execute("UPDATE tenants SET status = 2 WHERE id = %s", (other.tenant.id,))
    assert other.visit().status_code == 404


def test_a_page_runs_nothing_and_says_so(site: Site) -> None:
    site.live("home", "</h1><script>alert(1)</script>")
    answer = site.visit()
    assert "<script" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src https: http:")
    assert "script-src" not in policy
    assert "unsafe" not in policy
