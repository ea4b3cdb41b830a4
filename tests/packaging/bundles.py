"""The contract as `make protos` writes it, and protoc as a command line has it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# As protoc is called on a command line: `python -m grpc_tools.protoc` would add the folder of protobuf's own files.
PROTOC = "import sys; from grpc_tools import protoc; sys.exit(protoc.main(['protoc', *sys.argv[1:]]))"


def write_bundle(folder: Path) -> "subprocess.CompletedProcess[str]":
    """What `make protos to=FOLDER` runs."""
    command = [sys.executable, "-m", "clients.bundle", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def run_protoc(folder: Path, *arguments: str) -> None:
    """Run protoc in a folder, with nothing of this project in reach."""
    command = [sys.executable, "-I", "-c", PROTOC, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
