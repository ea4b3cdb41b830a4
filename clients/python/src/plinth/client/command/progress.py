"""Progress bars, on the standard error of a terminal alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plinth.client.operations import Progress
from plinth.client.uploading import Sent


@contextmanager
def following(what: str) -> Iterator[Progress | None]:
    """What shows an operation of this name while it runs; None where nobody looks, or without the package tqdm."""
    bar = _bar(what)
    if bar is None:
        yield None
        return

    def show(changed: Any) -> None:
        bar.total = changed.total or None
        bar.n = changed.done
        bar.set_postfix_str(changed.message, refresh=False)
        bar.refresh()

    with bar:
        yield show


@contextmanager
def sending(what: str) -> Iterator[Sent | None]:
    """What shows how much of a file was sent; None as above."""
    bar = _bar(what, unit="B", unit_scale=True)
    if bar is None:
        yield None
        return

    def show(done: int, total: int | None) -> None:
        bar.total = total
        bar.n = done
        bar.refresh()

    with bar:
        yield show


def _bar(what: str, **options: Any) -> Any:
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm  # noqa: PLC0415 - an extra of the package
    except ImportError:
        return None
    return tqdm(desc=what, file=sys.stderr, leave=False, **options)
