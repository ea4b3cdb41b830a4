"""SEO of a whole site: what its published pages lack, and what is proposed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domains.sites.seo_proposals import better_title, cut, text_in
from tests.clients import Rest, Tenant, new_member, new_tenant, reason, unique
from tests.stack import Stack

SEO = "/api/v1/cms/seo"
SAID = "Oil, brakes and tyres while you wait in the heart of Madrid."


@pytest.fixture
def site(stack: Stack) -> Tenant:
    return new_tenant(stack)


def page(site: Tenant, headline: str = "", text: str = "", *, published: bool = True, **seo: Any) -> str:
    """The id of a new page."""
    answer = site.rest.post(f"{site.path}/pages", {"slug": unique("page"), "title": headline}).json()
    path = f"{site.path}/pages/{answer['id']}"
    if text:
        body = {"kind": "hero", "content": {"class": "hero-large", "blocks": [{"html": f"<p>{text}</p>"}]}}
        assert site.rest.post(f"{path}/sections", body).status_code == 201
    if seo:
        assert site.rest.patch(f"{path}/seo", seo).status_code == 200
    if published:
        assert site.rest.post(f"{path}/publish", {}).status_code == 200
    return str(answer["id"])


def refreshed(site: Tenant) -> dict[str, Any]:
    answer = site.rest.post(f"{SEO}/refresh", {})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def found_pages(seo: dict[str, Any]) -> dict[str, set[str]]:
    return {finding["rule"]: set(finding["pageIds"]) for finding in seo["findings"]}


def test_a_refresh_tells_what_published_pages_lack(site: Tenant) -> None:
    assert (site.rest.get(SEO).json()["score"], site.rest.get(SEO).json()["pageCount"]) == (0, 0)
    assert refreshed(site)["findings"] == []
    twins = {page(site, "Our workshop in Madrid"), page(site, "our workshop in madrid")}
    untitled = page(site)
    page(site, published=False)
    hidden = page(site, "Our workshop in Madrid", noIndex=True)
    seo = refreshed(site)
    assert seo["pageCount"] == 4
    found = found_pages(seo)
    assert found["title.duplicate"] == twins
    assert found["title.missing"] == {untitled}
    assert found["description.missing"] == {*twins, untitled}
    assert not any(hidden in ids for ids in found.values())
    assert [each["pageCount"] for each in seo["findings"]] == sorted(
        (each["pageCount"] for each in seo["findings"]), reverse=True
    )
    scores = [site.rest.get(f"{site.path}/pages/{each}/seo").json()["score"] for each in (*twins, untitled, hidden)]
    assert seo["score"] == round(sum(scores) / 4)
    assert site.rest.get(SEO).json() == seo
    assert "refreshTime" in seo


def test_the_settings_of_the_site_count_for_its_pages(site: Tenant) -> None:
    only = page(site, "Our workshop in Madrid")
    assert only in found_pages(refreshed(site))["social_image.missing"]
    assert site.rest.patch(SEO, {"socialImageUrl": "https://acme.example/logo.png"}).status_code == 200
    assert "social_image.missing" not in found_pages(refreshed(site))
    own = f"{site.path}/pages/{only}/seo"
    assert "social_image.missing" not in [finding["rule"] for finding in site.rest.get(own).json()["findings"]]
    assert site.rest.patch(SEO, {"noIndex": True}).status_code == 200
    assert refreshed(site)["findings"] == []
    assert site.rest.get(own).json()["findings"] == []


def test_only_the_first_sections_are_read(site: Tenant) -> None:
    only = page(site, "Repair", "x" * 30)
    path = f"{site.path}/pages/{only}/sections"
    labels = [{"section": {"kind": "hero", "content": {"label": "Buy"}}} for _ in range(4)]
    late = [{"section": {"kind": "hero", "content": {"text": SAID}}}]
    assert site.rest.post(f"{path}:batchCreate", {"requests": [*labels, *late]}).status_code == 200
    assert site.rest.post(f"{SEO}/optimize", {}).json()["proposals"] == []
    ids = [each["id"] for each in site.rest.get(path).json()["sections"]]
    assert site.rest.put(f"{path}/reorder", {"ids": ids[::-1]}).status_code == 200
    (proposal,) = site.rest.post(f"{SEO}/optimize", {}).json()["proposals"]
    assert proposal["after"] == SAID


def test_proposals_are_made_from_what_pages_say_and_leave_what_is_written(site: Tenant) -> None:
    assert site.rest.put(SEO, {"siteName": "Acme Garage"}).status_code == 200
    lacking = page(site, "Repair", SAID)
    written = page(site, "Repair", SAID, title="Short", description="Short too")
    answer = site.rest.post(f"{SEO}/optimize", {}).json()
    proposed = answer["proposals"]
    assert answer["pageCount"] == 2
    assert [(each["pageId"], each["field"], each["rule"], each["after"]) for each in proposed] == [
        (lacking, "title", "title.short", "Repair | Acme Garage"),
        (lacking, "description", "description.missing", SAID),
    ]
    path = f"{site.path}/pages/{lacking}/seo"
    assert site.rest.get(path).json()["title"] == ""
    applied = site.rest.post(f"{SEO}/optimize", {"apply": True})
    assert applied.json()["proposals"] == proposed
    filled = site.rest.get(path).json()
    assert (filled["title"], filled["description"]) == ("Repair | Acme Garage", SAID)
    other = site.rest.get(f"{site.path}/pages/{written}/seo").json()
    assert (other["title"], other["description"]) == ("Short", "Short too")
    assert site.rest.post(f"{SEO}/optimize", {"apply": True}).json()["proposals"] == []


def test_a_field_that_is_written_stays_though_another_one_is_filled(site: Tenant) -> None:
    mixed = page(site, "Repair", SAID, title="A title that somebody has written", noFollow=True)
    assert site.rest.post(f"{SEO}/optimize", {"apply": True}).status_code == 200
    seo = site.rest.get(f"{site.path}/pages/{mixed}/seo").json()
    assert (seo["title"], seo["description"], seo["noFollow"]) == ("A title that somebody has written", SAID, True)


def test_pages_for_which_nothing_can_be_proposed_keep_no_others_waiting(site: Tenant) -> None:
    for _ in range(3):
        page(site)
    lacking = page(site, "Repair", SAID)
    answer = site.rest.post(f"{SEO}/optimize", {}).json()
    assert (answer["pageCount"], {each["pageId"] for each in answer["proposals"]}) == (4, {lacking})


def test_another_site_is_not_looked_at_and_viewers_change_nothing(stack: Stack, site: Tenant) -> None:
    page(new_tenant(stack), "Theirs", SAID)
    assert site.rest.post(f"{SEO}/optimize", {"apply": True}).json()["proposals"] == []
    assert refreshed(site)["pageCount"] == 0
    viewer = Rest(stack, new_member(site, "viewer")[1].access_token)
    assert viewer.get(SEO).status_code == 200
    for path in ("refresh", "optimize"):
        assert reason(viewer.post(f"{SEO}/{path}", {})) == (403, "PERMISSION_MISSING")


@pytest.mark.parametrize(
    ("title", "name", "better"),
    [
        ("Repair", "Acme", "Repair | Acme"),
        ("Acme repair", "Acme", "Acme repair"),
        ("Repair", "", "Repair"),
        ("", "Acme", ""),
        ("word " * 20, "Acme", "word word\N{HORIZONTAL ELLIPSIS}"),
        ("x" * 30, "Acme", "x" * 11 + "\N{HORIZONTAL ELLIPSIS}"),
    ],
)
def test_a_better_title(title: str, name: str, better: str) -> None:
    assert better_title(title, name, 13 if len(title) < 20 else 12) == better


def test_labels_addresses_and_tags_are_no_text() -> None:
    content = {
        "label": "Buy now",
        "url": "https://example.com/a-long-address",
        "html": "<b>One &amp; another text</b> here",
    }
    assert text_in([content, ["And a second text that is read"]], 200) == (
        "One & another text here And a second text that is read"
    )


@given(st.text(max_size=80), st.integers(2, 40))
def test_what_is_cut_fits(text: str, longest: int) -> None:
    assert len(cut(text, longest)) <= longest
