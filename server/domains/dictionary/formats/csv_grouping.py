"""Rows that say one entry together."""

from collections.abc import Iterable, Iterator

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry

from server.domains.dictionary.formats.found import MOST_BYTES, Found

_MOST_ENTRY_BYTES = 4 * MOST_BYTES
_MOST_HELD = 1000
"""Errors of rows that wait for the entry around them to be complete."""
_SINGLE = ("frequency", "etymology", "source", "licence")
_LISTS = ("labels", "pronunciations", "forms")


def grouped(rows: Iterable[Found]) -> Iterator[Found]:
    """Entries of rows that have one entry each; consecutive ones with the same key are one entry.

    Rows in error are told where they are, those between rows of an entry behind it.
    """
    group: _Group | None = None
    for row in rows:
        if group and (row.entry is None or group.takes(row.entry)):
            yield from group.add(row)
            continue
        if group:
            yield from group.end()
        group = _Group(row, row.entry) if row.entry else None
        if group is None:
            yield row
    if group:
        yield from group.end()


class _Group:
    """An entry whose rows are being read."""

    def __init__(self, row: Found, entry: DictionaryEntry) -> None:
        self._row = row
        self._entry = entry
        self._size = entry.ByteSize()
        self._held = [row]
        self._is_told = False

    def takes(self, entry: DictionaryEntry) -> bool:
        """Whether a row is of this entry."""
        return _key(entry) == _key(self._entry)

    def add(self, row: Found) -> Iterator[Found]:
        """Add a row of this entry, or one in error. Yields what need not wait any longer."""
        fault = row.error if row.entry is None else self._merge(row.entry)
        if fault:
            self._held.append(Found(row.place, row.headword, error=fault))
            if self._is_told or len(self._held) > _MOST_HELD:
                yield from self.end()

    def end(self) -> Iterator[Found]:
        """The entry and what is behind it, once."""
        held, self._held, self._is_told = self._held, [], True
        yield from held

    def _merge(self, entry: DictionaryEntry) -> str:
        """Add what a row says. Returns why it cannot be added, or nothing."""
        if self._is_told:
            return f"too many rows in error are between it and the first row of its entry, in line {self._row.place}"
        self._size += entry.ByteSize()
        if self._size > _MOST_ENTRY_BYTES:
            return f"the rows of an entry must have at most {_MOST_ENTRY_BYTES:,} bytes together"
        for field in _SINGLE:
            new, old = getattr(entry, field), getattr(self._entry, field)
            if new and old and new != old:
                return f"{field}: must be empty or the same as in line {self._row.place}, of the same entry"
        for field in _SINGLE:
            setattr(self._entry, field, getattr(entry, field) or getattr(self._entry, field))
        for field in _LISTS:
            items = getattr(self._entry, field)
            items.extend(item for item in getattr(entry, field) if item not in items)
        self._entry.senses.extend(entry.senses)
        return ""


def _key(entry: DictionaryEntry) -> tuple[str, str, int]:
    return entry.headword, entry.part_of_speech, entry.homograph_number
