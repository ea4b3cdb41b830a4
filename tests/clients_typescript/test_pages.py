"""Pages in a real browser that use the built client: sessions over tabs, and live events over whatever ends streams."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from server.kernel.guard.tokens import AccessTokens
from tests.browser import chromium
from tests.clients import Rest, Tenant, new_tenant, reason
from tests.clients_typescript import building
from tests.faults.outages import replaced
from tests.stack import Stack, free_port, wait_for
from tests.streams import sse, writers

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(building.missing()), reason=building.missing()),
    pytest.mark.skipif(
        not (chromium.BROWSER and chromium.DRIVER), reason="no browser: apt-get install chromium chromium-driver"
    ),
]
RUN = """
const done = arguments[arguments.length - 1];
(async () => { const front = window.front; const plinth = front.plinth; %s })().then(
  (value) => done({value}), (error) => done({fault: String(error), ...error}));
"""
HOURS = 25
FINISHED = "front.finished !== undefined"


class Tab:
    """The page in a tab of the browser."""

    def __init__(self, driver: Any, origin: str) -> None:
        self._driver = driver
        driver.get(f"{origin}/page.html")
        wait_for(lambda: driver.execute_script("return window.front !== undefined"), what="the page")
        self._handle = driver.current_window_handle

    def attempt(self, script: str, *arguments: Any) -> dict[str, Any]:
        """What becomes of a script: its `value`, or its `fault` with the fields of the error."""
        self._driver.switch_to.window(self._handle)
        outcome: dict[str, Any] = self._driver.execute_async_script(RUN % script, *arguments)
        return outcome

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script that must not fail."""
        outcome = self.attempt(script, *arguments)
        assert "fault" not in outcome, outcome
        return outcome.get("value")

    def ask(self, expression: str) -> Any:
        """The value of an expression."""
        return self.run(f"return {expression};")

    def sign_in(self, tenant: Tenant) -> None:
        """Sign in as the tenant's owner."""
        who = {"email": tenant.owner.email, "password": tenant.owner.password, "tenant": tenant.subdomain}
        self.run("front.begin(arguments[0]); await front.plinth.signIn(arguments[1]);", tenant.stack.url, who)

    @property
    def seen(self) -> list[tuple[str, str, str]]:
        """The events that came: id, type and page."""
        return [(event_id, kind, page) for event_id, kind, page in self.ask("front.seen")]


@pytest.fixture(scope="module")
def open_stack(origin: str) -> Iterator[Stack]:
    """A stack whose answers the front end may read, that looks at its streams every second."""
    stack = Stack(environment="staging", cors_origins=origin, log_level="ERROR", port=free_port(), stream_keepalive=1)
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture
def driver() -> Iterator[Any]:
    with chromium.chromium() as driver:
        driver.set_script_timeout(120)
        yield driver


@pytest.fixture
def tenant(open_stack: Stack) -> Tenant:
    return new_tenant(open_stack)


def expire_soon(tab: Tab, tenant: Tenant) -> None:
    """Put an access token of the same session in place that expires in seconds, and is not refreshed before."""
    settings = tenant.stack.settings
    tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=2)
    session = json.loads(tab.ask('localStorage.getItem("plinth.session")'))
    token = tokens.issue(tokens.verify(session["accessToken"]))
    changed = session | {"accessToken": token, "renewAt": 10**15}
    tab.run('localStorage.setItem("plinth.session", arguments[0]);', json.dumps(changed))


def token_of(tab: Tab) -> str:
    """The access token of the page's session."""
    return str(tab.run("return (await plinth.session()).accessToken;"))


def has_all(tab: Tab, tenant: Tenant) -> bool:
    """Whether the last event of the log came."""
    return tab.seen[-1:] == sse.logged(tenant)[-1:]


def test_a_page_signs_in_lists_creates_publishes_and_sees_it_live(driver: Any, origin: str, tenant: Tenant) -> None:
    tab = Tab(driver, origin)
    tab.sign_in(tenant)
    tab.run("await front.follow();")
    assert tab.run("return (await plinth.pages.list()).pages;") == []
    page = tab.run('return plinth.pages.create({ body: { slug: "hello", title: "Grüße 😀" } });')
    published = tab.run("return plinth.pages.publish({ pageId: arguments[0] });", page["id"])
    assert (page["status"], published["status"]) == ("draft", "published")
    ids = "const ids = []; for await (const { id } of plinth.pages.list({ pageSize: 1 })) ids.push(id); return ids;"
    assert tab.run(ids) == [page["id"]]
    wait_for(lambda: has_all(tab, tenant), what="the events")
    assert tab.seen == sse.logged(tenant)
    assert tab.ask('document.getElementById("pages").innerText') == "Grüße 😀: published"


def test_errors_are_readable_from_script(driver: Any, origin: str, tenant: Tenant) -> None:
    tab = Tab(driver, origin)
    tab.sign_in(tenant)
    page = tab.run('return plinth.pages.create({ body: { slug: "a" } });')
    tab.run('await plinth.pages.update({ pageId: arguments[0], body: { title: "b" } });', page["id"])
    update = 'await plinth.pages.update({ pageId: arguments[0], body: { title: "c" } }, { ifMatch: arguments[1] });'
    stale = tab.attempt(update, page["id"], page["etag"])
    assert (stale["status"], stale["code"], stale["reason"]) == (412, "ABORTED", "ETAG_MISMATCH")
    assert stale["requestId"]
    broken = tab.attempt('await plinth.pages.create({ body: { slug: "Not A Slug" } });')
    assert (broken["reason"], [each["field"] for each in broken["violations"]]) == ("RULE_VIOLATED", ["slug"])


def test_no_event_is_lost_or_repeated_over_expired_tokens_killed_processes_and_a_restart(
    driver: Any, origin: str, open_stack: Stack, tenant: Tenant
) -> None:
    tab = Tab(driver, origin)
    tab.sign_in(tenant)
    expire_soon(tab, tenant)
    tab.run("await front.follow();")
    writers.write(tenant, 5, "before")
    wait_for(lambda: tab.ask("front.opened") > 1, what="a stream after the token expired")
    writers.write(tenant, 5, "expired")

    old = {name: open_stack.kill(name, signal.SIGKILL) for name in ("api-0", "realtime-0")}
    for name, pid in old.items():
        replaced(open_stack, name, pid)
    writers.write(tenant, 5, "killed")

    open_stack.stop()
    open_stack.start()
    # Before and after the page is back.
    writers.write(tenant, 10, "restarted")
    tab.run('await plinth.pages.create({ body: { slug: "from-page" } });')
    wait_for(lambda: has_all(tab, tenant), what="the last event")
    assert tab.seen == sse.logged(tenant)
    assert len(tab.seen) == 26
    assert tab.ask("front.opened") >= 3
    assert tab.ask("front.faults") == []


def test_tabs_that_share_a_session_refresh_it_one_at_a_time(driver: Any, origin: str, tenant: Tenant) -> None:
    one = Tab(driver, origin)
    one.sign_in(tenant)
    driver.switch_to.new_window("tab")
    other = Tab(driver, origin)
    other.run("front.begin(arguments[0]);", tenant.stack.url)
    for tab in (one, other):
        tab.run(f"front.hours({HOURS}).then((n) => (front.finished = n), (e) => (front.finished = String(e)));")
    for tab in (one, other):
        wait_for(lambda tab=tab: tab.ask(FINISHED), what="the hours")  # type: ignore[misc]
    assert [one.ask("front.finished"), other.ask("front.finished")] == [HOURS, HOURS]
    assert one.ask("front.faults") + other.ask("front.faults") == []


def test_a_session_that_was_ended_is_told_and_forgotten(driver: Any, origin: str, tenant: Tenant) -> None:
    tab = Tab(driver, origin)
    tab.sign_in(tenant)
    tab.run("await front.follow();")
    # Somebody else with the same session, such as another device that shows all sessions.
    assert Rest(tenant.stack, token_of(tab)).post("auth/logout", {}).status_code == 204
    wait_for(lambda: len(tab.ask("front.faults")) >= 2, what="the end of the session and of the stream")
    assert "SESSION_ENDED" in tab.ask("front.faults")
    assert tab.ask('localStorage.getItem("plinth.session")') is None


def test_signing_out_ends_the_session_on_the_server(driver: Any, origin: str, tenant: Tenant) -> None:
    tab = Tab(driver, origin)
    tab.sign_in(tenant)
    token = token_of(tab)
    assert Rest(tenant.stack, token).get("auth/me").status_code == 200
    tab.run("await plinth.signOut();")
    assert reason(Rest(tenant.stack, token).get("auth/me")) == (401, "SESSION_ENDED")
    assert tab.attempt("await plinth.auth.getCurrentUser();")["reason"] == "CREDENTIALS_MISSING"
