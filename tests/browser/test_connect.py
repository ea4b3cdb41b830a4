"""Connect's client for browsers, in one, on a page of another origin."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.clients import new_tenant
from tests.node import packages
from tests.packaging.stubs import generate_stubs
from tests.stack import Stack

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(2 * packages.INSTALLING),
    packages.needs_npm,
    pytest.mark.skipif(
        not (chromium.BROWSER and chromium.DRIVER),
        reason="no browser: apt-get install chromium chromium-driver",
    ),
]
SEE = """
const done = arguments[arguments.length - 1];
connectPage.see(...[...arguments].slice(0, -1)).then(done, (error) => done({fault: String(error)}));
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of the page, with all that it imports."""
    folder = tmp_path_factory.mktemp("page")
    generate_stubs(folder)
    shutil.copy(packages.HERE / "connect_page.mjs", folder)
    (folder / "node_modules").symlink_to(packages.installed())
    bundling = ["--bundle", "--format=iife", "--global-name=connectPage", "--outfile=page.js"]
    subprocess.run(
        [str(Path("node_modules", ".bin", "esbuild")), "connect_page.mjs", *bundling, "--log-level=error"],
        cwd=folder,
        check=True,
        timeout=packages.RUNNING,
    )
    return (folder / "page.js").read_text()


@pytest.mark.parametrize("is_binary", [False, True], ids=["JSON", "protobuf"])
def test_a_page_calls_and_reads_headers_trailers_and_details(
    driver: Any, origin: str, open_stack: Stack, script: str, *, is_binary: bool
) -> None:
    tenant = new_tenant(open_stack)
    driver.get(f"{origin}/page.html")
    # A script of its own, since a declaration lives only as long as what execute_script runs.
    driver.execute_script(f"{script}; window.connectPage = connectPage;")
    seen = driver.execute_async_script(SEE, open_stack.url, tenant.access_token, tenant.id, is_binary)
    assert seen.pop("requestId"), seen
    assert seen == {
        "title": "Zürich",
        "replayed": "true",
        "code": "Unauthenticated",
        "reason": "CREDENTIALS_MISSING",
    }
