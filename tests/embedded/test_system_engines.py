"""The whole stack on the PostgreSQL and Redis of the system, as where no wheel has them."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from server.embedded import engines
from server.embedded.engines import ENVOY, POSTGRES, REDIS, Engine
from server.embedded.faults import Fault
from tests.clients import Rest
from tests.stack import Stack, make_folder, runs

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]
SMALL = {"api_workers": 1, "drain_timeout": 2}
# `plinth up` in an interpreter that sees no wheel.
WITHOUT_WHEELS = f"""
import sys
sys.modules.update(dict.fromkeys({[engine.package for engine in (POSTGRES, REDIS, ENVOY)]}))
from server.commands import main
sys.exit(main())
"""


class SystemStack(Stack):
    """A stack on the engines of the system."""

    COMMAND: ClassVar[tuple[str, ...]] = (sys.executable, "-c", WITHOUT_WHEELS, "up")


@pytest.fixture(scope="module")
def without_wheels() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for engine in (POSTGRES, REDIS, ENVOY):
            patch.setitem(sys.modules, engine.package, None)
        yield patch


def of_system(engine: Engine) -> Path:
    """The program of the system, or a skip that says which is missing."""
    try:
        return engines.find(engine)
    except Fault as fault:
        pytest.skip(str(fault))


@pytest.fixture(scope="module")
def programs(without_wheels: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The programs by the names of their processes. If the system has no Envoy, the wheel's is put on PATH."""
    found = {"postgres": of_system(POSTGRES), "redis": of_system(REDIS)}
    if shutil.which("envoy") is None:
        without_wheels.delitem(sys.modules, ENVOY.package)
        link = tmp_path_factory.mktemp("path") / "envoy"
        link.symlink_to(of_system(ENVOY))
        without_wheels.setenv("PATH", f"{link.parent}{os.pathsep}{os.environ['PATH']}")
        without_wheels.setitem(sys.modules, ENVOY.package, None)
    return found | {"envoy": of_system(ENVOY)}


@pytest.fixture(scope="module")
def stack(programs: dict[str, Path]) -> Iterator[Stack]:
    assert programs
    folder = make_folder()
    stack = SystemStack(folder / "data", **SMALL)
    try:
        yield stack.start()
    finally:
        stack.remove()
        shutil.rmtree(folder, ignore_errors=True)


def owner(stack: Stack) -> Rest:
    answer = Rest(stack).post("auth/login", {"email": stack.email, "password": stack.password})
    assert answer.status_code == 200, answer.text
    return Rest(stack, answer.json()["accessToken"])


def pages(stack: Stack) -> str:
    return f"tenants/{stack.tenant_id}/pages"


def test_its_engines_are_the_systems(stack: Stack, programs: dict[str, Path]) -> None:
    for name, program in programs.items():
        assert Path(psutil.Process(stack.pid(name)).exe()).samefile(program)


def test_it_keeps_and_finds_what_is_written(stack: Stack) -> None:
    made = owner(stack).post(pages(stack), {"title": "ÄRGER mit Ω"})
    assert made.status_code == 201, made.text
    # Text folds case in every script, whatever provides the locale.
    found = owner(stack).get(pages(stack), {"filter": 'title:"ärger mit ω"'})
    assert [page["id"] for page in found.json()["pages"]] == [made.json()["id"]]


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_an_engine_that_is_killed_comes_back(stack: Stack, name: str) -> None:
    before = stack.output.count(f"{name:<10} | is back")
    old = stack.kill(name)
    stack.wait_for(lambda: stack.output.count(f"{name:<10} | is back") > before)
    assert stack.pid(name) not in {0, old}


def test_a_stack_with_wheels_goes_on_with_the_data(stack: Stack, programs: dict[str, Path]) -> None:
    # PostgreSQL was killed a moment ago, and no call has found out which connections that ended.
    made = owner(stack).post(pages(stack), {"title": "Kept"})
    assert made.status_code == 201, made.text
    family = stack.family()
    assert stack.stop() == 0
    assert not any(map(runs, family))
    # As after an upgrade to a Python that has wheels: the data stays with the version that made it.
    later = Stack(stack.data_dir, **SMALL)
    try:
        later.start()
        assert Path(psutil.Process(later.pid("postgres")).exe()).samefile(programs["postgres"])
        assert owner(later).get(f"{pages(later)}/{made.json()['id']}").json()["title"] == "Kept"
    finally:
        later.stop()


def test_a_setting_that_names_another_version_than_the_datas_is_refused(
    stack: Stack, programs: dict[str, Path]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, POSTGRES.package)
        wheel = engines.of_wheel(POSTGRES)
    if wheel is None or engines.version(POSTGRES, wheel) == engines.version(POSTGRES, programs["postgres"]):
        pytest.skip("there is no PostgreSQL of another version")
    stack.stop()
    printed = len(stack.output)
    assert Stack(stack.data_dir, postgres_bin=wheel.parent, **SMALL).launch().wait(90) == 1
    assert "holds the data of PostgreSQL" in stack.output[printed:]
