"""SEO metadata of pages: one for each, and what could be better about it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.page_seo_pb2 import PageSeo
from plinth.sites.v1.site_seo_pb2 import SiteSeo

from server.domains.sites.seo_rules import findings_of, score_of
from tests.clients import Tenant, new_tenant, problem, reason, rows, unique
from tests.stack import Stack

GOOD = {
    "title": "Car repair while you wait in Madrid",
    "description": "Oil, brakes and tyres while you wait: book a place online, and have your car back the same day.",
    "socialImageUrl": "https://acme.example/garage.jpg",
    "structuredData": {"@type": "AutoRepair"},
}


@pytest.fixture
def path(tenant: Tenant) -> str:
    """That of the metadata of a new page."""
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("page"), "title": "Repair"}).json()
    return f"{tenant.path}/pages/{page['id']}/seo"


def rules(seo: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in seo["findings"]]


def test_a_page_has_metadata_from_its_creation_on(tenant: Tenant, path: str) -> None:
    first = tenant.rest.get(path).json()
    page_id = path.split("/")[-2]
    assert (first["id"], first["pageId"], first["tenantId"]) == (page_id, page_id, tenant.id)
    assert rules(first) == ["description.missing", "title.short", "social_image.missing", "structured_data.missing"]
    assert first["score"] == 100 - 25 - 15 - 10 - 5
    changed = tenant.rest.patch(path, GOOD)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["score"], rules(changed.json())) == (100, [])
    assert tenant.rest.get(path).json() == changed.json()
    assert (
        tenant.rest.request("PATCH", path, json={"title": "x"}, headers={"if-match": first["etag"]}).status_code == 412
    )
    assert tenant.rest.delete(path).status_code == 204
    emptied = tenant.rest.get(path).json()
    assert (emptied["title"], emptied["score"]) == ("", first["score"])


def test_it_goes_and_comes_back_with_its_page(stack: Stack, tenant: Tenant, path: str) -> None:
    tenant.rest.patch(path, GOOD)
    page = path.removesuffix("/seo")
    assert tenant.rest.delete(page).status_code == 204
    for answer in (tenant.rest.get(path), tenant.rest.patch(path, {"title": "x"}), tenant.rest.delete(path)):
        assert reason(answer) == (404, "RESOURCE_NOT_FOUND")
        assert problem(answer).resource_type == "plinth.dev/Page"
    assert tenant.rest.post(f"{page}/undelete", {}).status_code == 200
    assert tenant.rest.get(path).json()["title"] == GOOD["title"]
    other = new_tenant(stack)
    theirs = other.rest.get(path.replace(tenant.id, other.id))
    assert reason(theirs) == (404, "RESOURCE_NOT_FOUND")


def test_first_changes_at_once_are_both_kept(stack: Stack, tenant: Tenant, path: str) -> None:
    changes: list[dict[str, Any]] = [
        {"title": "One title"},
        {"description": "One description"},
        {"noFollow": True},
        {"card": "CARD_SUMMARY"},
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda change: tenant.rest.patch(path, change), changes))
    assert {answer.status_code for answer in answers} == {200}
    found = tenant.rest.get(path).json()
    assert [found[name] for change in changes for name in change] == [
        "One title", "One description", True, "CARD_SUMMARY"
    ]  # fmt: skip
    stored = rows(stack, "SELECT count(*) AS n FROM page_seo WHERE page_id = %s", path.split("/")[-2])
    assert stored[0]["n"] == 1


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"canonicalUrl": "javascript:alert(1)"}, "string.http_url"),
        ({"socialImageUrl": "/logo.png"}, "string.http_url"),
        ({"keywords": ["a", "a"]}, "repeated.unique"),
        ({"keywords": [f"word {number}" for number in range(21)]}, "repeated.max_items"),
        ({"structuredData": {"name": "x" * 17_000}}, "free_form.max_bytes"),
    ],
)
def test_what_is_no_metadata_is_refused(tenant: Tenant, path: str, facts: dict[str, Any], rule: str) -> None:
    refused = tenant.rest.patch(path, facts)
    assert (refused.status_code, problem(refused).rules) == (422, (rule,))


@pytest.mark.parametrize(
    ("page", "seo", "found"),
    [
        (Page(), PageSeo(no_index=True), []),
        (Page(title="x" * 61), PageSeo(), ["title.long"]),
        (Page(title="x" * 61), PageSeo(title="x" * 60), []),
        (Page(title="x" * 20, description="X" * 20), PageSeo(), ["description.short", "description.repeats"]),
        (Page(description="x" * 161), PageSeo(), ["title.missing", "description.long"]),
    ],
)
def test_what_could_be_better_is_found(page: Page, seo: PageSeo, found: list[str]) -> None:
    told = [finding.rule for finding in findings_of(page, seo, SiteSeo())]
    usual = {"social_image.missing", "structured_data.missing", "description.missing"}
    assert [rule for rule in told if rule in found or rule not in usual] == found
    assert 0 <= score_of(findings_of(page, seo, SiteSeo())) <= 100
