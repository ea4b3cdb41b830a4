"""Rows of CSV files (RFC 4180), each with its line; one that is broken takes no other one with it."""

import csv
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from server.domains.dictionary.formats.found import MOST_BYTES
from server.domains.dictionary.formats.lines import Line, Source, lines_of


class Record(NamedTuple):
    """A row."""

    place: int
    """The number of its first line."""
    fields: list[str]
    fault: str
    """Why it is not to be read. Empty otherwise."""


def records_of(source: Source) -> Iterator[Record]:
    """The rows of a file. Those without any text are passed over."""
    lines = _Lines(lines_of(source))
    while True:
        try:
            fields = next(csv.reader(lines, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(lines.put_back(), [], f"the row must be CSV: {error}")
            continue
        first, fault = lines.taken()
        if fault or any(fields):
            yield Record(first, fields, fault or _fault_of(fields))


def _fault_of(fields: list[str]) -> str:
    return "the row must not have a NUL" if any("\0" in field for field in fields) else ""


class _Lines:
    """Lines, of which all but the first of a broken row are read again: its quotation mark may not be closed."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(line)
        self._size += len(line.text)
        if self._size > MOST_BYTES:
            raise csv.Error(f"more than {MOST_BYTES:,} characters; a quotation mark may not be closed")
        return line.text

    def put_back(self) -> int:
        """Give up a row. Returns the number of its first line."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        self._begin()
        return first.number

    def taken(self) -> tuple[int, str]:
        """The number of the first line of a row, and what is wrong with its lines."""
        first = self._taken[0].number
        fault = next((line.fault for line in self._taken if line.fault), "")
        self._begin()
        return first, fault

    def _begin(self) -> None:
        self._taken, self._size = [], 0
