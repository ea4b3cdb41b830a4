"""The navigation of a site: levels, moves and targets. Order and limits are tried in tests/standard."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients import Tenant, new_tenant, problem, reason, unique
from tests.stack import Stack


@pytest.fixture
def site(stack: Stack) -> Tenant:
    return new_tenant(stack)


def add(site: Tenant, title: str = "Item", **facts: Any) -> dict[str, Any]:
    answer = site.rest.post(f"{site.path}/navigation", {"title": title, **facts})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def move(site: Tenant, item: dict[str, Any], below: str) -> Any:
    return site.rest.patch(f"{site.path}/navigation/{item['id']}", {"parentId": below})


def listed(site: Tenant, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.rest.get(f"{site.path}/navigation", query).json()["navigationItems"]
    return found


def test_items_stand_below_others_in_one_order(site: Tenant) -> None:
    page = site.rest.post(f"{site.path}/pages", {"slug": unique("page")}).json()
    shop = add(site, "Shop", url="https://example.com/shop", openInNewTab=True)
    cars = add(site, "Cars", parentId=shop["id"], pageId=page["id"])
    home = add(site, "Home", url="/")
    assert [each["title"] for each in listed(site)] == ["Shop", "Cars", "Home"]
    order = [home["id"], shop["id"], cars["id"]]
    assert site.rest.put(f"{site.path}/navigation/reorder", {"ids": order}).status_code == 200
    assert [each["id"] for each in listed(site)] == order
    assert [each["id"] for each in listed(site, filter=f'parent_id = "{shop["id"]}"')] == [cars["id"]]
    assert move(site, cars, "").json()["parentId"] == ""


def test_four_levels_are_the_most_and_no_item_stands_below_itself(site: Tenant) -> None:
    first = add(site)
    second = add(site, parentId=first["id"])
    third = add(site, parentId=second["id"])
    fourth = add(site, parentId=third["id"])
    deep = site.rest.post(f"{site.path}/navigation", {"title": "Fifth", "parentId": fourth["id"]})
    assert (deep.status_code, problem(deep).rules) == (422, ("tree.depth",))
    for below in (first, second, fourth):
        refused = move(site, first, below["id"])
        assert (refused.status_code, problem(refused).rules) == (422, ("tree.cycle",))
    other = add(site)
    # What is below it moves along, and is counted.
    assert problem(move(site, first, other["id"])).rules == ("tree.depth",)
    assert move(site, second, other["id"]).status_code == 200
    assert move(site, first, fourth["id"]).status_code == 422


def test_moves_at_once_make_no_circle(site: Tenant) -> None:
    for _ in range(5):
        one, two = add(site), add(site)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda pair: move(site, *pair), [(one, two["id"]), (two, one["id"])]))
        assert sorted(answer.status_code for answer in answers) == [200, 422]


def test_an_item_takes_those_below_along_when_it_is_deleted(site: Tenant) -> None:
    above = add(site, "Above")
    below = add(site, "Below", parentId=above["id"])
    add(site, "Lowest", parentId=below["id"])
    add(site, "Beside")
    assert len(listed(site)) == 4
    assert site.rest.delete(f"{site.path}/navigation/{above['id']}").status_code == 204
    assert [each["title"] for each in listed(site)] == ["Beside"]


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "data:text/html,x", "shop"),
        *("https://a b", '/"onclick="x', "ftp://example.com", "vbscript:x", "https://example.com/<script>"),
    ],
)
def test_an_address_that_runs_something_is_refused(site: Tenant, url: str) -> None:
    refused = site.rest.post(f"{site.path}/navigation", {"title": "x", "url": url})
    assert (refused.status_code, problem(refused).rules) == (422, ("string.pattern",))


def test_an_item_leads_to_one_thing_that_is_there(stack: Stack, site: Tenant) -> None:
    page = site.rest.post(f"{site.path}/pages", {"slug": unique("page")}).json()
    path = f"{site.path}/navigation"
    both = site.rest.post(path, {"title": "x", "pageId": page["id"], "url": "/"})
    assert problem(both).rules == ("navigation.target",)
    theirs = new_tenant(stack)
    other = theirs.rest.post(f"{theirs.path}/pages", {"slug": unique("page")}).json()
    for facts in ({"pageId": other["id"]}, {"parentId": add(theirs)["id"]}, {"parentId": page["id"]}):
        absent = site.rest.post(path, {"title": "x", **facts})
        assert reason(absent) == (404, "RESOURCE_NOT_FOUND"), facts
    item = add(site, pageId=page["id"])
    assert site.rest.delete(f"{site.path}/pages/{page['id']}").status_code == 204
    # It stays, and can still be changed: the page may come back.
    assert site.rest.patch(f"{path}/{item['id']}", {"title": "Another"}).json()["pageId"] == page["id"]
    assert reason(site.rest.post(path, {"title": "x", "pageId": page["id"]})) == (404, "RESOURCE_NOT_FOUND")
