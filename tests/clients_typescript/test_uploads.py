"""A page that sends a file and shows how far it is, with a client made from a contract that takes files."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser import chromium
from tests.clients import Tenant, new_tenant
from tests.clients_typescript import building
from tests.clients_typescript.test_pages import Tab, pytestmark
from tests.inbound.conftest import HookStack, hook_stack

__all__ = ["hook_stack", "pytestmark"]
MEGABYTES = 5
SEND = """
const file = new Blob([new Uint8Array(arguments[0] * 1024 * 1024).fill(7)], { type: arguments[1] });
const told = [];
const onProgress = (sent, total) => told.push([sent, total]);
const answer = await plinth.hook.putFile({ folder: "inbox", label: "mine", body: file }, { onProgress });
return [answer, told];
"""


@pytest.fixture(scope="module")
def origin(hook_stack: HookStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the front end is, with a client of this contract."""
    described = httpx.get(f"{hook_stack.url}/api/v1/openapi.json", timeout=60)
    built = building.build(tmp_path_factory.mktemp("upload-client"), described.content)
    folder = tmp_path_factory.mktemp("upload-page")
    shutil.copy(Path(__file__).parent / "page.html", folder)
    shutil.copy(built.bundle, folder)
    with chromium.site(folder) as origin:
        yield origin


@pytest.fixture
def tab(origin: str, tenant: Tenant) -> Iterator[Tab]:
    with chromium.chromium() as driver:
        driver.set_script_timeout(120)
        tab = Tab(driver, origin)
        tab.sign_in(tenant)
        yield tab


@pytest.fixture
def tenant(hook_stack: HookStack) -> Tenant:
    return new_tenant(hook_stack)


def test_a_page_sends_a_file_and_shows_how_far_it_is(hook_stack: HookStack, tab: Tab) -> None:
    size = MEGABYTES * 1024 * 1024
    answer, told = tab.run(SEND, MEGABYTES, "image/png")
    assert (answer["folder"], answer["label"], answer["contentType"]) == ("inbox", "mine", "image/png")
    assert answer["sha256"] == hashlib.sha256(b"\7" * size).hexdigest()
    assert (hook_stack.files / answer["id"]).stat().st_size == size
    sent = [done for done, _ in told]
    assert sent == sorted(sent)
    assert told[-1] == [size, size]


def test_a_refused_file_is_an_error_as_of_any_call(tab: Tab) -> None:
    refused: dict[str, Any] = tab.attempt(SEND, 1, "text/plain")
    assert refused["status"] == 415
    assert refused["reason"]
    assert refused["requestId"]
