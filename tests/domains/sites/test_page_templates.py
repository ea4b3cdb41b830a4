"""Templates of pages: who keeps them, what they make of pages, and what of that was changed since."""

from typing import Any

import pytest

from server.domains.sites.default_templates import DEFAULT_TEMPLATES
from server.domains.sites.industries import INDUSTRIES
from tests.clients import Rest, Tenant, new_tenant, problem, reason, rows, unique
from tests.domains.platform import new_platform_admin
from tests.stack import Stack

HERO = {"kind": "hero", "title": "Begin", "content": {"heading": "Welcome", "text": "Come in."}}
PRICES = {"kind": "price-list", "title": "Prices", "content": {"items": [{"title": "Oil", "price": "79 €"}]}}


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Rest:
    """A platform administrator."""
    return Rest(stack, new_platform_admin(stack).access_token)


@pytest.fixture
def site(stack: Stack) -> Tenant:
    return new_tenant(stack)


def template(admin: Rest, **facts: Any) -> dict[str, Any]:
    body = {"key": unique("template"), "displayName": "Garage", "sections": [HERO, PRICES]} | facts
    answer = admin.post("/api/v1/templates", body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def sections(site: Tenant, page: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.rest.get(f"{site.path}/pages/{page['id']}/sections").json()["sections"]
    return found


def customizations(site: Tenant, page: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = site.rest.get(f"{site.path}/pages/{page['id']}/customizations").json()
    return found


# The catalogue -------------------------------------------------------------------------------------------------------


def test_administrators_keep_templates_and_everybody_reads_them(admin: Rest, site: Tenant) -> None:
    key = unique("template")
    made = template(admin, key=key, category="home", industry="car-service", isPremium=True)
    path = f"/api/v1/templates/{made['id']}"
    assert site.rest.get(path).json() == made
    query = f'key = "{key}" AND category = "home" AND industry = "car-service" AND is_premium = true'
    assert site.rest.get("/api/v1/templates", {"filter": query}).json()["pageTemplates"] == [made]
    for answer in (
        site.rest.post("/api/v1/templates", {"key": unique("template"), "displayName": "x"}),
        site.rest.patch(path, {"displayName": "x"}),
        site.rest.delete(path),
    ):
        assert answer.status_code == 403
    assert reason(admin.post("/api/v1/templates", {"key": key, "displayName": "x"})) == (409, "RESOURCE_TAKEN")
    assert Rest(site.stack, None).get(path).status_code == 401


def test_a_template_follows_the_built_in_types(admin: Rest) -> None:
    wrong = [{"kind": "heroo"}, {"kind": "hero", "content": {"heading": 7}}]
    refused = admin.post(
        "/api/v1/templates", {"key": unique("t"), "displayName": "x", "sections": wrong, "industry": "nothing"}
    )
    assert set(problem(refused).violations) == {"sections[0].kind", "sections[1].content.heading", "industry"}
    text = {"kind": "text", "content": {"html": "<p>Hello</p><script>alert(1)</script>"}}
    made = template(admin, sections=[text])
    assert made["sections"][0]["content"] == {"html": "<p>Hello</p>"}


def test_industries_are_known(site: Tenant) -> None:
    listed = site.rest.get("/api/v1/industries").json()["industries"]
    assert {each["key"]: each["displayName"] for each in listed} == INDUSTRIES


@pytest.mark.parametrize("default", DEFAULT_TEMPLATES, ids=lambda each: each.key)
def test_the_default_templates_are_good_ones(admin: Rest, default: Any) -> None:
    facts = {
        "category": default.category,
        "industry": default.industry,
        "pageTitle": default.page_title,
        "sections": list(default.sections),
    }
    made = template(admin, **facts)
    shown = admin.get(f"/api/v1/templates/{made['id']}/preview")
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<title>{default.page_title}</title>" in shown.text
    assert shown.text.count("<section ") == len(default.sections)


def test_a_fresh_deployment_has_the_default_templates_once(stack: Stack) -> None:
    keys = [row["key"] for row in rows(stack, "SELECT key FROM page_templates WHERE key = ANY (%s)", KEYS)]
    assert sorted(keys) == sorted(KEYS)


KEYS = [each.key for each in DEFAULT_TEMPLATES]


# Pages ---------------------------------------------------------------------------------------------------------------


def test_a_page_begins_with_its_template(admin: Rest, site: Tenant) -> None:
    made = template(admin, pageTitle="Your garage", pageSettings={"wide": True})
    page = site.rest.post(f"{site.path}/pages", {"pageTemplateId": made["id"]}).json()
    assert (page["title"], page["slug"], page["settings"]) == ("Your garage", "your-garage", {"wide": True})
    assert [(each["title"], each["content"], each["place"]) for each in sections(site, page)] == [
        ("Begin", HERO["content"], 1),
        ("Prices", PRICES["content"], 2),
    ]
    own = {"pageTemplateId": made["id"], "title": "Mine", "settings": {"wide": False}}
    page = site.rest.post(f"{site.path}/pages", own).json()
    assert (page["title"], page["settings"]) == ("Mine", {"wide": False})
    absent = site.rest.post(f"{site.path}/pages", {"title": "x", "pageTemplateId": site.id})
    assert problem(absent).resource_type == "plinth.dev/PageTemplate"
    fixed = site.rest.patch(f"{site.path}/pages/{page['id']}", {"pageTemplateId": ""})
    assert problem(fixed).rules == ("immutable",)


def test_what_was_changed_since_is_told_and_taken_back(admin: Rest, site: Tenant) -> None:
    made = template(admin, pageTitle="Your garage")
    page = site.rest.post(f"{site.path}/pages", {"pageTemplateId": made["id"]}).json()
    path = f"{site.path}/pages/{page['id']}"
    assert customizations(site, page) == {"templateId": made["id"], "changes": [], "isTruncated": False}
    hero, prices = sections(site, page)
    assert site.rest.patch(path, {"title": "Ours"}).status_code == 200
    assert site.rest.patch(f"{path}/sections/{hero['id']}", {"content": {"heading": "Hi"}}).status_code == 200
    assert site.rest.delete(f"{path}/sections/{prices['id']}").status_code == 204
    # Other changes of the template count for nothing.
    assert admin.patch(f"/api/v1/templates/{made['id']}", {"sections": []}).status_code == 200
    changed = [(each["kind"], each["path"]) for each in customizations(site, page)["changes"]]
    assert changed == [
        ("KIND_CHANGED", "title"),
        ("KIND_REMOVED", f"sections[{prices['id']}]"),
        ("KIND_CHANGED", f"sections[{hero['id']}].content.heading"),
        ("KIND_REMOVED", f"sections[{hero['id']}].content.text"),
    ]
    stale = site.rest.post(f"{path}/reset-template", {"etag": page["etag"]})
    assert stale.status_code == 412
    assert site.rest.post(f"{path}/reset-template", {}).json()["title"] == "Your garage"
    assert [each["content"] for each in sections(site, page)] == [HERO["content"], PRICES["content"]]
    assert customizations(site, page)["changes"] == []


def test_a_template_replaces_what_a_page_has(admin: Rest, site: Tenant) -> None:
    page = site.rest.post(f"{site.path}/pages", {"title": "Mine", "settings": {"wide": False}}).json()
    path = f"{site.path}/pages/{page['id']}"
    before = site.rest.post(f"{path}/sections", {"kind": "hero", "title": "Before"}).json()
    assert sections(site, page) == [before]
    assert customizations(site, page) == {"templateId": "", "changes": [], "isTruncated": False}
    refused = site.rest.post(f"{path}/reset-template", {})
    assert (reason(refused), problem(refused).metadata["state"]) == ((409, "STATE_FORBIDS"), "no_template")
    made = template(admin, pageTitle="Not taken", pageSettings={"wide": True})
    apply = f"/api/v1/templates/{made['id']}/apply"
    assert site.rest.post(apply, {"pageId": page["id"], "etag": '"x"'}).status_code == 412
    applied = site.rest.post(apply, {"pageId": page["id"]}).json()
    assert (applied["title"], applied["settings"], applied["pageTemplateId"]) == ("Mine", {"wide": True}, made["id"])
    assert [each["title"] for each in sections(site, page)] == ["Begin", "Prices"]
    newest, replaced = site.rest.get(f"{path}/versions").json()["pageVersions"]
    assert (newest["reason"], replaced["reason"]) == ("REASON_TEMPLATE", "REASON_REPLACED")
    assert site.rest.post(f"{path}/versions/{replaced['id']}/restore", {}).status_code == 200
    assert [each["id"] for each in sections(site, page)] == [before["id"]]
    absent = site.rest.post(f"/api/v1/templates/{site.id}/apply", {"pageId": page["id"]})
    assert problem(absent).resource_type == "plinth.dev/PageTemplate"


def test_a_template_is_applied_to_pages_of_the_own_tenant_alone(stack: Stack, admin: Rest, site: Tenant) -> None:
    made = template(admin)
    other = new_tenant(stack)
    page = other.rest.post(f"{other.path}/pages", {"title": "Theirs"}).json()
    refused = site.rest.post(f"/api/v1/templates/{made['id']}/apply", {"pageId": page["id"]})
    assert reason(refused) == (404, "RESOURCE_NOT_FOUND")
    assert sections(other, page) == []


# HTML ----------------------------------------------------------------------------------------------------------------


def test_a_preview_escapes_and_runs_nothing(admin: Rest) -> None:
    evil = "</title></style><script>alert(1)</script>\"'<img src=x onerror=alert(1)>"
    made = template(
        admin,
        pageTitle=evil[:300],
        sections=[
            {"kind": "hero", "content": {"heading": evil, "text": evil, "image": {"url": "/a.png", "alt": evil}}},
            {"kind": "questions", "content": {"items": [{"question": evil, "answer": evil}]}},
            {"kind": "contact", "content": {"phone": evil, "email": "a@example.com", "address": "One\nTwo"}},
        ],
    )
    shown = admin.get(f"/api/v1/templates/{made['id']}/preview").text
    assert "<script" not in shown
    assert "onerror=alert(1)&gt;" in shown
    assert "onerror=alert(1)>" not in shown
    assert "<p>One<br>Two</p>" in shown
    assert 'href="mailto:a@example.com"' in shown
