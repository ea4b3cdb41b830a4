"""What is special about pages: slugs, copies, publishing, and the events of it all."""

import re
from typing import Any
from unicodedata import normalize

import httpx
import pytest
from plinth.sites.v1.page_pb2 import (
    CreatePageRequest,
    DuplicatePageRequest,
    GetPageBySlugRequest,
    Page,
    PublishPageRequest,
)

from tests.clients import Tenant, another_tenant, database, problem, refused, rows
from tests.domains.events import events_of
from tests.stack import Stack

SLUG = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")


class Site:
    """The pages of one tenant, over REST."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.path = f"{tenant.path}/pages"

    def create(self, **body: Any) -> dict[str, Any]:
        return _body(self.tenant.rest.post(self.path, body), 201)

    def get(self, page: dict[str, Any]) -> dict[str, Any]:
        return _body(self.tenant.rest.get(f"{self.path}/{page['id']}"), 200)

    def send(self, page: dict[str, Any], verb: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.tenant.rest.post(f"{self.path}/{page['id']}/{verb}", body, **options)

    def do(self, page: dict[str, Any], verb: str, body: Any = None) -> dict[str, Any]:
        return _body(self.send(page, verb, body), 201 if verb == "duplicate" else 200)


def _body(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def reason(response: httpx.Response) -> tuple[int, str]:
    """Status and reason of an error."""
    return response.status_code, problem(response).reason


@pytest.fixture
def site(tenant: Tenant) -> Site:
    """A site without pages."""
    return Site(tenant)


# Slugs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Hello, world!", "hello-world"),
        ("  Über uns -- Straße 7 ", "uber-uns-strasse-7"),
        ("Приветствие", "privetstvie"),
        ("Καλημέρα κόσμε", "kalemera-kosme"),
        ("日本語", "ri-ben-yu"),
        ("مرحبا", "mrhb"),
        ("100% C++ & more", "100-c-more"),
        # Composed and decomposed are one.
        ("Caf\u00e9", "cafe"),
        ("Cafe\u0301", "cafe"),
    ],
)
def test_a_slug_is_made_from_a_title_in_any_script(site: Site, title: str, slug: str) -> None:
    page = site.create(title=title)
    assert (page["slug"], page["title"]) == (slug, normalize("NFC", title))


def test_a_slug_from_a_long_title_is_cut_between_words(site: Site) -> None:
    slug = site.create(title="word " * 60)["slug"]
    assert len(slug) <= 64
    assert SLUG.match(slug)
    assert set(slug.split("-")) == {"word"}
    assert site.create(title="x" * 300)["slug"] == "x" * 64


@pytest.mark.parametrize("title", ["!!!", "   ", "\U0001f600", "\u0301", "\u200b\u2026"])
def test_a_title_that_gives_no_slug_is_told_so(site: Site, title: str) -> None:
    response = site.tenant.rest.post(site.path, {"title": title})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"title"}
    assert site.create(title=title, slug="named")["title"] == title


@pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": None, "slug": ""}])
def test_without_a_title_a_slug_is_missed(site: Site, body: dict[str, Any]) -> None:
    response = site.tenant.rest.post(site.path, body)
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"slug"}


def test_a_slug_of_ones_own_wins_over_the_title(site: Site) -> None:
    assert site.create(slug="mine", title="Another title")["slug"] == "mine"


def test_a_slug_made_from_a_title_is_numbered_when_it_is_taken(site: Site) -> None:
    site.create(slug="hello-3")
    made = [site.create(title=title) for title in ("Hello", "hello!", "\u201cHello\u201d", "HELLO")]
    assert [page["slug"] for page in made] == ["hello", "hello-2", "hello-4", "hello-5"]
    assert [page["title"] for page in made] == ["Hello", "hello!", "\u201cHello\u201d", "HELLO"]
    assert site.create(title="Hello 2")["slug"] == "hello-2-2"


def test_a_slug_that_was_given_is_taken(site: Site) -> None:
    site.create(title="Hello")
    for body in ({"slug": "hello"}, {"slug": "hello", "title": "Hello"}):
        assert reason(site.tenant.rest.post(site.path, body)) == (409, "RESOURCE_TAKEN")


def test_a_deleted_pages_slug_is_free_for_a_title(site: Site) -> None:
    site.create(title="Hello")
    second = site.create(title="Hello")
    site.tenant.rest.delete(f"{site.path}/{second['id']}")
    assert [site.create(title="Hello")["slug"] for _ in range(2)] == ["hello-2", "hello-3"]
    # What was deleted cannot come back under its slug.
    assert reason(site.send(second, "undelete")) == (409, "RESOURCE_TAKEN")


def test_the_number_of_a_long_slug_fits(site: Site) -> None:
    slugs = [site.create(title="x" * 300)["slug"] for _ in range(11)]
    assert slugs[:2] == ["x" * 64, f"{'x' * 62}-2"]
    assert slugs[-1] == f"{'x' * 61}-11"
    words = [site.create(title="word " * 60)["slug"] for _ in range(11)]
    assert len({*words}) == 11
    assert all(SLUG.match(slug) and len(slug) <= 64 for slug in words)


def test_more_pages_of_one_title_than_are_numbered_all_get_a_slug(stack: Stack, site: Site) -> None:
    first = site.create(title="New page")
    with database(stack) as connection:
        connection.execute(
            "INSERT INTO pages (tenant_id, id, slug, status)"
            " SELECT tenant_id, gen_random_uuid(), slug || '-' || n, 1 FROM pages, generate_series(2, 100) n"
            " WHERE id = %s",
            (first["id"],),
        )
    slugs = {site.create(title="New page")["slug"] for _ in range(3)}
    assert len(slugs) == 3
    assert all(re.fullmatch("new-page-[0-9a-f]{8}", slug) for slug in slugs)


def test_titles_that_are_sent_at_once_all_get_a_slug(site: Site) -> None:
    """Together with somebody who names the slugs that they are about to get."""
    pages = site.tenant.stubs.pages
    titled = [CreatePageRequest(tenant_id=site.tenant.id, page=Page(title="Hello")) for _ in range(12)]
    named = [CreatePageRequest(tenant_id=site.tenant.id, page=Page(slug=f"hello-{n}")) for n in range(2, 8)]
    mixed = [request for pair in zip(titled, named, strict=False) for request in pair] + titled[len(named) :]
    calls = [(request, pages.CreatePage.future(request)) for request in mixed]
    assert {call.code().name for request, call in calls if request.page.title} == {"OK"}
    assert {call.code().name for request, call in calls if request.page.slug} <= {"OK", "ALREADY_EXISTS"}
    slugs = [call.result().slug for _, call in calls if call.code().name == "OK"]
    assert len(slugs) == len({*slugs})


def test_a_create_with_a_key_is_numbered_once(site: Site) -> None:
    site.create(title="Hello")
    headers = {"idempotency-key": "the-key"}
    answers = [site.tenant.rest.post(site.path, {"title": "Hello"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["slug"] == "hello-2"


def test_a_changed_title_leaves_the_slug(site: Site) -> None:
    page = site.create(title="Hello")
    after = site.tenant.rest.patch(f"{site.path}/{page['id']}", {"title": "Goodbye"}).json()
    assert (after["slug"], after["title"]) == ("hello", "Goodbye")


@pytest.mark.parametrize("slug", ["Upper", "a--b", "-a", "a-", "a b", "ä", "a/b", "x" * 65])
def test_a_slug_keeps_the_rules(site: Site, slug: str) -> None:
    response = site.tenant.rest.post(site.path, {"slug": slug})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"slug"}


def test_a_page_is_found_by_its_slug_in_its_tenant_only(site: Site) -> None:
    page = site.create(slug="home")
    response = site.tenant.rest.get(f"{site.path}/slug/home")
    assert (response.status_code, response.json()) == (200, page)
    assert response.headers["etag"] == page["etag"]
    found = site.tenant.stubs.pages.GetPageBySlug(GetPageBySlugRequest(tenant_id=site.tenant.id, slug="home"))
    assert found.id == page["id"]
    other = another_tenant(site.tenant)
    for response in (
        site.tenant.rest.get(f"{site.path}/slug/nope"),
        site.tenant.rest.get(f"{site.path}/slug/HOME"),
        other.rest.get(f"{other.path}/pages/slug/home"),
    ):
        assert reason(response) == (404, "RESOURCE_NOT_FOUND")


def test_a_slug_shows_another_page_with_another_etag(site: Site) -> None:
    first = site.create(slug="home")
    site.tenant.rest.delete(f"{site.path}/{first['id']}")
    assert reason(site.tenant.rest.get(f"{site.path}/slug/home")) == (404, "RESOURCE_NOT_FOUND")
    second = site.create(slug="home")
    response = site.tenant.rest.get(f"{site.path}/slug/home", headers={"if-none-match": first["etag"]})
    assert (response.status_code, response.json()["id"]) == (200, second["id"])


# Copies --------------------------------------------------------------------------------------------------------------


def test_copies_take_the_first_free_slugs_and_everything_but_the_state(site: Site) -> None:
    page = site.create(slug="home", title="Home", description="Text", settings={"a": [1]})
    site.do(page, "publish")
    site.create(slug="home-copy-3")
    copies = [site.do(page, "duplicate") for _ in range(4)]
    assert [copy["slug"] for copy in copies] == ["home-copy", "home-copy-2", "home-copy-4", "home-copy-5"]
    for copy in copies:
        assert copy == copy | {"title": "Home", "description": "Text", "settings": {"a": [1]}, "status": "STATUS_DRAFT"}
        assert "publishTime" not in copy
        assert copy["id"] != page["id"]
        assert site.get(copy) == copy


def test_a_copy_answers_where_it_stands(site: Site) -> None:
    response = site.send(site.create(slug="home"), "duplicate")
    assert (response.status_code, response.headers["location"]) == (201, f"{site.path}/{response.json()['id']}")


def test_a_copy_may_be_named(site: Site) -> None:
    page = site.create(slug="home", title="Home")
    copy = site.do(page, "duplicate", {"slug": "away", "title": "Away"})
    assert (copy["slug"], copy["title"]) == ("away", "Away")
    assert reason(site.send(page, "duplicate", {"slug": "away"})) == (409, "RESOURCE_TAKEN")
    assert reason(site.send(page, "duplicate", {"slug": "No!"})) == (422, "RULE_VIOLATED")


def test_a_deleted_pages_slug_is_free_for_a_copy(site: Site) -> None:
    page = site.create(slug="home")
    site.tenant.rest.delete(f"{site.path}/{site.do(page, 'duplicate')['id']}")
    assert site.do(page, "duplicate")["slug"] == "home-copy"


def test_the_copy_of_a_long_slug_fits(site: Site) -> None:
    page = site.create(slug="x" * 64)
    slugs = [site.do(page, "duplicate")["slug"] for _ in range(2)]
    assert len(set(slugs)) == 2
    assert all(SLUG.match(slug) and len(slug) <= 64 for slug in slugs)


def test_parallel_copies_all_find_a_slug(site: Site) -> None:
    page = site.create(slug="home")
    request = DuplicatePageRequest(tenant_id=site.tenant.id, page_id=page["id"])
    calls = [site.tenant.stubs.pages.DuplicatePage.future(request) for _ in range(6)]
    assert {call.code().name for call in calls} == {"OK"}
    assert {call.result().slug for call in calls} == {"home-copy", *(f"home-copy-{number}" for number in range(2, 7))}


def test_what_is_deleted_or_absent_cannot_be_copied(site: Site) -> None:
    page = site.create(slug="home")
    site.tenant.rest.delete(f"{site.path}/{page['id']}")
    assert reason(site.send(page, "duplicate")) == (404, "RESOURCE_NOT_FOUND")


# Publishing ----------------------------------------------------------------------------------------------------------


def test_publishing_and_taking_back(site: Site) -> None:
    page = site.create(slug="home")
    published = site.do(page, "publish")
    assert published["status"] == "STATUS_PUBLISHED"
    assert published["publishTime"] >= page["createTime"]
    assert published["etag"] != page["etag"]
    draft = site.do(page, "unpublish")
    assert (draft["status"], draft["publishTime"]) == ("STATUS_DRAFT", published["publishTime"])
    assert site.get(page) == draft


def test_publishing_anew_moves_the_time(site: Site) -> None:
    page = site.create(slug="home")
    first, second = site.do(page, "publish"), site.do(page, "publish")
    assert second["status"] == "STATUS_PUBLISHED"
    assert second["publishTime"] > first["publishTime"]


def test_a_draft_cannot_be_taken_back(site: Site) -> None:
    page = site.create(slug="home")
    response = site.send(page, "unpublish")
    assert reason(response) == (409, "STATE_FORBIDS")
    assert problem(response).metadata == {
        "resource_type": "plinth.dev/Page",
        "resource": page["id"],
        "state": "DRAFT",
    }
    assert site.get(page) == page


def test_what_is_stale_is_neither_published_nor_taken_back(site: Site) -> None:
    page = site.create(slug="home")
    now = site.do(page, "publish")
    for verb in ("publish", "unpublish"):
        for response in (
            site.send(page, verb, {"etag": page["etag"]}),
            site.send(page, verb, headers={"if-match": page["etag"]}),
        ):
            assert reason(response) == (412, "ETAG_MISMATCH")
    why = refused(
        lambda: site.tenant.stubs.pages.PublishPage(
            PublishPageRequest(tenant_id=site.tenant.id, page_id=page["id"], etag=page["etag"])
        )
    )
    assert (why.reason, why.metadata["etag"]) == ("ETAG_MISMATCH", now["etag"])
    assert site.get(page) == now
    assert site.send(page, "unpublish", {"etag": now["etag"]}).status_code == 200


def test_publishing_leaves_what_the_page_says(site: Site) -> None:
    page = site.create(slug="home", title="Home", description="Text", settings={"a": [1, None]})
    said = ("slug", "title", "description", "settings", "createTime")
    published = site.do(page, "publish")
    assert {name: published[name] for name in said} == {name: page[name] for name in said}


# Events --------------------------------------------------------------------------------------------------------------


def test_each_mutation_leaves_one_event_with_the_page_right_after_it(stack: Stack, site: Site) -> None:
    page = site.create(slug="home", title="One")
    site.tenant.rest.patch(f"{site.path}/{page['id']}", {"title": "Two"})
    site.do(page, "publish")
    site.do(page, "unpublish")
    site.tenant.rest.delete(f"{site.path}/{page['id']}")
    site.do(page, "undelete")
    copy = site.do(page, "duplicate")
    events = _page_events(stack, site)
    assert [(event.type, event.payload.title, event.payload.status) for event in events] == [
        ("page.created", "One", 1),
        ("page.updated", "Two", 1),
        ("page.published", "Two", 2),
        ("page.unpublished", "Two", 1),
        ("page.deleted", "Two", 1),
        ("page.undeleted", "Two", 1),
        ("page.created", "Two", 1),
    ]
    assert [event.resource_id for event in events] == [page["id"]] * 6 + [copy["id"]]
    assert {event.actor_id for event in events} == {site.tenant.owner.id}
    assert len({event.payload.etag for event in events}) == len(events)


def _page_events(stack: Stack, site: Site) -> list[Any]:
    return [event for event in events_of(stack, site.tenant.id) if event.type.startswith("page.")]


def test_what_is_refused_or_only_read_leaves_no_event(stack: Stack, site: Site) -> None:
    page = site.create(slug="home")
    path = f"{site.path}/{page['id']}"
    rest = site.tenant.rest
    refusals = [
        rest.post(site.path, {"slug": "home"}),
        rest.post(site.path, {"slug": "No!"}),
        rest.patch(path, {"titel": "x"}),
        rest.patch(path, {"title": "x"}, headers={"if-match": '"stale"'}),
        rest.delete(path, headers={"if-match": '"stale"'}),
        site.send(page, "unpublish"),
        site.send(page, "undelete"),
        site.send(page, "duplicate", {"slug": "home"}),
    ]
    assert all(response.is_client_error for response in refusals)
    assert rest.get(path).json() == page
    assert [event.type for event in _page_events(stack, site)] == ["page.created"]


def test_an_event_carries_the_request_it_came_with(stack: Stack, site: Site) -> None:
    site.tenant.rest.post(site.path, {"slug": "home"}, headers={"x-request-id": "the-request-7"})
    found = rows(stack, "SELECT request_id FROM events WHERE tenant_id = %s AND type = 'page.created'", site.tenant.id)
    assert found == [{"request_id": "the-request-7"}]
