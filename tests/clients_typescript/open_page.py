"""A page that is left open: `python -m tests.clients_typescript.open_page --minutes 60`.

A real browser follows the pages of a tenant with the TypeScript client. Its access token lives 30 seconds. Meanwhile a
program with an API key makes pages, and every few minutes the stack is restarted or loses a process. In the end the
page has to have seen every event of the log once, in its order. The exit status is 1 if it has not.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from tests.browser import chromium
from tests.clients import Rest, Tenant, new_tenant
from tests.clients_typescript import building
from tests.clients_typescript.test_pages import Tab, has_all
from tests.faults.outages import replaced
from tests.stack import Stack, free_port, wait_for
from tests.streams import sse

LIFETIME = 30
# Seconds between two pages that are made, and between two outages.
PACE = 2.0
CALM = 240.0
NEXT_WORD = 300.0
PATIENCE = 120.0


def main() -> int:
    """Leave the page open for as long as was asked for."""
    parser = argparse.ArgumentParser(prog="open_page", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="plinth-open-page-") as folder:
        front_end = Path(folder, "front-end")
        front_end.mkdir()
        shutil.copy(Path(__file__).parent / "page.html", front_end)
        shutil.copy(building.build(Path(folder)).bundle, front_end)
        with chromium.site(front_end) as origin:
            stack = Stack(
                log_level="ERROR",
                port=free_port(),
                environment="staging",
                cors_origins=origin,
                access_token_lifetime=LIFETIME,
            )
            try:
                return _watch(stack.start(), origin, minutes * 60)
            finally:
                stack.remove()


def _watch(stack: Stack, origin: str, seconds: float) -> int:
    tenant = new_tenant(stack)
    body = {"name": "Writer", "permissions": ["sites.pages.create", "sites.pages.read"]}
    writer = Rest(stack, tenant.rest.post(f"{tenant.path}/api-keys", body).json()["key"])
    with chromium.chromium() as driver:
        driver.set_script_timeout(PATIENCE)
        tab = Tab(driver, origin)
        tab.sign_in(tenant)
        tab.run("await front.follow();")
        happened = _happen(stack, tab, lambda number: _make(writer, tenant, number), seconds)
        wait_for(lambda: has_all(tab, tenant), timeout=PATIENCE, what="the last event")
        return _report(tab, tenant, happened)


def _happen(stack: Stack, tab: Tab, make: Callable[[int], None], seconds: float) -> Counter[str]:
    """Make pages and outages until the time is over. How often each happened."""
    happened: Counter[str] = Counter()
    outages = cycle([("restarts of the stack", _restart), ("deaths of a process", _kill)])
    began = time.monotonic()
    next_outage, next_word = began + CALM / 4, began
    while (now := time.monotonic()) < began + seconds:
        make(happened["pages"])
        happened["pages"] += 1
        if now > next_outage:
            name, fail = next(outages)
            fail(stack)
            happened[name] += 1
            next_outage = time.monotonic() + CALM
        if now > next_word:
            next_word = now + NEXT_WORD
            _say(
                f"{(now - began) / 60:.0f} minutes: {dict(happened)}, the stream opened {tab.ask('front.opened')} times"
            )
        # What is simulated is time itself: a page every two seconds, over an hour.
        time.sleep(PACE)
    return happened


def _make(writer: Rest, tenant: Tenant, number: int) -> None:
    answer = writer.post(f"{tenant.path}/pages", {"slug": f"p-{number}", "title": "Made while you watch"})
    if answer.status_code != 201:
        raise AssertionError(answer.text)


def _restart(stack: Stack) -> None:
    stack.stop()
    stack.start()


def _kill(stack: Stack) -> None:
    replaced(stack, "realtime-0", stack.kill("realtime-0", signal.SIGKILL))


def _report(tab: Tab, tenant: Tenant, happened: Counter[str]) -> int:
    logged, seen = sse.logged(tenant), tab.seen
    lost = len(set(logged) - set(seen))
    repeated = len(seen) - len(set(seen))
    faults = tab.ask("front.faults")
    _say(f"{dict(happened)}: {len(logged)} events, {lost} lost, {repeated} repeated, "
         f"{'in order' if seen == logged else 'NOT as logged'}; the stream opened {tab.ask('front.opened')} times; "
         f"faults: {faults}")  # fmt: skip
    return int(seen != logged or bool(faults))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
