"""What people write into stories and comments, shown by a front end that trusts Plinth's HTML, in a real browser."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.browser.chromium import Page
from tests.clients import Tenant, new_tenant
from tests.stack import Stack, wait_for

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (chromium.BROWSER and chromium.DRIVER),
        reason="no browser: apt-get install chromium chromium-driver",
    ),
]
VECTORS = (Path(__file__).parents[1] / "domains/sites/xss_vectors.txt").read_text().splitlines()
STORIES = "/api/v1/stories"
# Every way in which a vector tells that it ran, and what a reader does: looks, points, types and clicks.
WATCH = """
window.ran = [];
for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = (...said) => ran.push([name, ...said]);
"""
SHOW = """
const place = document.createElement("article");
place.innerHTML = arguments[0];
document.body.append(place);
for (const element of place.querySelectorAll("*"))
  for (const kind of ["mouseover", "mouseenter", "pointerdown", "click", "keydown", "focus", "toggle", "animationend"])
    element.dispatchEvent(new Event(kind, {bubbles: true, cancelable: true}));
"""
# As the browser reads them.
SCHEMES = "[...new Set([...document.links].map(link => link.protocol))]"
FORBIDDEN = "script, iframe, object, embed, form, style, base, link, meta, svg, math"
CONTROL = """<img src="nowhere.png" onerror="alert('control')">"""


@pytest.fixture
def tenant(open_stack: Stack) -> Tenant:
    return new_tenant(open_stack)


def told(page: Page, tenant: Tenant, path: str) -> dict[str, Any]:
    """What a front end reads."""
    answer = page.call("GET", f"{tenant.stack.url}{path}", tenant.access_token)
    assert answer["status"] == 200, answer
    body: dict[str, Any] = answer["body"]
    return body


def test_nothing_that_people_write_runs_in_a_browser(driver: Any, origin: str, tenant: Tenant) -> None:
    assert tenant.rest.patch("/api/v1/moderation/settings", {"review": "REVIEW_NONE"}).is_success
    body = "".join(f"<p>before</p>{vector}" for vector in VECTORS)
    story = tenant.rest.post(STORIES, {"title": "Hostile", "summary": "<img src=x onerror=alert(1)>", "body": body})
    path = f"{STORIES}/{story.json()['id']}"
    assert tenant.rest.post(f"{path}/submit", {}).json()["state"] == "STATE_PUBLISHED"
    for vector in VECTORS:
        assert tenant.rest.post(f"{path}/comments", {"body": f"<p>before</p>{vector}"}).status_code == 201
    page = Page(driver, origin)
    driver.execute_script(WATCH)
    shown = [told(page, tenant, path)["body"]]
    token = ""
    while not shown[1:] or token:
        found = told(page, tenant, f"{path}/comments?pageSize=100&pageToken={token}")
        shown += [comment["body"] for comment in found["storyComments"]]
        token = found["nextPageToken"]
    assert len(shown) == 1 + len(VECTORS)
    for html in shown:
        driver.execute_script(SHOW, html)
    # What loads and fails is told in its order: once the control has run, all before it would have.
    driver.execute_script(SHOW, CONTROL)
    wait_for(lambda: ["alert", "control"] in page.ask("ran"), what="the control")
    assert page.ask("ran") == [["alert", "control"]]
    assert set(page.ask(SCHEMES)) <= {"http:", "https:", "mailto:", "tel:"}
    assert page.ask(f"document.querySelectorAll('article :is({FORBIDDEN})').length") == 0
    assert page.ask("location.href") == f"{origin}/page.html"
