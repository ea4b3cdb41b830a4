"""Plinth as a front end on another origin sees it, in a real browser."""

import signal
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.browser import chromium
from tests.browser.chromium import Page
from tests.clients import Tenant, new_tenant, rows
from tests.faults.outages import away, replaced
from tests.stack import Stack, wait_for
from tests.streams import sse, writers

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not (chromium.BROWSER and chromium.DRIVER),
        reason="no browser: apt-get install chromium chromium-driver",
    ),
]
CLOSED = 2


@pytest.fixture(scope="module")
def owner(open_stack: Stack) -> Tenant:
    return new_tenant(open_stack)


@pytest.fixture
def tenant(open_stack: Stack, owner: Tenant) -> Tenant:
    return new_tenant(open_stack, owner.owner)


def stream_of(tenant: Tenant) -> str:
    """The stream as EventSource opens it, which cannot send headers."""
    return f"{tenant.stack.url}{sse.path(tenant.id)}?{urlencode({'access_token': tenant.access_token})}"


def log_in(page: Page, tenant: Tenant) -> dict[str, Any]:
    """Log in from script."""
    credentials = {"email": tenant.owner.email, "password": tenant.owner.password, "tenant": tenant.subdomain}
    return page.call("POST", f"{tenant.stack.url}/api/v1/auth/login", "", credentials)


def test_a_front_end_signs_in_writes_reads_headers_and_sees_it_live(driver: Any, origin: str, tenant: Tenant) -> None:
    page = Page(driver, origin)
    session = log_in(page, tenant)
    assert session["status"] == 200
    token = session["body"]["accessToken"]
    page.follow(f"{tenant.stack.url}{sse.path(tenant.id)}?{urlencode({'access_token': token})}")
    wait_for(lambda: page.ask("states.opened"), what="the stream")

    created = page.call("POST", f"{tenant.stack.url}{tenant.path}/pages", token, {"title": "Grüße 😀"})
    assert created["status"] == 201
    assert created["headers"]["x-request-id"]
    assert created["headers"]["location"] == f"{tenant.path}/pages/{created['body']['id']}"
    url, etag = f"{tenant.stack.url}{created['headers']['location']}", created["headers"]["etag"]
    changed = page.call("PATCH", url, token, {"title": None}, {"if-match": etag})
    assert (changed["status"], changed["body"]["title"]) == (200, "")
    assert changed["headers"]["etag"] != etag
    stale = page.call("PATCH", url, token, {"title": "x"}, {"if-match": etag})
    assert (stale["status"], stale["body"]["code"]) == (412, 10)
    read = page.call("GET", url, token)
    assert (read["body"], read["headers"]["etag"]) == (changed["body"], changed["headers"]["etag"])
    assert page.call("DELETE", url, token)["status"] == 204

    wait_for(lambda: len(page.seen) >= 3, what="the events")
    assert page.seen == sse.logged(tenant)
    assert [kind for _, kind, _ in page.seen] == ["page.created", "page.updated", "page.deleted"]


def test_an_error_is_readable_from_script(driver: Any, origin: str, tenant: Tenant) -> None:
    page = Page(driver, origin)
    refused = page.call("GET", f"{tenant.stack.url}{tenant.path}/pages")
    assert (refused["status"], refused["body"]["details"][0]["reason"]) == (401, "CREDENTIALS_MISSING")
    assert refused["headers"]["x-request-id"]
    lost = page.call("GET", f"{tenant.stack.url}/nowhere")
    assert (lost["status"], lost["body"]["details"][0]["reason"]) == (404, "ROUTE_NOT_FOUND")


def test_event_source_resumes_by_itself_over_killed_processes(
    driver: Any, origin: str, open_stack: Stack, tenant: Tenant
) -> None:
    page = Page(driver, origin)
    page.follow(stream_of(tenant))
    wait_for(lambda: page.ask("states.opened"), what="the stream")
    writers.write(tenant, 10, "before")
    wait_for(lambda: len(page.seen) >= 5, what="some events")
    old = {name: open_stack.kill(name, signal.SIGKILL) for name in ("api-0", "realtime-0")}
    for name, pid in old.items():
        replaced(open_stack, name, pid)
    writers.write(tenant, 20, "meanwhile")
    writers.create(tenant, writers.LAST)
    log = sse.logged(tenant)
    wait_for(lambda: page.seen[-1] == log[-1], what="the last event")
    assert page.seen == log
    assert page.ask("states.opened") > 1, "the stream was never cut"


def test_event_source_does_not_give_up_while_no_process_serves_streams(
    driver: Any, origin: str, open_stack: Stack, tenant: Tenant
) -> None:
    page = Page(driver, origin)
    page.follow(stream_of(tenant))
    wait_for(lambda: page.ask("states.opened"), what="the stream")
    with away(open_stack, "realtime-0"):
        writers.write(tenant, 5)
        # The first failure is the cut, the second one an attempt that met nobody.
        wait_for(lambda: page.ask("states.failed") >= 2, what="an attempt")
        assert page.ask("source.readyState") != CLOSED
    writers.create(tenant, writers.LAST)
    log = sse.logged(tenant)
    wait_for(lambda: page.seen and page.seen[-1] == log[-1], what="the last event")
    assert page.seen == log


def test_a_page_of_another_origin_reads_nothing(driver: Any, tenant: Tenant) -> None:
    sessions = "SELECT count(*) AS count FROM sessions WHERE user_id = %s"
    before = rows(tenant.stack, sessions, tenant.owner.id)
    with chromium.site() as foreign:
        page = Page(driver, foreign)
        assert page.call("GET", f"{tenant.stack.url}/api/v1/health") == {"failure": "TypeError"}
        assert page.call("GET", f"{tenant.stack.url}{tenant.path}/pages", tenant.access_token) == {
            "failure": "TypeError"
        }
        assert log_in(page, tenant) == {"failure": "TypeError"}
        page.follow(stream_of(tenant))
        wait_for(lambda: page.ask("source.readyState") == CLOSED, what="the end of the stream")
        writers.create(tenant, "secret")
        assert (page.seen, page.ask("states.opened")) == ([], 0)
        driver.get("about:blank")
    assert rows(tenant.stack, sessions, tenant.owner.id) == before, "the preflight did not stop the login"
