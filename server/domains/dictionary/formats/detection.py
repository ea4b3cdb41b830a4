"""The form of a file, by what it begins with."""

import csv

from plinth.dictionary.v1.dictionary_transfer_pb2 import (
    DICTIONARY_FORMAT_CSV,
    DICTIONARY_FORMAT_DMLEX,
    DICTIONARY_FORMAT_WIKTEXTRACT,
)

from server.domains.dictionary.formats.dmlex_stream import keys_of
from server.domains.dictionary.formats.found import Unreadable
from server.domains.dictionary.formats.lines import without_mark

_OF_OBJECTS = frozenset({"entries", "langCode"})
_OF_WIKTEXTRACT = frozenset({"word", "redirect"})
_IN_WIKTEXTRACT = frozenset({"pos", "lang_code", "glosses"})
"""Of objects whose own keys are behind what is seen of a long line."""
_IN_DMLEX = frozenset({"partsOfSpeech", "definitions"})


def detect(head: bytes) -> int:
    """The DictionaryFormat of a file that begins with `head`: 64 KB are enough. Raises Unreadable if it has none."""
    text = without_mark(head).lstrip()
    if not text:
        raise Unreadable("the file is empty")
    found = _of_json(text) if text.startswith(b"{") else _of_header(text)
    if not found:
        raise Unreadable(
            "the file is neither DMLex as JSON, nor CSV with a column `headword`, nor lines of Wiktextract"
        )
    return found


def is_dmlex_object(head: bytes) -> bool:
    """Whether a DMLex file is one object with entries. Otherwise each line is an entry."""
    own, _ = keys_of(head)
    return bool(own & _OF_OBJECTS)


def _of_json(text: bytes) -> int:
    own, all_keys = keys_of(text)
    if own & _OF_OBJECTS:
        return DICTIONARY_FORMAT_DMLEX
    if own & _OF_WIKTEXTRACT:
        return DICTIONARY_FORMAT_WIKTEXTRACT
    if "headword" in own:
        return DICTIONARY_FORMAT_DMLEX
    if all_keys & _IN_WIKTEXTRACT:
        return DICTIONARY_FORMAT_WIKTEXTRACT
    return DICTIONARY_FORMAT_DMLEX if all_keys & _IN_DMLEX else 0


def _of_header(text: bytes) -> int:
    line = text.partition(b"\n")[0].decode(errors="replace")
    try:
        columns = [column.strip() for row in csv.reader([line], strict=True) for column in row]
    except csv.Error:
        return 0
    return DICTIONARY_FORMAT_CSV if "headword" in columns else 0
