"""A process is built before it is forked, and may be forked again: building it keeps nothing that is true only once."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, os, sys, threading, time
from pathlib import Path

noted, noting = [], False


def note(what):
    # What a library asks for itself is its own: it knows that it may be forked.
    caller = sys._getframe(2).f_code.co_filename
    if noting and "/server/" in caller and "/site-packages/" not in caller:
        noted.append(f"{what} in {caller.rpartition('/server/')[2]}:{sys._getframe(2).f_lineno}")


def watched(module, name):
    real = getattr(module, name)

    def watching(*arguments, **options):
        note(f"{module.__name__}.{name}")
        return real(*arguments, **options)

    setattr(module, name, watching)


def hear(event, arguments):
    reads = event == "open" and arguments[1] in ("r", "rb")
    if noting and not reads and event in ("open", "socket.connect", "os.fork", "subprocess.Popen"):
        noted.append(f"{event} {arguments[:1]}")


# Before the server imports them by name.
for module, name in ((os, "getpid"), (os, "urandom"), *((time, each) for each in ("time", "time_ns", "monotonic"))):
    watched(module, name)
watched(threading.Thread, "__init__")

from server import app
from server.metrics import files
from server.settings import Settings

folder = Path(sys.argv[1])
settings = Settings(data_dir=folder, _env_file=None)
files.share(folder)
# What is imported late, and read once, is there from then on.
app.build(settings, "first", streams=False)
app.build(settings, "first", streams=True)
sys.addaudithook(hear)
for streams in (False, True):
    noting = True
    app.build(settings, "second", streams=streams)
    noting = False
PLANTED
print(json.dumps(noted))
"""
PLANTED = """
import server.parts
noting = True
server.parts.process_of("api-0")
noting = False
"""


def noted(folder: Path, planted: str = "") -> list[str]:
    """What building a process asked for that it must not ask for."""
    command = [sys.executable, "-c", SCRIPT.replace("PLANTED", planted), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_building_a_process_keeps_nothing_that_is_true_only_once(tmp_path: Path) -> None:
    assert noted(tmp_path) == []


def test_what_it_would_keep_is_noticed(tmp_path: Path) -> None:
    (told,) = noted(tmp_path, PLANTED)
    assert told.startswith("os.getpid in parts.py:")
