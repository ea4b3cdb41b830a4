"""Reading a file of entries in any form."""

from collections.abc import Iterator
from typing import BinaryIO

from plinth.dictionary.v1.dictionary_transfer_pb2 import DICTIONARY_FORMAT_CSV, DICTIONARY_FORMAT_WIKTEXTRACT

from server.domains.dictionary.formats import csv_rows, dmlex, wiktextract
from server.domains.dictionary.formats.detection import detect, is_dmlex_object
from server.domains.dictionary.formats.found import Found
from server.domains.dictionary.formats.lines import Source


def entries_in(file: BinaryIO, form: int, language: str) -> Iterator[Found]:
    """The entries of a file, in its order, while it is read: a file may be larger than the memory.

    `form` is a DictionaryFormat; unspecified, it is found by the content. `language` is that of the dictionary. Raises
    Unreadable if the file is in none of the forms, or where nothing behind it can be read.
    """
    source = Source(file)
    form = form or detect(source.head)
    if form == DICTIONARY_FORMAT_WIKTEXTRACT:
        return wiktextract.read(source, language)
    if form == DICTIONARY_FORMAT_CSV:
        return csv_rows.read(source)
    return dmlex.read_object(source) if is_dmlex_object(source.head) else dmlex.read_lines(source)
