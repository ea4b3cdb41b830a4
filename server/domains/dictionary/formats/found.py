"""What files of entries hold."""

from typing import NamedTuple

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry

from server.domains.dictionary.formats.limits import most_characters

MOST_BYTES = 1024 * 1024
"""Of a line, of a row of a CSV file, and of an entry of a DMLex object."""
_MOST_HEADWORD = most_characters(DictionaryEntry, "headword")


class Unreadable(Exception):
    """A file is in none of the forms, or breaks where nothing behind it can be read."""


class Found(NamedTuple):
    """An entry of a file; or why there is none: either `error` or `skipped` says it."""

    place: int
    """The number of its line, or of the entry in a DMLex object, from 1. It only grows."""
    headword: str
    """Empty if it could not be read."""
    entry: DictionaryEntry | None = None
    error: str = ""
    """One line: the field and its rule."""
    skipped: str = ""


def headword_fault(headword: str, field: str = "headword") -> str:
    """What is wrong with a headword that stands in `field`; empty if nothing is."""
    if not headword:
        return f"{field}: must not be empty"
    if len(headword) > _MOST_HEADWORD:
        return f"{field}: must have at most {_MOST_HEADWORD} characters"
    return ""


def shown(headword: str) -> str:
    """A headword as errors name it."""
    return headword[:_MOST_HEADWORD]
