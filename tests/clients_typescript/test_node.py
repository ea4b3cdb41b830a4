"""Programs in Node that use the installed client against a live stack."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients import Tenant, new_tenant, rows
from tests.clients_typescript import building
from tests.faults.outages import replaced
from tests.stack import Stack, free_port, wait_for
from tests.streams import sse, writers

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(building.missing()), reason=building.missing()),
]
PAGES = 60
PERMISSIONS = [
    "sites.pages.read",
    "sites.pages.create",
    "realtime.events.read",
    "audit.entries.read",
    "audit.entries.export",
]


@pytest.fixture(scope="module")
def mortal() -> Iterator[Stack]:
    """A stack whose processes are killed."""
    stack = Stack(log_level="ERROR", port=free_port(), api_workers=1, stream_keepalive=1)
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture
def program(project: Path) -> Path:
    """A folder with the programs of these tests, in which the client is installed."""
    for source in Path(__file__).parent.glob("*.mjs"):
        shutil.copy(source, project)
    return project


def environment_of(tenant: Tenant, **more: str) -> dict[str, str]:
    """What the programs are told: where, and with which key of the tenant."""
    body = {"name": "Service", "permissions": PERMISSIONS}
    answer = tenant.rest.post(f"{tenant.path}/api-keys", body)
    assert answer.status_code == 201, answer.text
    own = {"PLINTH_URL": tenant.stack.url, "PLINTH_KEY": answer.json()["key"], "PLINTH_TENANT": tenant.id}
    return own | more


@contextmanager
def started(program: Path, name: str, environment: dict[str, str]) -> "Iterator[subprocess.Popen[str]]":
    """A program that runs beside the block; it writes to `name.out` and `name.err`, and is ended with the block."""
    with (
        (program / f"{name}.out").open("w") as output,
        (program / f"{name}.err").open("w") as errors,
        subprocess.Popen(
            [str(building.NODE), f"{name}.mjs"],
            cwd=program,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_lists_files_errors_and_enums_are_as_the_contract_says(program: Path, stack: Stack) -> None:
    tenant = new_tenant(stack)
    for number in range(7):
        writers.create(tenant, f"p-{number}")
    seen = json.loads(building.node(program, "reader.mjs", environment=environment_of(tenant)))
    assert seen["slugs"] == [f"p-{number}" for number in range(7)]
    assert seen["requestId"]
    assert seen["status"] == "draft"
    assert seen["file"][1]
    assert set(seen["states"]) <= {"ok", "no_data", "insufficient_data", "not_configured"}
    assert seen["absent"] == [404, "NOT_FOUND", "RESOURCE_NOT_FOUND"]
    assert seen["unknown"] == [400, "INVALID_ARGUMENT", "UNKNOWN_FIELD"]
    assert seen["taken"] == [409, "ALREADY_EXISTS", "RESOURCE_TAKEN"]
    assert seen["foreign"][0] in {403, 404}
    assert seen["ticket"] == [403, "PERMISSION_DENIED", "USER_REQUIRED"]
    assert seen["keyless"] == [401, "UNAUTHENTICATED", "CREDENTIALS_INVALID"]
    assert seen["nobody"] == [0, "UNAVAILABLE", "CONNECTION_FAILED"]
    assert seen["aborted"] == "Error: left the page"


def test_writes_over_killed_processes_are_done_once_and_their_events_come_once(program: Path, mortal: Stack) -> None:
    tenant = new_tenant(mortal)
    environment = environment_of(tenant, COUNT=str(PAGES))
    written, states = program / "writer.out", program / "follower.err"
    with started(program, "follower", environment) as follower:
        wait_for(lambda: "open" in lines(states), what="the stream")
        with started(program, "writer", environment) as writer:
            for name in ("api-0", "realtime-0", "envoy", "api-0"):
                goal = len(lines(written)) + 5
                wait_for(lambda goal=goal: len(lines(written)) > goal or writer.poll() is not None)  # type: ignore[misc]
                replaced(mortal, name, mortal.kill(name, signal.SIGKILL))
            assert writer.wait(building.PATIENCE) == 0, (program / "writer.err").read_text()

        found = rows(mortal, "SELECT id::text, slug FROM pages WHERE tenant_id = %s ORDER BY create_time", tenant.id)
        assert [row["slug"] for row in found] == [f"page-{number}" for number in range(PAGES)]
        assert [row["id"] for row in found] == lines(written)

        writers.create(tenant, writers.LAST)
        assert follower.wait(building.PATIENCE) == 0, states.read_text()
    seen = [tuple(json.loads(line)) for line in lines(program / "follower.out")]
    assert seen == sse.logged(tenant)
    assert lines(states).count("open") > 1
