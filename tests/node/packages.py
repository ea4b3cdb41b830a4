"""The npm packages of package.json, and programs of this folder that run with them."""

import fcntl
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
KEPT = HERE.parent.parent / ".plinth" / "node"
NPM = shutil.which("npm")
INSTALLING = 600
RUNNING = 120
needs_npm = pytest.mark.skipif(NPM is None, reason="npm is not installed: apt-get install npm")


def installed() -> Path:
    """The folder `node_modules` of package-lock.json. It is kept from one run to the next."""
    lock = (HERE / "package-lock.json").read_bytes()
    folder = KEPT / hashlib.sha256(lock).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "installing").open("w") as guard:
        # Of the workers that run tests, one installs, and the others wait.
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            # No package may run a script of its own while it is installed; none of these needs one.
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALLING)
            assert done.returncode == 0, done.stderr
            (folder / "done").touch()
    return folder / "node_modules"


def run(program: str, folder: Path, *arguments: object) -> Any:
    """Run a program of this folder in another one. Returns what it prints, as JSON."""
    shutil.copy(HERE / program, folder)
    packages = folder / "node_modules"
    if not packages.exists():
        packages.symlink_to(installed())
    done = subprocess.run(
        ["node", program, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUNNING,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
