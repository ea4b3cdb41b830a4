"""The import rules of .importlinter hold, and each bites when a module breaks it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import PATIENCE

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
VIOLATIONS = {
    "the kernel imports a domain": (
        "server/kernel/messages/etags.py",
        "from server.domains.sites import tables",
        "Dependencies point one way",
    ),
    "data imports the kernel": ("server/data/walls.py", "from server.kernel import ids", "Dependencies point one way"),
    "a domain imports another one": (
        "server/domains/sites/pages.py",
        "from server.domains.tenancy import tables as other",
        "No domain imports another one",
    ),
    "a new domain imports another one": (
        "server/domains/chat/__init__.py",
        "from server.domains.sites import tables",
        "No domain imports another one",
    ),
    "a worker imports the composition root": (
        "server/workers/maintenance.py",
        "from server import app",
        "Only commands import the composition root",
    ),
    "an engine imports the composition root": (
        "server/embedded/envoy.py",
        "from server import app",
        "Only commands import the composition root",
    ),
    "the gateway knows a domain": (
        "server/gateway/routes.py",
        "from server.domains.sites import tables",
        "Gateway and engines know no domain",
    ),
    "a room imports one above it": (
        "server/kernel/queries/pages.py",
        "from server.kernel.resources import resource",
        "The rooms of the kernel depend one way",
    ),
    "a domain goes past a door": (
        "server/domains/sites/pages.py",
        "from server.kernel.resources.rows import Storing",
        "Domains come into the kernel's rooms by their doors",
    ),
    "a domain imports a step": (
        "server/domains/sites/moved_slugs.py",
        "from server.kernel.steps.audit import Audit",
        "Domains come into the kernel's rooms by their doors",
    ),
    "a shared file names a domain": (
        "server/parts.py",
        "from server.domains.sites.tables import pages",
        "Only server/modules.py knows the domains",
    ),
}


def lint(folder: Path) -> tuple[int, str]:
    """What lint-imports says of a tree."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
    return result.returncode, result.stdout + result.stderr


def copy_of_the_tree(folder: Path) -> Path:
    """The sources alone, without what was generated or compiled."""
    shutil.copytree(ROOT / "server", folder / "server", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def test_the_import_rules_hold() -> None:
    status, output = lint(ROOT)
    assert status == 0, output
    assert "7 kept, 0 broken" in output


def test_every_rule_bites(tmp_path: Path) -> None:
    """One run over a tree with every violation: each contract is broken, and each violation is named."""
    tree = copy_of_the_tree(tmp_path)
    for file, line, _ in VIOLATIONS.values():
        path = tree / file
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    status, output = lint(tree)
    assert status == 1
    assert "0 kept, 7 broken" in output
    for what, (file, _, rule) in VIOLATIONS.items():
        module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert f"{rule} BROKEN" in output, what
        assert module in output, what


@pytest.mark.parametrize(("file", "line", "rule"), [VIOLATIONS["a new domain imports another one"]])
def test_one_violation_breaks_only_its_rule(tmp_path: Path, file: str, line: str, rule: str) -> None:
    tree = copy_of_the_tree(tmp_path)
    (tree / file).parent.mkdir()
    (tree / file).write_text(line + "\n")
    status, output = lint(tree)
    assert status == 1
    assert f"{rule} BROKEN" in output
    assert "6 kept, 1 broken" in output
