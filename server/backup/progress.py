"""Shows on a terminal that long work goes on: how long it has taken, and how large a file has become meanwhile."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

# Seconds between two looks.
PAUSE = 0.5
_WITH_SIZE, _WITHOUT = "{desc}: {n_fmt}B, {elapsed}", "{desc}: {elapsed}"


@contextmanager
def shown(what: str, file: Path | None = None) -> Iterator[None]:
    """Show what is done, with the size of the file that it writes, while the block runs. Nothing without a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    form = _WITHOUT if file is None else _WITH_SIZE
    over = threading.Event()
    with tqdm(desc=what, file=sys.stderr, leave=False, unit_scale=True, bar_format=form) as bar:

        def watch() -> None:
            while not over.wait(PAUSE):
                bar.n = file.stat().st_size if file is not None and file.exists() else 0
                bar.refresh()

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()
