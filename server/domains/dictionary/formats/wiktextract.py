"""Lines of Wiktextract (https://kaikki.org): what Wiktionary says, extracted by programs, with all its oddities.

Everything is made to fit the limits of the contract. A text that is too long is cut; a word that is too long, such as a
form or a label, is left out, and so is what is more than a list may hold.
"""

import re
from collections.abc import Iterable, Iterator

from google.protobuf.message import Message
from plinth.dictionary.v1.dictionary_entry_pb2 import (
    DictionaryEntry,
    Example,
    InflectedForm,
    Pronunciation,
    Relation,
    Sense,
    Translation,
)

from server.domains.dictionary.formats.found import Found, headword_fault, shown
from server.domains.dictionary.formats.json_objects import JsonObject, objects_of
from server.domains.dictionary.formats.limits import most_characters, most_items
from server.domains.dictionary.formats.lines import Source
from server.domains.dictionary.formats.words import is_language, is_web_address, part_of_speech_of

_PARTS_OF_SPEECH = {
    "abbrev": "abbreviation",
    "adj": "adjective",
    "adj_noun": "adjectival_noun",
    "adj_verb": "adjectival_verb",
    "adv": "adverb",
    "adv_phrase": "adverbial_phrase",
    "circumpos": "circumposition",
    "conj": "conjunction",
    "det": "determiner",
    "intj": "interjection",
    "name": "proper_noun",
    "num": "numeral",
    "postp": "postposition",
    "prep": "preposition",
    "prep_phrase": "prepositional_phrase",
    "pron": "pronoun",
    "punct": "punctuation_mark",
}
_RELATIONS = {
    "synonyms": Relation.TYPE_SYNONYM,
    "antonyms": Relation.TYPE_ANTONYM,
    "hypernyms": Relation.TYPE_HYPERNYM,
    "hyponyms": Relation.TYPE_HYPONYM,
    "holonyms": Relation.TYPE_HOLONYM,
    "meronyms": Relation.TYPE_MERONYM,
    "derived": Relation.TYPE_DERIVED,
}
_NO_FORMS = frozenset({"table-tags", "inflection-template", "class"})
"""Tags of rows that tell of a table, not of a form."""
_NONE = frozenset({"", "-", "\u2013", "\u2014"})
"""What tables have where a word lacks a form."""
_HOMOGRAPH_NUMBER = re.compile(r"[0-9]{1,2}")


def read(source: Source, language: str) -> Iterator[Found]:
    """The entries of lines in this language. Redirects, other languages and lines that say nothing are skipped."""
    primary = language.partition("-")[0].lower()
    for line in objects_of(source):
        if line.fault:
            yield Found(line.number, "", error=line.fault)
        else:
            yield _found(line.number, line.value, primary)


def _found(place: int, line: JsonObject, language: str) -> Found:
    headword = _headword(line.get("word"))
    if "redirect" in line:
        title = _headword(line.get("title")) or headword
        return Found(place, shown(title), skipped=f"a redirect to {shown(_headword(line['redirect']))}")
    other = _text(line.get("lang_code"))
    if other and other.lower() != language:
        return Found(place, shown(headword), skipped=f"another language: {shown(other)}")
    if fault := headword_fault(headword, "word"):
        return Found(place, shown(headword), error=fault)
    entry = _entry(headword, line)
    if not entry.senses:
        return Found(place, headword, skipped="neither definitions nor translations")
    return Found(place, headword, entry)


def _entry(headword: str, line: JsonObject) -> DictionaryEntry:
    name = _text(line.get("pos"))
    return DictionaryEntry(
        headword=headword,
        part_of_speech=part_of_speech_of(_PARTS_OF_SPEECH.get(name.lower(), name)),
        homograph_number=_homograph_number(line.get("etymology_number")),
        labels=_labels(line, DictionaryEntry),
        pronunciations=_pronunciations(line),
        forms=_forms(headword, line),
        senses=_senses(line),
        etymology=_cut(_text(line.get("etymology_text")), DictionaryEntry, "etymology"),
        hyphenation=_hyphenation(line),
    )


def _homograph_number(value: object) -> int:
    text = _text(value)
    return int(text) if _HOMOGRAPH_NUMBER.fullmatch(text) else 0


def _pronunciations(line: JsonObject) -> list[Pronunciation]:
    found: list[Pronunciation] = []
    for sound in _objects(line.get("sounds")):
        transcription = _text(sound.get("ipa"))
        addresses = [_text(sound.get(key)) for key in ("mp3_url", "ogg_url", "audio")]
        pronunciation = Pronunciation(
            transcription=transcription if _fits(transcription, Pronunciation, "transcription") else "",
            audio_url=next(filter(is_web_address, addresses), ""),
            labels=_labels(sound, Pronunciation),
        )
        if (pronunciation.transcription or pronunciation.audio_url) and pronunciation not in found:
            found.append(pronunciation)
        if len(found) == most_items(DictionaryEntry, "pronunciations"):
            break
    return found


def _forms(headword: str, line: JsonObject) -> list[InflectedForm]:
    forms: dict[tuple[str, str], InflectedForm] = {}
    for row in _objects(line.get("forms")):
        text, tags = _text(row.get("form")), _texts(row.get("tags"))
        if text in _NONE or text == headword or not _NO_FORMS.isdisjoint(tags):
            continue
        if _fits(text, InflectedForm, "text"):
            tag = _cut(" ".join(tags), InflectedForm, "tag")
            forms.setdefault((text, tag), InflectedForm(text=text, tag=tag))
    return list(forms.values())[: most_items(DictionaryEntry, "forms")]


def _hyphenation(line: JsonObject) -> str:
    joined = ("·".join(_texts(each.get("parts"))) for each in _objects(line.get("hyphenations")))
    # Until 2025, and with another point between the syllables.
    former = (each.replace("\u2027", "·") for each in _texts(line.get("hyphenation")))
    found = next(filter(None, (*joined, *former)), "")
    return found if _fits(found, DictionaryEntry, "hyphenation") else ""


def _senses(line: JsonObject) -> list[Sense]:
    """The senses that say something. What the line tells of no sense in particular is with the one it speaks of."""
    drafts = [_Draft(sense) for sense in _objects(line.get("senses"))]
    drafts = [draft for draft in drafts if draft.gloss][: most_items(DictionaryEntry, "senses")] or [_Draft({})]
    for part in _objects(line.get("translations")):
        _meant(drafts, part).translate(part)
    for key, relation in _RELATIONS.items():
        for part in _objects(line.get(key)):
            _meant(drafts, part).relate(relation, part)
    senses = [draft.sense() for draft in drafts]
    return [sense for sense in senses if sense.definitions or sense.translations]


class _Draft:
    """A sense that is being collected."""

    def __init__(self, sense: JsonObject) -> None:
        glosses = _texts(sense.get("glosses")) or _texts(sense.get("raw_glosses"))
        # The last one is of this sense; those before are of the senses around it, without which it is half a sentence.
        self.gloss = ": ".join([*(gloss.rstrip(" .:") for gloss in glosses[:-1]), *glosses[-1:]])
        self.folded = self.gloss.casefold()
        self._labels = _labels(sense, Sense)
        self._examples = _examples(sense)
        self._translations: dict[tuple[str, str], Translation] = {}
        self._relations: dict[tuple[int, str], Relation] = {}
        for part in _objects(sense.get("translations")):
            self.translate(part)
        for key, relation in _RELATIONS.items():
            for part in _objects(sense.get(key)):
                self.relate(relation, part)

    def translate(self, part: JsonObject) -> None:
        """Add a word of another language."""
        language, text = _text(part.get("lang_code")) or _text(part.get("code")), _text(part.get("word"))
        if is_language(language) and text and _fits(text, Translation, "text"):
            self._translations.setdefault((language, text), Translation(language=language, text=text))

    def relate(self, relation: Relation.Type, part: JsonObject) -> None:
        """Add a related word."""
        text = _text(part.get("word"))
        if text and _fits(text, Relation, "text"):
            self._relations.setdefault((relation, text), Relation(type=relation, text=text))

    def sense(self) -> Sense:
        """What was collected."""
        return Sense(
            labels=self._labels,
            definitions=[_cut(self.gloss, Sense, "definitions")] if self.gloss else [],
            examples=self._examples,
            translations=list(self._translations.values())[: most_items(Sense, "translations")],
            relations=list(self._relations.values())[: most_items(Sense, "relations")],
        )


def _meant(drafts: list[_Draft], part: JsonObject) -> _Draft:
    """The sense whose gloss has what a part says of its sense; otherwise the first one."""
    hint = _text(part.get("sense")).casefold()
    return next((draft for draft in drafts if hint in draft.folded), drafts[0])


def _examples(sense: JsonObject) -> list[Example]:
    found = []
    for part in _objects(sense.get("examples")):
        if text := _text(part.get("text")):
            translation = _text(part.get("translation")) or _text(part.get("english"))
            found.append(
                Example(
                    text=_cut(text, Example, "text"),
                    source=_cut(_text(part.get("ref")), Example, "source"),
                    translation=_cut(translation, Example, "translation"),
                )
            )
    return found[: most_items(Sense, "examples")]


def _labels(part: JsonObject, message: type[Message]) -> list[str]:
    labels = dict.fromkeys([*_texts(part.get("tags")), *_texts(part.get("topics"))])
    return [label for label in labels if _fits(label, message, "labels")][: most_items(message, "labels")]


def _fits(text: str, message: type[Message], field: str) -> bool:
    return len(text) <= most_characters(message, field)


def _cut(text: str, message: type[Message], field: str) -> str:
    most = most_characters(message, field)
    return text if len(text) <= most else text[: most - 1] + "…"


def _headword(value: object) -> str:
    return " ".join(_text(value).split())


def _objects(value: object) -> Iterable[JsonObject]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _texts(value: object) -> list[str]:
    """The texts of a list, or the text that stands in place of a list."""
    return list(filter(None, map(_text, value if isinstance(value, list) else [value])))


def _text(value: object) -> str:
    """A text, or a number as text; empty for anything else. Without what cannot be stored."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value.encode(errors="ignore").decode().replace("\0", "").strip() if isinstance(value, str) else ""
