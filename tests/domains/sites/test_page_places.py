"""Where pages stand on their site: below others, in languages, and at addresses that they had before."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients import Tenant, new_tenant, problem, reason, unique
from tests.stack import Stack


@pytest.fixture
def site(stack: Stack) -> Tenant:
    return new_tenant(stack)


def add(site: Tenant, slug: str, **facts: Any) -> dict[str, Any]:
    answer = site.rest.post(f"{site.path}/pages", {"slug": slug, **facts})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def change(site: Tenant, page: dict[str, Any], **facts: Any) -> dict[str, Any]:
    answer = site.rest.patch(f"{site.path}/pages/{page['id']}", facts)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def path_of(site: Tenant, page: dict[str, Any]) -> str:
    return str(site.rest.get(f"{site.path}/pages/{page['id']}").json()["path"])


# The tree ------------------------------------------------------------------------------------------------------------


def test_a_path_has_the_slugs_of_the_pages_above(site: Tenant) -> None:
    services = add(site, "services")
    oil = add(site, "oil", parentId=services["id"])
    winter = add(site, "winter", parentId=oil["id"])
    assert [each["path"] for each in (services, oil, winter)] == ["/services", "/services/oil", "/services/oil/winter"]
    change(site, services, slug="work")
    assert path_of(site, winter) == "/work/oil/winter"
    assert change(site, oil, parentId="")["path"] == "/oil"
    listed = site.rest.get(f"{site.path}/pages", {"orderBy": "slug"}).json()["pages"]
    assert [each["path"] for each in listed] == ["/oil", "/oil/winter", "/work"]
    below = site.rest.get(f"{site.path}/pages", {"filter": f'parent_id = "{oil["id"]}"'}).json()["pages"]
    assert [each["id"] for each in below] == [winter["id"]]


def test_the_page_called_home_is_at_the_beginning(site: Tenant) -> None:
    home = add(site, "home")
    assert home["path"] == "/"
    assert add(site, "news", parentId=home["id"])["path"] == "/home/news"


def test_pages_stay_when_the_one_above_is_deleted(site: Tenant) -> None:
    above = add(site, "above")
    page = add(site, "page", parentId=above["id"])
    address = f"{site.path}/pages/{above['id']}"
    assert site.rest.delete(address).status_code == 204
    assert (path_of(site, page), page["parentId"]) == ("/page", above["id"])
    assert site.rest.post(f"{address}/undelete", {}).status_code == 200
    assert path_of(site, page) == "/above/page"


def test_no_page_stands_below_itself_or_too_deep(stack: Stack, site: Tenant) -> None:
    pages = [add(site, "level-1")]
    for level in range(2, 7):
        pages.append(add(site, f"level-{level}", parentId=pages[-1]["id"]))
    deep = site.rest.post(f"{site.path}/pages", {"slug": "level-7", "parentId": pages[-1]["id"]})
    assert problem(deep).rules == ("tree.depth",)
    for below in (pages[0], pages[5]):
        refused = site.rest.patch(f"{site.path}/pages/{pages[0]['id']}", {"parentId": below["id"]})
        assert problem(refused).rules == ("tree.cycle",)
    theirs = add(new_tenant(stack), unique("page"))
    absent = site.rest.post(f"{site.path}/pages", {"slug": "x", "parentId": theirs["id"]})
    assert reason(absent) == (404, "RESOURCE_NOT_FOUND")


def test_a_deleted_page_comes_back_into_no_circle(site: Tenant) -> None:
    top = add(site, "top")
    middle = add(site, "middle", parentId=top["id"])
    low = add(site, "low", parentId=middle["id"])
    assert site.rest.delete(f"{site.path}/pages/{middle['id']}").status_code == 204
    refused = site.rest.patch(f"{site.path}/pages/{top['id']}", {"parentId": low["id"]})
    assert problem(refused).rules == ("tree.cycle",)


def test_moves_at_once_make_no_circle(site: Tenant) -> None:
    for number in range(5):
        one, two = add(site, f"one-{number}"), add(site, f"two-{number}")

        def move(pair: tuple[dict[str, Any], dict[str, Any]]) -> int:
            page, below = pair
            return site.rest.patch(f"{site.path}/pages/{page['id']}", {"parentId": below["id"]}).status_code

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(move, [(one, two), (two, one)])) == [200, 422]


# Languages -----------------------------------------------------------------------------------------------------------


def test_a_page_has_one_translation_into_each_locale(site: Tenant) -> None:
    page = add(site, "hours", locale="EN")
    assert page["locale"] == "en"
    german = add(site, "oeffnungszeiten", locale="de-at", originalId=page["id"])
    assert (german["locale"], german["originalId"]) == ("de-AT", page["id"])
    body = {"slug": "zeiten", "locale": "de-AT", "originalId": page["id"]}
    assert reason(site.rest.post(f"{site.path}/pages", body)) == (409, "RESOURCE_TAKEN")
    listed = site.rest.get(f"{site.path}/pages", {"filter": f'original_id = "{page["id"]}"'}).json()["pages"]
    assert [each["id"] for each in listed] == [german["id"]]
    assert problem(site.rest.post(f"{site.path}/pages", {"slug": "x", "locale": "de_AT"})).rules == (
        "string.language_tag",
    )


def test_a_translation_is_of_an_original(site: Tenant) -> None:
    page = add(site, "hours")
    german = add(site, "zeiten", locale="de", originalId=page["id"])
    path = f"{site.path}/pages"
    body = {"slug": "orari", "locale": "it", "originalId": german["id"]}
    assert problem(site.rest.post(path, body)).rules == ("page.original",)
    other = add(site, "other")
    for original in (other, page):
        refused = site.rest.patch(f"{path}/{page['id']}", {"originalId": original["id"]})
        assert problem(refused).rules == ("page.original",)
    absent = site.rest.post(path, {"slug": "x", "originalId": site.id})
    assert reason(absent) == (404, "RESOURCE_NOT_FOUND")


# Former addresses ----------------------------------------------------------------------------------------------------


def by_slug(site: Tenant, slug: str) -> Any:
    return site.rest.get(f"{site.path}/pages/slug/{slug}")


def publish(site: Tenant, page: dict[str, Any]) -> None:
    assert site.rest.post(f"{site.path}/pages/{page['id']}/publish", {}).status_code == 200


def test_a_page_is_found_by_the_slugs_that_it_had(site: Tenant) -> None:
    page = add(site, "first")
    change(site, page, slug="second")
    # Nobody has seen the first one.
    assert by_slug(site, "first").status_code == 404
    publish(site, page)
    change(site, page, slug="third")
    assert (by_slug(site, "second").json()["id"], by_slug(site, "second").json()["slug"]) == (page["id"], "third")
    [left] = site.rest.get(f"{site.path}/redirects").json()["redirects"]
    assert (left["path"], left["pageId"], left["isTemporary"]) == ("/second", page["id"], False)
    # A page at the address is found first, and leaves it in its turn.
    other = add(site, "second")
    assert by_slug(site, "second").json()["id"] == other["id"]
    publish(site, other)
    change(site, other, slug="fourth")
    assert by_slug(site, "second").json()["id"] == other["id"]
    assert site.rest.delete(f"{site.path}/pages/{other['id']}").status_code == 204
    assert by_slug(site, "second").status_code == 404


def test_a_redirect_leads_to_one_thing(stack: Stack, site: Tenant) -> None:
    page = add(site, "page")
    path = f"{site.path}/redirects"
    both = site.rest.post(path, {"path": "/x", "pageId": page["id"], "url": "/page"})
    assert problem(both).rules == ("redirect.target",)
    assert problem(site.rest.post(path, {"path": "/x", "url": "/x"})).rules == ("redirect.target",)
    theirs = add(new_tenant(stack), unique("page"))
    assert reason(site.rest.post(path, {"path": "/x", "pageId": theirs["id"]})) == (404, "RESOURCE_NOT_FOUND")
    made = site.rest.post(path, {"path": "/prices.html", "pageId": page["id"], "isTemporary": True}).json()
    assert reason(site.rest.post(path, {"path": "/prices.html"})) == (409, "RESOURCE_TAKEN")
    moved = site.rest.patch(f"{path}/{made['id']}", {"pageId": "", "url": "https://example.com/prices"})
    assert moved.status_code == 200


@pytest.mark.parametrize(
    "facts",
    [
        *({"path": path} for path in ("x", "/", "//x", "/a b", "/a?b", "/a#b", "https://x", "/<script>")),
        *({"path": "/x", "url": url} for url in ("javascript:alert(1)", "data:x", "x", "ftp://x", '/"x', "//a b")),
    ],
)
def test_what_is_no_address_is_refused(site: Tenant, facts: dict[str, str]) -> None:
    refused = site.rest.post(f"{site.path}/redirects", facts)
    assert (refused.status_code, problem(refused).rules) == (422, ("string.pattern",))
