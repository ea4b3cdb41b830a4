"""CSV files with a header, a row for each sense, and the columns that ImportDictionary names.

Of an entry, they hold what a table can: no labels of senses, forms and pronunciations, no tags of forms, no relations.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence

from plinth.dictionary.v1.dictionary_entry_pb2 import (
    DictionaryEntry,
    Example,
    InflectedForm,
    Pronunciation,
    Sense,
    Translation,
)

from server.domains.dictionary.formats.csv_grouping import grouped
from server.domains.dictionary.formats.csv_records import Record, records_of
from server.domains.dictionary.formats.csv_values import joined, split
from server.domains.dictionary.formats.found import Found, Unreadable, headword_fault, shown
from server.domains.dictionary.formats.lines import Source
from server.domains.dictionary.formats.words import is_language

_OF_KEYS = ("headword", "part_of_speech", "homograph_number")
_OF_ENTRIES = ("labels", "pronunciation", "forms", "frequency", "etymology", "source", "licence")
_OF_SENSES = ("definition", "example")
_COLUMNS = (*_OF_KEYS, "labels", "pronunciation", "forms", *_OF_SENSES, "frequency", "etymology", "source", "licence")
_TRANSLATION = "translation_"
_WHOLE = re.compile(r"[0-9]{1,9}")
# What the pattern of headwords takes for space.
_SPACE = " \t\n\f\r"
_Values = dict[str, str]


def read(source: Source) -> Iterator[Found]:
    """The entries of a file: consecutive rows with the same headword, part of speech and homograph number are one.

    Raises Unreadable if the header is missing, or has columns that are not known.
    """
    records = records_of(source)
    columns = _columns(next(records, None))
    return grouped(_found(record, columns) for record in records)


def write_csv(entries: Iterable[DictionaryEntry], languages: Sequence[str]) -> Iterator[bytes]:
    """A file with these entries, piece by piece, with a column for the translations into each of these languages."""
    columns = [*_COLUMNS, *(_TRANSLATION + language for language in languages)]
    yield _line(columns)
    for entry in entries:
        rows = [_written_sense(sense, languages) for sense in entry.senses] or [{}]
        rows[0] |= _written_entry(entry)
        key = _written_key(entry)
        # What begins with =, +, -, @ or a tab stays as it is, though spreadsheets may take it for a formula: reading
        # the file has to give what was written, and a dictionary has headwords such as `-ness`.
        yield b"".join(_line([(key | row).get(column, "") for column in columns]) for row in rows)


def _columns(header: Record | None) -> list[str]:
    if header is None:
        raise Unreadable("the file has no header")
    if header.fault:
        raise Unreadable(f"the header cannot be read: {header.fault}")
    columns = [column.strip() for column in header.fields]
    if "headword" not in columns:
        raise Unreadable("the header has no column `headword`")
    if unknown := [f"`{column}`" for column in columns if not _is_known(column)]:
        raise Unreadable(f"the header has unknown columns: {', '.join(unknown)}"[:1000])
    if twice := [f"`{column}`" for column in dict.fromkeys(columns) if columns.count(column) > 1]:
        raise Unreadable(f"the header has columns twice: {', '.join(twice)}")
    return columns


def _is_known(column: str) -> bool:
    is_translation = column.startswith(_TRANSLATION) and is_language(column.removeprefix(_TRANSLATION))
    return column in _COLUMNS or is_translation


def _found(record: Record, columns: list[str]) -> Found:
    if record.fault:
        return Found(record.place, "", error=record.fault)
    values = dict(zip(columns, record.fields, strict=False))
    headword = values["headword"].strip(_SPACE)
    if len(record.fields) > len(columns):
        fault = f"the row must have at most {len(columns)} fields, as the header has"
        return Found(record.place, shown(headword), error=fault)
    if fault := headword_fault(headword):
        return Found(record.place, shown(headword), error=fault)
    try:
        return Found(record.place, headword, _entry(headword, values))
    except ValueError as error:
        return Found(record.place, headword, error=str(error))


def _entry(headword: str, values: _Values) -> DictionaryEntry:
    """What one row says."""
    return DictionaryEntry(
        headword=headword,
        part_of_speech=values.get("part_of_speech", ""),
        homograph_number=_whole(values, "homograph_number"),
        labels=split(values.get("labels", "")),
        pronunciations=[Pronunciation(transcription=each) for each in split(values.get("pronunciation", ""))],
        forms=[InflectedForm(text=each) for each in split(values.get("forms", ""))],
        senses=_senses(values),
        etymology=values.get("etymology", ""),
        frequency=_number(values, "frequency"),
        source=values.get("source", ""),
        licence=values.get("licence", ""),
    )


def _senses(values: _Values) -> list[Sense]:
    sense = Sense(
        definitions=split(values.get("definition", "")),
        examples=[Example(text=each) for each in split(values.get("example", ""))],
        translations=[
            Translation(language=column.removeprefix(_TRANSLATION), text=each)
            for column, value in values.items()
            if column.startswith(_TRANSLATION)
            for each in split(value)
        ],
    )
    return [sense] if sense.ByteSize() else []


def _whole(values: _Values, column: str) -> int:
    text = values.get(column, "").strip()
    if text and not _WHOLE.fullmatch(text):
        raise ValueError(f"{column}: must be a whole number")
    return int(text or 0)


def _number(values: _Values, column: str) -> float:
    text = values.get(column, "").strip()
    try:
        number = float(text or 0)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column}: must be a number, such as 12.5")
    return number


def _written_key(entry: DictionaryEntry) -> _Values:
    return {
        "headword": entry.headword,
        "part_of_speech": entry.part_of_speech,
        "homograph_number": _shortest(entry.homograph_number),
    }


def _written_entry(entry: DictionaryEntry) -> _Values:
    return {
        "labels": joined(entry.labels),
        "pronunciation": joined(each.transcription for each in entry.pronunciations if each.transcription),
        "forms": joined(each.text for each in entry.forms),
        "frequency": _shortest(entry.frequency),
        "etymology": entry.etymology,
        "source": entry.source,
        "licence": entry.licence,
    }


def _written_sense(sense: Sense, languages: Sequence[str]) -> _Values:
    translations = {
        _TRANSLATION + language: joined(each.text for each in sense.translations if each.language == language)
        for language in languages
    }
    return {
        "definition": joined(sense.definitions),
        "example": joined(each.text for each in sense.examples),
        **translations,
    }


def _shortest(number: float) -> str:
    return repr(number) if number else ""


def _line(fields: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(fields)
    return text.getvalue().encode()
