"""What a person sees of long work, on a terminal and nowhere else."""

import os
import pty
import subprocess
import sys
import termios

SCRIPT = """
import sys, time
from pathlib import Path
from server.backup.progress import shown
file = Path(sys.argv[1])
with shown("pg_dump", file):
    file.write_bytes(b"x" * 2_000_000)
    # Until it was looked at.
    time.sleep(1.2)
print("done")
"""


def test_a_terminal_shows_the_growing_file_on_standard_error(tmp_path: object) -> None:
    reading, writing = pty.openpty()
    # A bar is cut to the width of its terminal, which a new one does not have.
    termios.tcsetwinsize(writing, (24, 80))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"{tmp_path}/dump"],
        stdout=subprocess.PIPE,
        stderr=writing,
        timeout=60,
        check=True,
    )
    # The bar was cleared in the end, so there is something to be read.
    seen = os.read(reading, 100_000).decode()
    os.close(writing)
    os.close(reading)
    assert done.stdout == b"done\n"
    assert "pg_dump: 2.00MB, 00:0" in seen


def test_a_script_sees_nothing(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"{tmp_path}/dump"], capture_output=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == (b"done\n", b"")
