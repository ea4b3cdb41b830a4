"""The Makefile's installation: it says what it does, and heals a .venv that is broken. No package index is asked."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack import free_of_settings

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
STAMP = ".venv/.installed"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what installing looks at."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "clients/python/pyproject.toml"):
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    (tmp_path / "proto").mkdir()
    return tmp_path


def install(checkout: Path) -> str:
    """What `make` printed. Without an index, it gets as far as pip's first download."""
    result = subprocess.run(
        ["make", STAMP, "UV=", f"PYTHON={sys.executable}"],
        cwd=checkout,
        # As within `make test`, whose flags are not meant for this one.
        env=free_of_settings({name: value for name, value in os.environ.items() if not name.startswith("MAKE")})
        | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert "plinth: installing what requirements.lock pins into .venv" in result.stdout
    return result.stdout + result.stderr


def has_pip(checkout: Path) -> bool:
    command = [str(checkout / ".venv/bin/python"), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def without_pip(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=checkout, check=True, timeout=100)


def python_gone(checkout: Path) -> None:
    without_pip(checkout)
    (checkout / ".venv/bin").joinpath("python").unlink()
    (checkout / ".venv/bin").joinpath("python").symlink_to("/nowhere/python3")


def half_made(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)


@pytest.mark.parametrize("broken", [without_pip, python_gone, half_made])
@pytest.mark.parametrize("stamped", [True, False], ids=["installed before", "never finished"])
def test_a_broken_venv_is_healed(checkout: Path, broken: Callable[[Path], None], *, stamped: bool) -> None:
    broken(checkout)
    if stamped:
        (checkout / STAMP).write_text(f"{checkout}\n")
    printed = install(checkout)
    assert "No module named pip" not in printed
    assert has_pip(checkout)


def test_a_venv_of_another_folder_is_made_anew(checkout: Path) -> None:
    """Its scripts and its editable packages lead to where the folder was before it was moved."""
    without_pip(checkout)
    (checkout / STAMP).write_text("/where/it/was\n")
    (checkout / ".venv/bin/pytest").write_text("#!/where/it/was/.venv/bin/python\n")
    install(checkout)
    assert not (checkout / ".venv/bin/pytest").exists()
    assert has_pip(checkout)
