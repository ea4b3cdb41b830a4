"""A real Chromium, and the pages it opens."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

BROWSER = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
# The sandbox wants another user than root; the rest keeps it off the network.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CALL = "const done = arguments[arguments.length - 1]; call(...[...arguments].slice(0, -1)).then(done);"


class _Files(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def site(folder: Path = Path(__file__).parent) -> Iterator[str]:
    """Serve a folder, by default the page of this one; the origin that it has in the browser."""
    handler = partial(_Files, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a past. Naming the driver keeps Selenium from looking for one in the network."""
    assert BROWSER is not None
    assert DRIVER is not None
    with tempfile.TemporaryDirectory(prefix="plinth-browser-", ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = BROWSER
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        # What is written to the console, and every request.
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
        try:
            driver.set_script_timeout(30)
            yield driver
        finally:
            driver.quit()


class Page:
    """The page of this folder in the browser, loaded anew."""

    def __init__(self, driver: webdriver.Chrome, origin: str) -> None:
        self._driver = driver
        driver.get(f"{origin}/page.html")

    def call(
        self, method: str, url: str, token: str = "", body: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Fetch something; what script can see of the answer."""
        answer: dict[str, Any] = self._driver.execute_async_script(CALL, method, url, token, body, headers or {})
        return answer

    def follow(self, url: str) -> None:
        """Open an EventSource."""
        self._driver.execute_script("follow(arguments[0])", url)

    def ask(self, expression: str) -> Any:
        """The value of an expression of script."""
        return self._driver.execute_script(f"return {expression}")

    @property
    def seen(self) -> list[tuple[str, str, str]]:
        """The events that came: id, type and page."""
        return [(event_id, kind, page) for event_id, kind, page in self.ask("seen")]
