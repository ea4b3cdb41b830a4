"""What commands print: results on standard output, and all else on standard error."""

import json
import sys
from collections.abc import Sequence
from typing import Any


def print_json(value: Any, *, is_compact: bool) -> None:
    """A value as JSON: indented for people, and in one line for programs."""
    indent = None if is_compact or not sys.stdout.isatty() else 2
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
    sys.stdout.flush()


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Rows in columns."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def say(line: str) -> None:
    """A line for people."""
    sys.stderr.write(f"{line}\n")
