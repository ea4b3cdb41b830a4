"""Builds the client of clients/typescript from what is under version control, as its release does."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server import app

ROOT = Path(__file__).parent.parent.parent
CLIENT = Path("clients", "typescript")
NODE, NPM = shutil.which("node"), shutil.which("npm")
OLDEST_NODE = 20
# npm fetches some ten packages, and a machine may be busy.
PATIENCE = 300.0


@dataclass(frozen=True)
class Built:
    """A client that was built and packed."""

    folder: Path
    """A copy of clients/typescript in which everything was built."""

    @property
    def bundle(self) -> Path:
        """The one file for pages without a bundler."""
        return self.folder / "dist" / "plinth.min.js"

    @property
    def archive(self) -> Path:
        """What is published."""
        (archive,) = self.folder.glob("*.tgz")
        return archive


def missing() -> str:
    """What this machine lacks for these tests; empty if it has all."""
    if not (NODE and NPM):
        return "no Node: apt-get install nodejs npm"
    version = subprocess.run([NODE, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)", version)
    is_old = found is None or int(found[1]) < OLDEST_NODE
    return f"Node {version.strip()} is older than {OLDEST_NODE}" if is_old else ""


def build(shared: Path, described: bytes | None = None) -> Built:
    """The client, built from an OpenAPI document; by default from that of all RPCs.

    The first test process builds it in this folder, and the others wait.
    """
    folder = shared / "typescript"
    with (shared / "typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(folder.glob("*.tgz")):
            shutil.rmtree(folder, ignore_errors=True)
            _copy(folder)
            document = shared / "openapi.json"
            document.write_bytes(described or app.reference().openapi())
            npm(folder, "ci", "--no-audit", "--no-fund")
            npm(folder, "run", "build", environment={"PLINTH_OPENAPI": str(document)})
            npm(folder, "pack")
    return Built(folder)


def _copy(folder: Path) -> None:
    """The files that are under version control, or will be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT / CLIENT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / CLIENT / name, folder / name)


def npm(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run npm; what it printed. When it fails, the error has what it printed."""
    assert NPM is not None
    return run(folder, NPM, *arguments, environment=environment)


def node(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run Node likewise."""
    assert NODE is not None
    return run(folder, NODE, *arguments, environment=environment)


def run(folder: Path, *command: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a program; what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
