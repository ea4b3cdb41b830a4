"""What a person sees of long work, on a terminal and nowhere else."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

from tests.stack import wait_for

SCRIPT = """
import sys
from pathlib import Path
from server.backup.progress import shown
file = Path(sys.argv[1])
with shown("pg_dump", file):
    file.write_bytes(b"x" * 2_000_000)
    sys.stdin.readline()
print("done")
"""


def test_a_terminal_shows_the_growing_file_on_standard_error(tmp_path: Path) -> None:
    reading, writing = pty.openpty()
    # A bar is cut to the width of its terminal, which a new one does not have.
    termios.tcsetwinsize(writing, (24, 80))
    os.set_blocking(reading, False)
    seen = bytearray()

    def has_size() -> bool:
        try:
            seen.extend(os.read(reading, 100_000))
        except BlockingIOError:
            return False
        return b"pg_dump: 2.00MB, 00:0" in seen

    command = [sys.executable, "-c", SCRIPT, f"{tmp_path}/dump"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing) as process:
        wait_for(has_size, what=lambda: f"the size in {bytes(seen)!r}")
        assert process.communicate(b"\n")[0] == b"done\n"
    os.close(writing)
    os.close(reading)


def test_a_script_sees_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"{tmp_path}/dump"], input=b"\n", capture_output=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == (b"done\n", b"")
