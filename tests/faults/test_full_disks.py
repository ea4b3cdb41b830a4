"""Disks that are full: what is convenience is lost and said so, what is work goes on or is refused with words."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.faults import Fault
from server.kernel.caching.generations import Generations
from tests.clients import Rest, Tenant, new_tenant, reason, unique
from tests.faults.disk import Disk, small_disk
from tests.faults.outages import replaced, well
from tests.stack import Stack, free_port, make_folder, runs
from tests.telemetry.scrapes import scrape

pytestmark = pytest.mark.heavy

SIZES = {"run": "8m", "logs": "1m"}
DATABASE_SIZE = "200m"
ROLES = ("api-0", "realtime-0", "worker-0", "postgres", "redis", "envoy")


@dataclass
class Scene:
    """A stack whose folders are small disks."""

    stack: Stack
    tenant: Tenant
    disks: dict[str, Disk]

    def creates_a_page(self) -> bool:
        """Whether a page can be made."""
        return self.tenant.rest.post(f"{self.tenant.path}/pages", {"slug": unique("page")}).status_code == 201

    def check(self, name: str) -> str:
        """What is wrong with a dependency; empty when nothing is."""
        found = Rest(self.stack).get("health").json()
        return {check["name"]: str(check.get("message", "")) for check in found["checks"]}[name]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as opened:
        data = make_folder() / "data"
        disks = {name: opened.enter_context(small_disk(data / name, size)) for name, size in SIZES.items()}
        stack = Stack(data, api_workers=1, metrics_port=free_port(), database_connect_timeout=1)
        opened.callback(stack.remove)
        stack.start()
        stack.stop()
        # The database is made in a folder of its own, and then put in its place.
        postgres, spare = data / "postgres", data / "spare"
        postgres.rename(spare)
        disks["postgres"] = opened.enter_context(small_disk(postgres, DATABASE_SIZE))
        subprocess.run(["cp", "-a", f"{spare}/.", str(postgres)], check=True)
        stack.start()
        yield Scene(stack, new_tenant(stack), disks)


@pytest.fixture(autouse=True)
def made_whole(scene: Scene) -> Iterator[None]:
    """Every disk has room before and after each test."""
    well(scene.stack)
    yield
    for disk in scene.disks.values():
        disk.free()


def test_a_full_run_folder_ends_no_process_and_a_dead_worker_comes_back(scene: Scene) -> None:
    stack = scene.stack
    before = stack.processes()
    scene.disks["run"].fill()
    assert all(scene.creates_a_page() for _ in range(50))
    # Its metrics are of methods that nobody has called yet: their file would grow.
    for path in ("audit/keys", "auth/me", f"tenants/{scene.tenant.id}/webhooks", f"tenants/{scene.tenant.id}/roles"):
        scene.tenant.rest.get(path)
    old = stack.kill("api-0")
    stack.wait_for(lambda: not runs(old))
    # What it had there is gone.
    scene.disks["run"].fill()
    stack.wait_for(scene.creates_a_page)
    assert all(runs(before[name]) for name in ROLES if name != "api-0")
    # Who runs is told in a file, which what the dead one left may have made room for.
    assert stack.pid("api-0") != old or "processes.json cannot be written" in stack.output
    scene.disks["run"].free()
    replaced(stack, "api-0", old)
    well(stack)


def test_full_logs_lose_lines_and_nothing_else(scene: Scene) -> None:
    stack = scene.stack
    before = stack.processes()
    scene.disks["logs"].fill()
    for _ in range(100):
        assert scene.creates_a_page()
    stack.wait_for(lambda: "lines are lost" in stack.output)
    assert stack.output.count("lines are lost") == 1
    assert stack.processes() == before
    scene.disks["logs"].free()
    slug = unique("after")
    assert scene.tenant.rest.post(f"{scene.tenant.path}/pages", {"slug": slug}).status_code == 201
    stack.wait_for(lambda: scene.creates_a_page() and "can be written again" in stack.output)


def test_a_full_database_disk_is_told_and_got_over(scene: Scene) -> None:
    stack = scene.stack
    before = stack.processes()
    scene.disks["postgres"].fill()
    stack.wait_for(lambda: "full" in scene.check("database writes"))
    health = Rest(stack).get("health")
    assert (health.status_code, health.json()["status"]) == (200, "STATUS_DEGRADED")
    up = "plinth_dependency_up"
    stack.wait_for(lambda: scrape(stack.metrics_url).total(up, dependency="database writes") == 0)
    # What cannot be stored is refused with words, until there is room.
    answers = [scene.tenant.rest.post(f"{scene.tenant.path}/pages", page(number)) for number in range(40)]
    assert {answer.status_code for answer in answers} <= {201, 503}
    assert {reason(answer) for answer in answers if answer.status_code == 503} <= {(503, "DEPENDENCY_UNAVAILABLE")}
    assert scene.tenant.rest.get(f"{scene.tenant.path}/pages").status_code == 200
    scene.disks["postgres"].free()
    well(stack)
    assert scene.creates_a_page()
    assert stack.processes() == before


def page(number: int) -> dict[str, object]:
    """A page that takes some room."""
    return {"slug": unique(f"page-{number}"), "title": "x" * 200}


def test_a_start_without_room_names_the_folder(tmp_path: Path) -> None:
    with small_disk(tmp_path / "full", "256k") as disk:
        disk.fill()
        with pytest.raises(Fault, match=r"full.* No space left on device"):
            Generations(tmp_path / "full" / "generations").open()
