"""DMLex 1.0 (OASIS LEXIDMA) as JSON: an object with entries, which is read and written in pieces, or a line for each.

What DMLex has no place for stands under `x-plinth` of the entry or the sense.
"""

import json
import re
from collections.abc import Iterable, Iterator

from plinth.dictionary.v1.dictionary_entry_pb2 import (
    DictionaryEntry,
    Example,
    InflectedForm,
    Pronunciation,
    Relation,
    Sense,
    Translation,
)

from server.domains.dictionary.formats.dmlex_stream import Broken, Item, items_of
from server.domains.dictionary.formats.found import MOST_BYTES, Found, Unreadable, headword_fault, shown
from server.domains.dictionary.formats.json_objects import JsonObject, Part, objects_of
from server.domains.dictionary.formats.lines import Source
from server.domains.dictionary.formats.words import is_web_address, part_of_speech_of

_OWN = "x-plinth"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNDETERMINED = "und"
"""The language of a translated example, which entries do not tell (ISO 639-2)."""
_RELATIONS = {
    Relation.TYPE_SYNONYM: ("synonyms", "", ""),
    Relation.TYPE_ANTONYM: ("antonyms", "", ""),
    Relation.TYPE_HYPERNYM: ("hypernymy", "hyponym", "hypernym"),
    Relation.TYPE_HYPONYM: ("hypernymy", "hypernym", "hyponym"),
    Relation.TYPE_HOLONYM: ("meronymy", "part", "whole"),
    Relation.TYPE_MERONYM: ("meronymy", "whole", "part"),
    Relation.TYPE_DERIVED: ("derivation", "origin", "derived"),
    Relation.TYPE_ORIGIN: ("derivation", "derived", "origin"),
    Relation.TYPE_SEE_ALSO: ("see_also", "from", "to"),
}
"""What DMLex calls a relation, the role of the sense that has it, and the role of the other one."""
_NAMES = {kind: Relation.Type.Name(kind).removeprefix("TYPE_").lower() for kind in _RELATIONS}
_TYPES = {name: kind for kind, name in _NAMES.items()}


def read_lines(source: Source) -> Iterator[Found]:
    """The entries of JSON Lines."""
    for line in objects_of(source):
        if line.fault:
            yield Found(line.number, "", error=line.fault)
        else:
            yield _found(line.number, line.value, "")


def read_object(source: Source) -> Iterator[Found]:
    """The entries of an object. Raises Unreadable where it breaks."""
    place, languages = 0, list[object]()
    try:
        for item in items_of(source, "entries", "translationLanguages"):
            if item.key == "entries":
                place += 1
                yield _found_of(place, item, languages)
            elif len(languages) <= 1:
                languages.append(item.value)
    except Broken as error:
        raise Unreadable(f"the file is not valid JSON, or not complete, after entry {place}: {error}") from error


def write_dmlex(title: str, language: str, uri: str, entries: Iterable[DictionaryEntry]) -> Iterator[bytes]:
    """An object with these entries, piece by piece. `title` and `uri` may be empty."""
    about = {"title": title, "uri": uri, "langCode": language}
    yield _json(_given(about)).removesuffix(b"}") + b', "entries": ['
    languages: set[str] = set()
    relations: list[bytes] = []
    separator = b"\n"
    for entry in entries:
        yield separator + _json(_written(entry))
        separator = b",\n"
        languages.update(_languages(entry))
        relations += [_json(relation) for sense in entry.senses for relation in _linked(sense)]
    yield b"\n]"
    if languages:
        yield b', "translationLanguages": ' + _json(sorted(languages))
    if relations:
        yield b', "relations": [\n' + b",\n".join(relations) + b"\n]"
    yield b"}\n"


def _found_of(place: int, item: Item, languages: list[object]) -> Found:
    if item.is_too_large:
        return Found(place, "", error=f"the entry must have at most {MOST_BYTES:,} bytes")
    only = languages[0] if len(languages) == 1 else ""
    return _found(place, item.value, only if isinstance(only, str) else "")


def _found(place: int, value: object, language: str) -> Found:
    """An entry. Translations are in `language` unless they have one: DMLex leaves it out if there is only one."""
    headword = ""
    try:
        part = Part(value)
        headword = part.text("headword")
        if fault := headword_fault(headword):
            return Found(place, shown(headword), error=fault)
        return Found(place, headword, _entry(part, language))
    except ValueError as error:
        return Found(place, shown(headword), error=str(error))


def _entry(part: Part, language: str) -> DictionaryEntry:
    own = part.part(_OWN)
    parts_of_speech = part.texts("partsOfSpeech")
    return DictionaryEntry(
        headword=part.text("headword"),
        part_of_speech=part_of_speech_of(parts_of_speech[0]) if parts_of_speech else "",
        homograph_number=part.whole("homographNumber"),
        labels=part.texts("labels"),
        pronunciations=[spoken for each in part.parts("pronunciations") for spoken in _pronunciations(each)],
        forms=[
            InflectedForm(text=each.text("text"), tag=each.text("tag"), labels=each.texts("labels"))
            for each in part.parts("inflectedForms")
        ],
        senses=[_sense(each, language) for each in part.parts("senses")],
        etymology="\n".join(filter(None, (each.text("description") for each in part.parts("etymologies")))),
        hyphenation=own.text("hyphenation"),
        frequency=own.number("frequency"),
        source=own.text("source"),
        licence=own.text("licence"),
    )


def _pronunciations(part: Part) -> Iterator[Pronunciation]:
    """One for each transcription. The sound file is that of the first; names of files nobody can fetch are left out."""
    sound, labels = part.text("soundFile"), part.texts("labels")
    audio_url = sound if is_web_address(sound) else ""
    transcriptions = part.parts("transcriptions")
    if not transcriptions and (audio_url or not sound):
        yield Pronunciation(audio_url=audio_url, labels=labels)
    for transcription in transcriptions:
        yield Pronunciation(
            transcription=transcription.text("text"),
            scheme=transcription.text("scheme"),
            audio_url=audio_url,
            labels=labels,
        )
        audio_url = ""


def _sense(part: Part, language: str) -> Sense:
    sense_id = part.text("id")
    return Sense(
        id=sense_id if _UUID.fullmatch(sense_id) else "",
        indicator=part.text("indicator"),
        labels=part.texts("labels"),
        definitions=[each.text("text") for each in part.parts("definitions")],
        examples=[_example(each) for each in part.parts("examples")],
        translations=[
            Translation(language=each.text("langCode") or language, text=each.text("text"))
            for each in part.parts("headwordTranslations")
        ],
        relations=[_relation(each) for each in part.part(_OWN).parts("relations")],
    )


def _example(part: Part) -> Example:
    sources = (part.text("sourceIdentity"), part.text("sourceElaboration"))
    translations = part.parts("exampleTranslations")
    return Example(
        text=part.text("text"),
        source=", ".join(filter(None, sources)),
        translation=translations[0].text("text") if translations else "",
    )


def _relation(part: Part) -> Relation:
    name = part.text("type")
    if name not in _TYPES:
        raise ValueError(f"{part.path('type')}: must be one of {', '.join(_TYPES)}")
    return Relation(
        type=_TYPES[name],
        related_entry_id=part.text("entryId"),
        related_sense_id=part.text("senseId"),
        text=part.text("text"),
    )


def _written(entry: DictionaryEntry) -> JsonObject:
    own = {
        "hyphenation": entry.hyphenation,
        "frequency": entry.frequency,
        "source": entry.source,
        "licence": entry.licence,
    }
    return _given(
        {
            "id": entry.id,
            "headword": entry.headword,
            # DMLex has numbers of homographs as texts.
            "homographNumber": str(entry.homograph_number) if entry.homograph_number else "",
            "partsOfSpeech": [entry.part_of_speech] if entry.part_of_speech else [],
            "labels": list(entry.labels),
            "pronunciations": [_written_pronunciation(each) for each in entry.pronunciations],
            "inflectedForms": [
                _given({"text": each.text, "tag": each.tag, "labels": list(each.labels)}) for each in entry.forms
            ],
            "senses": [_written_sense(each) for each in entry.senses],
            "etymologies": [{"description": entry.etymology}] if entry.etymology else [],
            _OWN: _given(own),
        }
    )


def _written_pronunciation(pronunciation: Pronunciation) -> JsonObject:
    transcription = {"text": pronunciation.transcription}
    if pronunciation.scheme:
        transcription["scheme"] = pronunciation.scheme
    return _given(
        {
            "soundFile": pronunciation.audio_url,
            "transcriptions": [transcription] if any(transcription.values()) else [],
            "labels": list(pronunciation.labels),
        }
    )


def _written_sense(sense: Sense) -> JsonObject:
    return _given(
        {
            "id": sense.id,
            "indicator": sense.indicator,
            "labels": list(sense.labels),
            "definitions": [{"text": each} for each in sense.definitions],
            "examples": [_written_example(each) for each in sense.examples],
            "headwordTranslations": [{"langCode": each.language, "text": each.text} for each in sense.translations],
            _OWN: _given({"relations": [_written_relation(each) for each in sense.relations]}),
        }
    )


def _written_example(example: Example) -> JsonObject:
    translation = {"langCode": _UNDETERMINED, "text": example.translation}
    return _given(
        {
            "text": example.text,
            "sourceElaboration": example.source,
            "exampleTranslations": [translation] if example.translation else [],
        }
    )


def _written_relation(relation: Relation) -> JsonObject:
    return _given(
        {
            "type": _NAMES[relation.type],
            "entryId": relation.related_entry_id,
            "senseId": relation.related_sense_id,
            "text": relation.text,
        }
    )


def _languages(entry: DictionaryEntry) -> Iterator[str]:
    for sense in entry.senses:
        yield from (each.language for each in sense.translations)
        yield from (_UNDETERMINED for each in sense.examples if each.translation)


def _linked(sense: Sense) -> Iterator[JsonObject]:
    """The relations of a sense that DMLex can say: those with an id at both ends."""
    for relation in sense.relations:
        other = relation.related_sense_id or relation.related_entry_id
        if sense.id and other:
            name, role, other_role = _RELATIONS[relation.type]
            members = [_given({"ref": sense.id, "role": role}), _given({"ref": other, "role": other_role})]
            yield {"type": name, "members": members}


def _given(fields: JsonObject) -> JsonObject:
    """What is not empty."""
    return {key: value for key, value in fields.items() if value}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
