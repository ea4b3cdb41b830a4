"""The package in an empty environment, as its users install it: the oldest versions that it takes, and the newest.

Packages come from the index, as they do for users.
"""

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from tests.clients import Tenant
from tests.clients_python.test_examples import EXAMPLES, SAYS, environment_of, tenant
from tests.packaging.test_python_client import CLIENT, IMPORT_ALL, ROOT, clone

__all__ = ["tenant"]
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
PROJECT = tomllib.loads((ROOT / CLIENT / "pyproject.toml").read_text())["project"]
FLOORS = re.findall(r"([\w-]+)>=([\d.]+)", " ".join(PROJECT["dependencies"]))


def call(*command: object, folder: Path) -> str:
    """What a program says that ends well. It sees nothing of this environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in isolation from what is under version control."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = clone(folder / "checkout")
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, f"./{CLIENT}", folder=checkout)
    return next(folder.glob("plinth-*.whl"))


@pytest.mark.parametrize("wanted", [[f"{name}=={version}" for name, version in FLOORS], []], ids=["oldest", "newest"])
def test_every_module_and_example_runs_in_an_empty_environment(
    wheel: Path, tmp_path: Path, tenant: Tenant, wanted: list[str]
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    call(python, "-m", "pip", "install", "-q", wheel, *wanted, folder=tmp_path)
    installed = call(python, "-m", "pip", "freeze", folder=tmp_path)
    assert all(version in installed for version in wanted), installed
    call(python, "-I", "-c", IMPORT_ALL, folder=tmp_path)
    # The first example makes the first page of the tenant.
    for example in sorted(EXAMPLES, key=lambda path: path.stem != "quickstart"):
        done = subprocess.run(
            [python, str(example)], env=environment_of(tenant), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert re.match(SAYS[example.stem], done.stdout), done.stdout
