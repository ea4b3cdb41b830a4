"""The reference in a real browser: it finds, shows and calls, and asks nobody but its own origin."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.remote.webelement import WebElement

from tests.browser import chromium
from tests.browser.chromium import Page
from tests.clients import Rest, Tenant, new_tenant
from tests.reference import guides
from tests.stack import Stack, wait_for

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (chromium.BROWSER and chromium.DRIVER),
        reason="no browser: apt-get install chromium chromium-driver",
    ),
]
# Looks through shadow roots, in which the viewer keeps everything.
FIND = """
const found = [], selector = arguments[0];
function walk(root) {
  for (const each of root.querySelectorAll("*")) {
    if (each.matches(selector) && each.checkVisibility()) found.push(each);
    if (each.shadowRoot) walk(each.shadowRoot);
  }
}
walk(document);
return found;
"""
FEW = 10


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium.chromium() as driver:
        driver.set_window_size(1400, 1000)
        yield driver


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def found(driver: Any, selector: str) -> list[WebElement]:
    """The visible elements, also those in shadow roots."""
    elements: list[WebElement] = driver.execute_script(FIND, selector)
    return elements


def only(driver: Any, selector: str, text: str = "") -> WebElement:
    """The first visible element with this text, once there is one."""
    there: list[WebElement] = []

    def is_there() -> bool:
        there[:] = [each for each in found(driver, selector) if text in each.text]
        return bool(there)

    wait_for(lambda: succeeds(is_there), what=f"{selector} {text}")
    return there[0]


def is_found(driver: Any, name: str) -> bool:
    """Whether a search shows few operations, and this one first."""
    names = [each.text for each in found(driver, ".nav-bar-path")]
    return len(names) < FEW and names[:1] == [name]


def succeeds(action: Callable[[], object]) -> bool:
    """Whether an action did what it should; not so if the page has replaced an element meanwhile."""
    try:
        return action() is not False
    except StaleElementReferenceException:
        return False


def faults(driver: Any) -> list[str]:
    """What the console says, such as of the policy; a refused call is an answer like others."""
    return [
        entry["message"] for entry in driver.get_log("browser") if "Failed to load resource" not in entry["message"]
    ]


def asked(driver: Any) -> set[str]:
    """The origins of all requests since it was last asked."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return {
        re.sub(r"^(\w+://[^/]*)?.*", r"\1", url) for url in urls if not url.startswith(("data:", "blob:", "chrome"))
    }


def titles(tenant: Tenant) -> list[str]:
    """The titles of the pages of a tenant."""
    return [page["title"] for page in tenant.rest.get(f"{tenant.path}/pages").json()["pages"]]


def test_the_reference_finds_and_calls(driver: Any, stack: Stack, tenant: Tenant) -> None:
    driver.get_log("performance")
    driver.get(f"{stack.url}/docs")
    only(driver, "#nav-bar-search").send_keys("CreatePage")
    # Those that speak of it are found as well, after it.
    wait_for(lambda: is_found(driver, "Create page"), what="the operations that are found")
    only(driver, ".nav-bar-path", "Create page").click()
    for label in ("curl", "Python", "TypeScript"):
        only(driver, ".tab-btn", label).click()
        assert "/pages" in only(driver, ".code-sample-wrapper").text
    driver.execute_script("location.hash = '?route=auth'")
    only(driver, ".api-key-input").send_keys(tenant.access_token)
    only(driver, "form button[type=submit]").click()
    only(driver, ".nav-bar-path", "Create page").click()
    only(driver, "#request-param-tenantId").send_keys(tenant.id)
    only(driver, ".tab-btn", "BODY").click()
    body = only(driver, "textarea.request-body-param-user-input, textarea.request-body-param")
    body.clear()
    body.send_keys('{"title": "From the reference"}')
    only(driver, ".btn-execute").click()
    wait_for(lambda: "From the reference" in titles(tenant), what="the page that was created")
    assert faults(driver) == []
    assert asked(driver) == {stack.url}


@pytest.mark.parametrize("path", ["/", "/docs/guides/getting-started", "/docs/guides/errors"])
def test_pages_ask_nobody_else(driver: Any, stack: Stack, path: str) -> None:
    driver.get_log("performance")
    driver.get(f"{stack.url}{path}")
    assert driver.execute_script("return getComputedStyle(document.querySelector('main')).maxWidth") != "none"
    assert faults(driver) == []
    assert asked(driver) == {stack.url}


def test_every_sample_of_typescript_can_be_read(driver: Any, stack: Stack) -> None:
    driver.get(f"{stack.url}/docs/guides/errors")
    document = Rest(stack).get("/docs/openapi.json").json()
    sources = [
        sample["source"].replace("body!", "body")
        for verbs in document["paths"].values()
        for operation in verbs.values()
        for sample in operation["x-code-samples"]
        if sample["lang"] == "typescript"
    ]
    assert sources
    # Without a policy that forbids to evaluate text.
    driver.get("about:blank")
    read = "const Async = (async () => {}).constructor; for (const each of arguments[0]) new Async(each);"
    driver.execute_script(read, sources)


@pytest.fixture
def front_end(tmp_path: Path, stack: Stack, tenant: Tenant) -> Iterator[str]:
    """The page of Getting started, served to the browser."""
    (page,) = [block.text for block in guides.blocks("getting-started") if block.language == "html"]
    for name, value in (("$B", stack.url), ("$TOKEN", tenant.access_token), ("$TENANT_ID", tenant.id)):
        page = page.replace(f'"{name}"', json.dumps(value))
    (tmp_path / "index.html").write_text(page)
    with chromium.site(tmp_path) as origin:
        yield f"{origin}/index.html"


def test_the_page_of_getting_started_works(driver: Any, front_end: str, tenant: Tenant) -> None:
    tenant.rest.post(f"{tenant.path}/pages", {"title": "Before"})
    driver.get(front_end)
    only(driver, "li", "Before (draft)")
    only(driver, "input").send_keys("Mine")
    only(driver, "form button").click()
    wait_for(lambda: succeeds(lambda: only(driver, "li", "Mine (draft)").find_element("tag name", "button").click()))
    only(driver, "li", "Mine (published)")
    tenant.rest.post(f"{tenant.path}/pages", {"title": "Of another window"})
    only(driver, "li", "Of another window (draft)")


def test_the_inbox_of_the_guide_shows_what_comes(driver: Any, stack: Stack, tenant: Tenant) -> None:
    [block] = [block.text for block in guides.blocks("notifications") if block.language == "js"]
    message = {"userIds": [tenant.owner.id], "message": {"title": "Told"}}
    with chromium.site() as origin:
        page = Page(driver, origin)
        values = f"const base = {json.dumps(stack.url)}, token = {json.dumps(tenant.access_token)};"
        driver.execute_script("window.told = []; console.log = (...words) => told.push(words.join(' '));")
        driver.execute_script(values + block)
        wait_for(lambda: page.ask("told") == ["unread 0"], what="the counts")
        assert tenant.rest.post("/api/v1/notifications", message).status_code == 201
        wait_for(lambda: page.ask("told") == ["unread 0", "Told", "unread 1"], what="the notification")


@pytest.mark.parametrize("name", ["live-streams", "files"])
def test_script_of_the_guides_runs(driver: Any, stack: Stack, tenant: Tenant, name: str) -> None:
    block, *others = [block.text for block in guides.blocks(name) if block.language == "js"]
    with chromium.site() as origin:
        page = Page(driver, origin)
        values = f"const base = {json.dumps(stack.url)}, token = {json.dumps(tenant.access_token)};"
        driver.execute_script("window.told = []; console.log = (...words) => told.push(words.join(' '));")
        if name == "files":
            path = f"{tenant.path}/audit/export?format=EXPORT_FORMAT_JSONL"
            call = f"save({json.dumps(path)}, 'entries.jsonl').then(() => console.log('saved'))"
            driver.execute_script(values + block + call)
            wait_for(lambda: page.ask("told") == ["saved"], what="the download")
            # The last one needs a library.
            file = 'new File(["%PDF-1.7\\n%%EOF\\n"], "terms.pdf")'
            call = f"upload({file}).then(asset => console.log(asset.filename, asset.state))"
            driver.execute_script(f"{values} const tenantId = {json.dumps(tenant.id)}; {others[0]} {call}")
            wait_for(lambda: page.ask("told")[1:] == ["terms.pdf STATE_READY"], what="the upload")
            return
        driver.execute_script(values + block)
        wait_for(lambda: _told_of_a_new_page(page, tenant), what="the event")


def _told_of_a_new_page(page: Page, tenant: Tenant) -> bool:
    """Whether the stream, which is open from some moment on, tells of a page that was created since."""
    tenant.rest.post(f"{tenant.path}/pages", {"title": "Told"})
    return "page.created Told" in page.ask("told")
