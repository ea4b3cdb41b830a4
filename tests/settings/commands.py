"""Runs `plinth` with settings of its own, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.stack import free_of_settings

ROOT = Path(__file__).parent.parent.parent
SECRET = "0123456789abcdef" * 2
REFUSED = 2


def plinth(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in this folder, whose .env counts, with these variables beside the environment's."""
    environment = free_of_settings(dict(os.environ)) | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def refusals(folder: Path, *arguments: str, **variables: str) -> list[str]:
    """The lines with which a command refuses its settings, without the name of the program."""
    done = plinth(folder, *(arguments or ("migrate",)), **variables)
    assert (done.returncode, done.stdout) == (REFUSED, ""), done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("plinth: ") for line in lines), done.stderr
    assert not list(folder.glob(".plinth"))
    return [line.removeprefix("plinth: ") for line in lines]
