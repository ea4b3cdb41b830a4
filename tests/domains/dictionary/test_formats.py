"""Files of entries: what is read of each form, what is not and why, and that what is written is read back."""

import csv
import io
import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import protovalidate
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plinth.dictionary.v1.dictionary_entry_pb2 import (
    DictionaryEntry,
    Example,
    InflectedForm,
    Pronunciation,
    Relation,
    Sense,
    Translation,
)
from plinth.dictionary.v1.dictionary_transfer_pb2 import (
    DICTIONARY_FORMAT_CSV,
    DICTIONARY_FORMAT_DMLEX,
    DICTIONARY_FORMAT_UNSPECIFIED,
    DICTIONARY_FORMAT_WIKTEXTRACT,
)

from server.domains.dictionary.formats import Found, Unreadable, detect, entries_in, write_csv, write_dmlex

RELATIONS = ("synonym", "antonym", "hypernym", "hyponym", "holonym", "meronym", "derived", "origin", "see_also")
MEGABYTE = 1024 * 1024
SOME_ID = "0190a6f0-0000-7000-8000-000000000001"
OTHER_ID = "0190a6f0-0000-7000-8000-000000000002"
THIRD_ID = "0190a6f0-0000-7000-8000-000000000003"

COLOUR: dict[str, Any] = {
    "pos": "noun",
    "head_templates": [{"name": "en-noun", "args": {"1": "~"}, "expansion": "colour (countable, plural colours)"}],
    "forms": [
        {"form": "colours", "tags": ["plural"]},
        {"form": "colours", "tags": ["plural"]},
        {"form": "colour", "tags": ["canonical"]},
        {"form": "color", "tags": ["US", "alternative"]},
    ],
    "etymology_text": "From Middle English colour, from Latin color.",
    "etymology_number": 1,
    "sounds": [
        {"ipa": "/\u02c8kʌl.ə/", "tags": ["UK"]},
        {"rhymes": "-ʌlə(ɹ)"},
        {
            "audio": "En-uk-colour.ogg",
            "ogg_url": "https://upload.wikimedia.org/colour.ogg",
            "mp3_url": "https://upload.wikimedia.org/colour.mp3",
            "tags": ["UK"],
        },
    ],
    "hyphenations": [{"parts": ["col", "our"]}],
    "word": "colour",
    "lang": "English",
    "lang_code": "en",
    "senses": [
        {
            "glosses": ["The spectral composition of visible light."],
            "raw_glosses": ["(uncountable) The spectral composition of visible light."],
            "tags": ["uncountable"],
            "topics": ["physics"],
            "examples": [{"text": "Humans see colour.", "ref": "1987, A Book, page 3", "type": "quotation"}],
            "synonyms": [{"word": "hue"}],
            "derived": [{"word": "colourful"}, {"word": "colourful"}],
        },
        {
            "glosses": ["A particular set of visible spectral compositions.", "A paint."],
            "examples": [{"text": "Mischt die Farbe!", "english": "Mix the colour!"}],
        },
        {"tags": ["no-gloss"]},
    ],
    "hypernyms": [{"word": "property", "sense": "visible light"}],
    "translations": [
        {"lang": "German", "code": "de", "sense": "a paint", "word": "Farbe"},
        {"lang": "French", "lang_code": "fr", "sense": "spectral composition of visible light", "word": "couleur"},
        {"lang": "Spanish", "code": "es", "sense": "something else", "word": "color"},
        {"lang": "Middle Low German", "code": "not a tag", "word": "varwe"},
        {"lang": "Irish", "code": "ga", "word": None},
    ],
}


# As the examples of the specification.
CAT: dict[str, Any] = {
    "id": "cat-n",
    "headword": "cat",
    "homographNumber": "1",
    "partsOfSpeech": ["n-masc"],
    "labels": ["informal"],
    "pronunciations": [
        {
            "soundFile": "https://example.com/cat.mp3",
            "transcriptions": [{"text": "kæt", "scheme": "ipa"}, {"text": "kat", "scheme": "respelling"}],
            "labels": ["UK"],
        },
        {"soundFile": "cat.mp3"},
    ],
    "inflectedForms": [{"tag": "pl", "text": "cats", "labels": ["rare"], "pronunciations": []}],
    "senses": [
        {
            "id": "cat-n-1",
            "indicator": "animal",
            "labels": ["zoology"],
            "definitions": [{"text": "a small pet", "definitionType": "short"}],
            "examples": [
                {
                    "text": "The cat sleeps.",
                    "sourceIdentity": "corpus",
                    "sourceElaboration": "p. 3",
                    "headwordMarkers": [{"startIndex": 4, "endIndex": 7}],
                    "exampleTranslations": [{"langCode": "cs", "text": "Kočka spí."}],
                }
            ],
            "headwordTranslations": [{"langCode": "cs", "text": "kočka", "partsOfSpeech": ["n-fem"]}],
        }
    ],
    "etymologies": [{"description": "from Latin"}],
}
CAT_READ = DictionaryEntry(
    headword="cat",
    part_of_speech="n-masc",
    homograph_number=1,
    labels=["informal"],
    pronunciations=[
        Pronunciation(transcription="kæt", scheme="ipa", audio_url="https://example.com/cat.mp3", labels=["UK"]),
        Pronunciation(transcription="kat", scheme="respelling", labels=["UK"]),
    ],
    forms=[InflectedForm(text="cats", tag="pl", labels=["rare"])],
    senses=[
        Sense(
            indicator="animal",
            labels=["zoology"],
            definitions=["a small pet"],
            examples=[Example(text="The cat sleeps.", source="corpus, p. 3", translation="Kočka spí.")],
            translations=[Translation(language="cs", text="kočka")],
        )
    ],
    etymology="from Latin",
)


def found_in(content: bytes, form: int = DICTIONARY_FORMAT_UNSPECIFIED, language: str = "en") -> list[Found]:
    return list(entries_in(io.BytesIO(content), form, language))


def lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def wiktextract(*values: object, language: str = "en") -> list[Found]:
    return found_in(lines(*values), DICTIONARY_FORMAT_WIKTEXTRACT, language)


def dmlex(*entries: object) -> list[Found]:
    return found_in(lines({"langCode": "en", "entries": entries}), DICTIONARY_FORMAT_DMLEX)


def table(text: str) -> list[Found]:
    return found_in(text.encode(), DICTIONARY_FORMAT_CSV)


def entry_of(found: Iterable[Found]) -> DictionaryEntry:
    (one,) = found
    assert one.entry is not None, one
    return one.entry


def entries_of(found: Iterable[Found]) -> list[DictionaryEntry]:
    return [entry_of([one]) for one in found]


def violations(entry: DictionaryEntry) -> list[protovalidate.Violation]:
    whole = DictionaryEntry()
    whole.CopyFrom(entry)
    whole.dictionary_id = SOME_ID
    return list(protovalidate.collect_violations(whole))


class TestDetection:
    @pytest.mark.parametrize(
        ("head", "form"),
        [
            (b'{"title": "A", "uri": "https://example.com", "langCode": "en"}', DICTIONARY_FORMAT_DMLEX),
            (b'{\n  "entries": [\n    {"headword": "a"},\n    {"headwo', DICTIONARY_FORMAT_DMLEX),
            (b'\xef\xbb\xbf{"entries": []}', DICTIONARY_FORMAT_DMLEX),
            (b'{"headword": "cat"}\n{"headword": "dog"}\n', DICTIONARY_FORMAT_DMLEX),
            (b'{"senses": [{"definitions": [{"text": "An animal', DICTIONARY_FORMAT_DMLEX),
            (lines(COLOUR), DICTIONARY_FORMAT_WIKTEXTRACT),
            (b'{"title": "color", "redirect": "colour"}\n', DICTIONARY_FORMAT_WIKTEXTRACT),
            (b'{"word": "a", oops}\n', DICTIONARY_FORMAT_WIKTEXTRACT),
            (b'{"senses": [{"glosses": ["So long that the word comes', DICTIONARY_FORMAT_WIKTEXTRACT),
            (b"headword,definition\r\ncat,An animal\r\n", DICTIONARY_FORMAT_CSV),
            (b'\xef\xbb\xbf"definition","headword"\r\n', DICTIONARY_FORMAT_CSV),
            (b"\n definition, headword\n", DICTIONARY_FORMAT_CSV),
        ],
    )
    def test_tells_the_form_by_the_content(self, head: bytes, form: int) -> None:
        assert detect(head) == form

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b" \r\n",
            b"<!DOCTYPE html><html><head><title>headword</title>",
            b"PK\x03\x04\x14\x00\x00\x00",
            b"\xff\xfe{\x00",
            b'{"name": "something", "version": 1}',
            b'[{"headword": "cat"}]',
            b"word;definition\ncat;An animal\n",
            b'"headword\n',
        ],
    )
    def test_refuses_what_is_in_none_of_the_forms(self, head: bytes) -> None:
        with pytest.raises(Unreadable):
            detect(head)

    def test_is_done_when_no_form_is_named(self) -> None:
        assert [each.headword for each in found_in(lines(COLOUR))] == ["colour"]
        assert [each.headword for each in found_in(b"\xef\xbb\xbfheadword\r\ncat\r\n")] == ["cat"]
        assert [each.headword for each in found_in(b'\xef\xbb\xbf{"entries": [{"headword": "cat"}]}')] == ["cat"]
        with pytest.raises(Unreadable):
            found_in(b"<html>")


KEYS_OF_LINES = (
    *("pos", "forms", "sounds", "senses", "translations", "synonyms", "hyphenations", "hyphenation", "tags"),
    *("etymology_text", "etymology_number"),
)
KEYS_IN_LINES = (
    *("form", "tags", "ipa", "mp3_url", "glosses", "text", "ref", "translation", "word", "code", "sense", "parts"),
    *("translations", "examples", "synonyms"),
)
any_value = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["de", "http://x y", "https://example.com/a.mp3", "x" * 2500])
)
any_json = st.recursive(
    any_value,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(KEYS_IN_LINES), values, max_size=4),
    max_leaves=12,
)


class TestWiktextract:
    def test_takes_what_a_sense_says_itself(self) -> None:
        spoken = {"ipa": "/a/", "tags": ["UK"]}
        line = {
            "word": "a",
            "senses": [
                {"glosses": ["First"]},
                {"glosses": ["Second"], "translations": [{"code": "de", "word": "ein"}]},
            ],
            "sounds": [spoken, spoken],
        }
        entry = entry_of(wiktextract(line))
        assert [len(sense.translations) for sense in entry.senses] == [0, 1]
        assert len(entry.pronunciations) == 1

    def test_reads_an_entry(self) -> None:
        assert entry_of(wiktextract(COLOUR)) == DictionaryEntry(
            headword="colour",
            part_of_speech="noun",
            homograph_number=1,
            pronunciations=[
                Pronunciation(transcription="/\u02c8kʌl.ə/", labels=["UK"]),
                Pronunciation(audio_url="https://upload.wikimedia.org/colour.mp3", labels=["UK"]),
            ],
            forms=[InflectedForm(text="colours", tag="plural"), InflectedForm(text="color", tag="US alternative")],
            etymology="From Middle English colour, from Latin color.",
            hyphenation="col·our",
            senses=[
                Sense(
                    labels=["uncountable", "physics"],
                    definitions=["The spectral composition of visible light."],
                    examples=[Example(text="Humans see colour.", source="1987, A Book, page 3")],
                    translations=[
                        Translation(language="fr", text="couleur"),
                        Translation(language="es", text="color"),
                    ],
                    relations=[
                        Relation(type=Relation.TYPE_SYNONYM, text="hue"),
                        Relation(type=Relation.TYPE_DERIVED, text="colourful"),
                        Relation(type=Relation.TYPE_HYPERNYM, text="property"),
                    ],
                ),
                Sense(
                    definitions=["A particular set of visible spectral compositions: A paint."],
                    examples=[Example(text="Mischt die Farbe!", translation="Mix the colour!")],
                    translations=[Translation(language="de", text="Farbe")],
                ),
            ],
        )

    def test_leaves_out_rows_of_tables_that_are_no_forms(self) -> None:
        run = {
            "word": "run",
            "lang_code": "en",
            "pos": "verb",
            "senses": [{"glosses": ["To move swiftly."]}],
            "forms": [
                {"form": "no-table-tags", "tags": ["table-tags"], "source": "conjugation"},
                {"form": "en-conj", "tags": ["inflection-template"]},
                {"form": "strong", "tags": ["class"]},
                {"form": "-", "tags": ["comparative"]},
                {"form": "—", "tags": ["superlative"]},
                {"form": "run", "tags": ["infinitive"]},
                {"form": "ran", "tags": ["past"]},
                {"form": "run", "tags": ["participle", "past"]},
                {"form": "running", "tags": ["participle", "present"]},
                {"form": "rànnen", "tags": ["romanization"]},
                {"tags": ["plural"]},
            ],
        }
        forms = [(form.text, form.tag) for form in entry_of(wiktextract(run)).forms]
        assert forms == [("ran", "past"), ("running", "participle present"), ("rànnen", "romanization")]

    @pytest.mark.parametrize(
        ("line", "headword", "why"),
        [
            ({"title": "color", "redirect": "colour"}, "color", "a redirect to colour"),
            (COLOUR | {"lang_code": "fr"}, "colour", "another language: fr"),
            ({"word": "gloss", "lang_code": "en"}, "gloss", "neither definitions nor translations"),
            (
                {"word": "gloss", "senses": [{"tags": ["no-gloss"]}], "synonyms": [{"word": "note"}]},
                "gloss",
                "neither definitions nor translations",
            ),
        ],
    )
    def test_skips_with_a_reason(self, line: dict[str, Any], headword: str, why: str) -> None:
        assert wiktextract(line) == [Found(1, headword, None, "", why)]

    def test_takes_the_language_of_the_dictionary_without_its_region(self) -> None:
        assert entry_of(wiktextract(COLOUR, language="en-GB")).headword == "colour"

    def test_keeps_translations_of_a_word_without_glosses(self) -> None:
        line = {"word": "cat", "lang_code": "en", "translations": [{"code": "de", "word": "Katze", "sense": "animal"}]}
        assert entry_of(wiktextract(line)).senses == [Sense(translations=[Translation(language="de", text="Katze")])]

    def test_takes_nulls_and_numbers_as_they_come(self) -> None:
        line: dict[str, Any] = {
            "word": 42,
            "lang_code": None,
            "pos": None,
            "etymology_number": "2",
            "etymology_text": None,
            "forms": None,
            "sounds": [None, {"ipa": None}, {"ipa": 7, "tags": None}],
            "hyphenation": ["for\u2027ty"],
            "senses": [None, {"glosses": None, "raw_glosses": ["A number."], "tags": [1, None], "examples": [{}]}],
            "translations": {"code": "de"},
            "synonyms": [{"word": None}, "forty-two"],
        }
        assert entry_of(wiktextract(line)) == DictionaryEntry(
            headword="42",
            homograph_number=2,
            hyphenation="for·ty",
            pronunciations=[Pronunciation(transcription="7")],
            senses=[Sense(labels=["1"], definitions=["A number."])],
        )

    def test_spells_parts_of_speech_out(self) -> None:
        names = ["name", "adj", "adv", "prep", "conj", "pron", "intj", "det", "num", "Proper Noun", "verb", "x_y"]
        found = wiktextract(*(COLOUR | {"pos": name} for name in names))
        assert [entry.part_of_speech for entry in entries_of(found)] == [
            *("proper_noun", "adjective", "adverb", "preposition", "conjunction", "pronoun", "interjection"),
            *("determiner", "numeral", "proper_noun", "verb", "x_y"),
        ]

    def test_cuts_texts_and_leaves_long_words_out(self) -> None:
        line = COLOUR | {
            "etymology_text": "e" * 6000,
            "etymology_number": 100,
            "pos": "p" * 50,
            "forms": [{"form": "f" * 201, "tags": ["plural"]}, *({"form": f"f{n}"} for n in range(300))],
            "senses": [
                {
                    "glosses": ["g" * 3000],
                    "tags": ["t" * 61, *(f"t{n}" for n in range(30))],
                    "examples": [{"text": "x" * 1001, "ref": "r" * 501, "english": "y" * 1001}] * 60,
                },
                *({"glosses": [f"g{n}"]} for n in range(200)),
            ],
            "translations": [
                {"code": "de", "word": "w" * 201},
                {"code": "de-" + "-".join(["variant"] * 5), "word": "w"},
                *({"code": "de", "word": f"w{n}"} for n in range(300)),
            ],
            "synonyms": [{"word": "s" * 201}, *({"word": f"s{n}"} for n in range(300))],
            "hypernyms": [],
            "sounds": [
                {"ipa": "i" * 201},
                {"mp3_url": "https://example.com/" + "a" * 2000},
                *({"ipa": f"i{n}", "tags": [f"t{m}" for m in range(20)]} for n in range(30)),
            ],
            "hyphenations": [{"parts": ["a"] * 200}],
        }
        entry = entry_of(wiktextract(line))
        assert violations(entry) == []
        assert entry.etymology == "e" * 4999 + "…"
        assert (entry.homograph_number, entry.part_of_speech) == (0, "p" * 40)
        assert [form.text for form in entry.forms] == [f"f{n}" for n in range(200)]
        assert [each.transcription for each in entry.pronunciations] == [f"i{n}" for n in range(20)]
        assert entry.hyphenation == ""
        assert len(entry.senses) == 100
        first = entry.senses[0]
        assert first.definitions == ["g" * 1999 + "…"]
        assert first.labels == [f"t{n}" for n in range(20)]
        cut = Example(text="x" * 999 + "…", source="r" * 499 + "…", translation="y" * 999 + "…")
        assert first.examples == [cut] * 50
        assert [each.text for each in first.translations] == [f"w{n}" for n in range(200)]
        assert [each.text for each in first.relations] == [f"s{n}" for n in range(100)]

    def test_tells_what_is_wrong_with_a_headword(self) -> None:
        found = wiktextract({"senses": [{"glosses": ["g"]}]}, COLOUR | {"word": "w" * 201}, COLOUR)
        assert [(each.place, each.headword, each.error) for each in found] == [
            (1, "", "word: must not be empty"),
            (2, "w" * 200, "word: must have at most 200 characters"),
            (3, "colour", ""),
        ]

    def test_leaves_out_what_cannot_be_stored(self) -> None:
        line = rb'{"word": "ca\ud800f\u0000\u00e9", "senses": [{"glosses": ["\udfffA place."]}]}'
        entry = entry_of(found_in(line))
        assert (entry.headword, list(entry.senses[0].definitions)) == ("café", ["A place."])

    @given(st.fixed_dictionaries({"word": st.just("word")}, optional=dict.fromkeys(KEYS_OF_LINES, any_json)))
    def test_makes_a_valid_entry_of_any_line(self, line: dict[str, Any]) -> None:
        (found,) = wiktextract(line)
        assert not found.error
        assert found.entry is None or violations(found.entry) == []


class Slow(io.BytesIO):
    """Gives a few bytes each time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(7, size) if size and size > 0 else 7)


class TestLines:
    """Of any form that has an object in each line."""

    def test_may_come_a_few_bytes_at_a_time(self) -> None:
        for content in (lines(COLOUR) * 100, b"headword,definition\n" + b"cat,A pet\ndog,A pet\n" * 50):
            expected = found_in(content)
            assert len(expected) == 100
            assert list(entries_in(Slow(content), DICTIONARY_FORMAT_UNSPECIFIED, "en")) == expected

    def test_that_are_broken_stop_nothing_else(self) -> None:
        cat = b'{"headword": "cat"}'
        content = b"\n".join(
            [
                cat,
                b'{"headword": "\xff"}',
                b'{"headword": "dog",,}',
                b'["headword"]',
                b" ",
                b'{"headword": "' + b"x" * MEGABYTE + b'"}',
                b'{"headword": ' + b"[" * 200_000,
                b'{"homographNumber": ' + b"9" * 5000 + b"}",
                b"{}",
                b'{"headword": "' + b"x" * 201 + b'"}',
                cat + b"\r",
                cat,
            ]
        )
        found = found_in(content)
        assert [(each.place, each.error) for each in found] == [
            (1, ""),
            (2, "the line must be UTF-8"),
            (3, "the line must be JSON: Expecting property name enclosed in double quotes at character 20"),
            (4, "the line must be a JSON object"),
            (6, "the line must have at most 1,048,576 bytes"),
            (7, "the line must be JSON without huge numbers and without hundreds of levels"),
            (8, "the line must be JSON without huge numbers and without hundreds of levels"),
            (9, "headword: must not be empty"),
            (10, "headword: must have at most 200 characters"),
            (11, ""),
            (12, ""),
        ]
        assert [each.headword for each in found if each.entry] == ["cat"] * 3

    def test_may_have_just_1_mb(self) -> None:
        frame = lines({"headword": "cat", "x": ""})
        content = frame.replace(b'"x": ""', b'"x": "' + b"x" * (MEGABYTE - len(frame)) + b'"')
        assert len(content) == MEGABYTE
        assert [each.error for each in found_in(content + frame)] == ["", ""]


PETS_WRITTEN = {
    "title": "Pets",
    "uri": "https://example.com",
    "langCode": "en-GB",
    "entries": [
        {
            **CAT,
            "id": THIRD_ID,
            "pronunciations": [
                {
                    "soundFile": "https://example.com/cat.mp3",
                    "transcriptions": [{"text": "kæt", "scheme": "ipa"}],
                    "labels": ["UK"],
                },
                {"transcriptions": [{"text": "kat", "scheme": "respelling"}], "labels": ["UK"]},
            ],
            "inflectedForms": [{"text": "cats", "tag": "pl", "labels": ["rare"]}],
            "senses": [
                {
                    **CAT["senses"][0],
                    "id": SOME_ID,
                    "definitions": [{"text": "a small pet"}],
                    "examples": [
                        {
                            "text": "The cat sleeps.",
                            "sourceElaboration": "corpus, p. 3",
                            "exampleTranslations": [{"langCode": "und", "text": "Kočka spí."}],
                        }
                    ],
                    "headwordTranslations": [{"langCode": "cs", "text": "kočka"}],
                    "x-plinth": {
                        "relations": [
                            {"type": "holonym", "entryId": OTHER_ID},
                            {"type": "synonym", "entryId": THIRD_ID, "senseId": OTHER_ID},
                            {"type": "antonym", "text": "dog"},
                        ]
                    },
                }
            ],
            "x-plinth": {"frequency": 1.5},
        },
        {"headword": "bird"},
    ],
    "translationLanguages": ["cs", "und"],
    "relations": [
        {"type": "meronymy", "members": [{"ref": SOME_ID, "role": "part"}, {"ref": OTHER_ID, "role": "whole"}]},
        {"type": "synonyms", "members": [{"ref": SOME_ID}, {"ref": OTHER_ID}]},
    ],
}
"""A cat with relations, and a bird, as DMLex writes them."""


class TestDmlex:
    def test_reads_an_object_with_entries(self) -> None:
        resource = {
            "title": "Pets",
            "uri": "https://example.com",
            "langCode": "en",
            "translationLanguages": ["cs"],
            "entries": [CAT, {"headword": "dog", "partsOfSpeech": ["Proper noun", "verb"]}],
            "relations": [{"type": "synonyms", "members": [{"ref": "cat-n-1"}, {"ref": "dog"}]}],
        }
        expected = [CAT_READ, DictionaryEntry(headword="dog", part_of_speech="proper_noun")]
        for indent in (None, 2):
            found = found_in(json.dumps(resource, indent=indent).encode())
            assert [each.place for each in found] == [1, 2]
            assert entries_of(found) == expected

    def test_reads_a_line_for_each_entry(self) -> None:
        assert entry_of(found_in(lines(CAT))) == CAT_READ

    def test_knows_the_language_of_translations_if_there_is_only_one(self) -> None:
        entries = [{"headword": "See", "senses": [{"headwordTranslations": [{"text": "sea"}]}]}]
        for languages, language in ((["en"], "en"), (["en", "cs"], "")):
            content = lines({"langCode": "de", "translationLanguages": languages, "entries": entries})
            (translation,) = entry_of(found_in(content)).senses[0].translations
            assert translation == Translation(language=language, text="sea")

    def test_keeps_ids_of_senses_that_are_uuids(self) -> None:
        senses = [{"id": SOME_ID}, {"id": "cat-1"}, {"id": f"{{{SOME_ID}}}"}]
        entry = entry_of(dmlex({"id": OTHER_ID, "headword": "cat", "senses": senses}))
        assert entry.id == ""
        assert [sense.id for sense in entry.senses] == [SOME_ID, "", ""]

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"headword": None}, "headword: must not be empty"),
            ({"headword": 5}, "headword: must be a text"),
            ({"headword": "w" * 201}, "headword: must have at most 200 characters"),
            ({"homographNumber": "first"}, "homographNumber: must be a whole number"),
            ({"homographNumber": True}, "homographNumber: must be a whole number"),
            ({"labels": "informal"}, "labels: must be a list"),
            ({"labels": ["a", {}]}, "labels[1]: must be a text"),
            ({"senses": [{}, "meaning"]}, "senses[1]: must be a JSON object"),
            ({"senses": [{"definitions": [{"text": "a\0b"}]}]}, "senses[0].definitions[0].text: must not have a NUL"),
            ({"x-plinth": {"frequency": "often"}}, "x-plinth.frequency: must be a number of at most 999,999,999"),
            (
                {"senses": [{"x-plinth": {"relations": [{"type": "friend"}]}}]},
                f"senses[0].x-plinth.relations[0].type: must be one of {', '.join(RELATIONS)}",
            ),
        ],
    )
    def test_names_the_field_that_is_wrong(self, fields: dict[str, Any], error: str) -> None:
        wrong, right = dmlex({"headword": "cat"} | fields, {"headword": "dog"})
        assert (wrong.place, wrong.entry, wrong.error) == (1, None, error)
        assert right.entry is not None

    def test_refuses_halves_of_surrogate_pairs(self) -> None:
        (found,) = found_in(rb'{"headword": "\ud800"}', DICTIONARY_FORMAT_DMLEX)
        assert found.error == "headword: must be valid Unicode, without halves of surrogate pairs"

    def test_refuses_entries_that_are_too_large_or_no_objects(self) -> None:
        many = [{"text": "x" * 1000}] * 1100
        found = dmlex({"headword": "cat", "senses": [{"definitions": many}]}, 5, {"headword": "dog"})
        assert [(each.place, each.error) for each in found] == [
            (1, "the entry must have at most 1,048,576 bytes"),
            (2, "the entry: must be a JSON object"),
            (3, ""),
        ]

    @pytest.mark.parametrize(
        "rest",
        [
            b"",
            b', {"headword": "do',
            b"}",
            b', {"headword": oops}]}',
            b', {"headword": "\xff"}]}',
            b', {"headword": "dog", "homographNumber": ' + b"9" * 5000 + b"}]}",
            b', {"headword": "' + b"x" * (2 * MEGABYTE) + b'"}]}',
            b"]} and more",
            b'], "entries": {"headword": "dog"}}',
        ],
    )
    def test_gives_what_is_before_the_place_where_an_object_breaks(self, rest: bytes) -> None:
        found = entries_in(io.BytesIO(b'{"entries": [{"headword": "cat"}' + rest), DICTIONARY_FORMAT_UNSPECIFIED, "en")
        assert next(found).headword == "cat"
        with pytest.raises(Unreadable, match="after entry 1: "):
            next(found)

    def test_passes_over_what_is_deep_or_long_beside_the_entries(self) -> None:
        deep = b"[" * 100_000 + b"]" * 100_000
        content = b'{"langCode": "en", "x": ' + deep + b', "y": [' + b'"yyyyyyy",' * 200_000 + b'""], "entries": [{}]}'
        assert [each.error for each in found_in(content)] == ["headword: must not be empty"]

    def test_writes_what_the_specification_has_places_for_there(self) -> None:
        entry = DictionaryEntry()
        entry.CopyFrom(CAT_READ)
        entry.id, entry.frequency, entry.senses[0].id = THIRD_ID, 1.5, SOME_ID
        entry.senses[0].relations.extend(
            [
                Relation(type=Relation.TYPE_HOLONYM, related_entry_id=OTHER_ID),
                Relation(type=Relation.TYPE_SYNONYM, related_entry_id=THIRD_ID, related_sense_id=OTHER_ID),
                Relation(type=Relation.TYPE_ANTONYM, text="dog"),
            ]
        )
        bird = DictionaryEntry(headword="bird")
        written = json.loads(b"".join(write_dmlex("Pets", "en-GB", "https://example.com", [entry, bird])))
        assert written == PETS_WRITTEN

    def test_writes_an_object_without_entries(self) -> None:
        content = b"".join(write_dmlex("", "en", "", []))
        assert json.loads(content) == {"langCode": "en", "entries": []}
        assert found_in(content) == []

    def test_writes_neither_relations_of_senses_without_ids_nor_languages_that_nothing_is_in(self) -> None:
        relation = Relation(type=Relation.TYPE_SYNONYM, related_entry_id=OTHER_ID)
        entry = DictionaryEntry(headword="cat", senses=[Sense(examples=[Example(text="A cat!")], relations=[relation])])
        written = json.loads(b"".join(write_dmlex("Pets", "en", "", [entry])))
        assert set(written) == {"title", "langCode", "entries"}

    def test_writes_while_entries_come(self) -> None:
        pieces = write_dmlex("All", "en", "", itertools.repeat(DictionaryEntry(headword="cat")))
        assert len(list(itertools.islice(pieces, 1000))) == 1000


RUN_READ = [
    DictionaryEntry(
        headword="run",
        part_of_speech="verb",
        homograph_number=1,
        labels=["informal", "UK"],
        pronunciations=[Pronunciation(transcription="rʌn")],
        forms=[InflectedForm(text="ran"), InflectedForm(text="running")],
        etymology="From\nOld English",
        frequency=12.5,
        source="A book",
        licence="CC0-1.0",
        senses=[
            Sense(
                definitions=['To move, "fast"', "To hurry"],
                examples=[Example(text="Run!|Stop!")],
                translations=[
                    Translation(language="de", text="laufen"),
                    Translation(language="de", text="rennen"),
                    Translation(language="pt-BR", text="correr"),
                ],
            ),
            Sense(definitions=["To manage"], translations=[Translation(language="de", text="leiten")]),
        ],
    ),
    DictionaryEntry(
        headword="run",
        part_of_speech="noun",
        senses=[
            Sense(
                definitions=["A race"],
                translations=[
                    Translation(language="de", text="Lauf"),
                    Translation(language="pt-BR", text="corrida"),
                ],
            )
        ],
    ),
]
"""What the table of the next test says."""


class TestCsv:
    def test_reads_quotes_pipes_and_languages(self) -> None:
        found = table(
            "headword,part_of_speech,homograph_number,labels,pronunciation,forms,definition,example,frequency,"
            "etymology,source,licence,translation_de,translation_pt-BR\r\n"
            'run,verb,1,informal|UK,rʌn,ran|running,"To move, ""fast""|To hurry",Run!\\|Stop!,12.5,"From\nOld English",'
            "A book,CC0-1.0,laufen|rennen,correr\r\n"
            "run,verb,1,,,,To manage,,,,,,leiten,\r\n"
            "run,noun,,,,,A race,,,,,,Lauf,corrida\r\n"
        )
        assert [each.place for each in found] == [2, 5]
        assert entries_of(found) == RUN_READ

    def test_reads_files_of_spreadsheets(self) -> None:
        found = found_in(b"\xef\xbb\xbfheadword, definition \r\n cat ,A pet\r\n,\r\n\r\ndog\r\n")
        assert [(each.place, each.headword) for each in found] == [(2, "cat"), (5, "dog")]
        assert [list(sense.definitions) for entry in entries_of(found) for sense in entry.senses] == [["A pet"]]

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("", "no header"),
            ("definition,labels", "no column `headword`"),
            (
                "headword,defintion,translation_,translation_x y",
                "columns: `defintion`, `translation_`, `translation_x y`",
            ),
            ("headword,", "unknown columns: ``"),
            ("headword,labels,labels", "columns twice: `labels`"),
            ('"headword', "header cannot be read"),
        ],
    )
    def test_refuses_headers_that_would_lose_something(self, header: str, message: str) -> None:
        with pytest.raises(Unreadable, match=message):
            table(f"{header}\ncat,a,b,c\n" if header else "")

    def test_tells_rows_that_are_wrong(self) -> None:
        content = (
            b"headword,homograph_number,frequency,definition\n"
            b",1,2,A thing\n"
            b"cat,first,2,A pet\n"
            b"cat,-1,2,A pet\n"
            b"cat,1,often,A pet\n"
            b"cat,1,nan,A pet\n"
            b"cat,1,2,A pet,of mine\n"
            b"cat,1,2,\xff\n"
            b"cat,1,2,A\0pet\n" + b"w" * 201 + b",1,2,A word\n" + b"x" * MEGABYTE + b"\n"
            b"dog,1,2,A pet\n"
        )
        found = found_in(content)
        assert [(each.place, each.headword[:3], each.error) for each in found] == [
            (2, "", "headword: must not be empty"),
            (3, "cat", "homograph_number: must be a whole number"),
            (4, "cat", "homograph_number: must be a whole number"),
            (5, "cat", "frequency: must be a number, such as 12.5"),
            (6, "cat", "frequency: must be a number, such as 12.5"),
            (7, "cat", "the row must have at most 4 fields, as the header has"),
            (8, "", "the line must be UTF-8"),
            (9, "", "the row must not have a NUL"),
            (10, "www", "headword: must have at most 200 characters"),
            (11, "", "the line must have at most 1,048,576 bytes"),
            (12, "dog", ""),
        ]

    @pytest.mark.parametrize(
        "broken",
        ['cat,"A pet\n', 'cat,"A pet" of mine\n', 'cat,"A\nlong\npet\n', "cat,A\rpet\n"],
    )
    @pytest.mark.parametrize("rest", ["dog,A pet\n", 'dog,"A ""pet"""\n' * 2, f"dog,{'x' * 1000}\n" * 1100])
    def test_loses_no_row_to_a_quotation_mark_that_is_not_closed(self, broken: str, rest: str) -> None:
        found = table(f"headword,definition\n{broken}{rest}")
        assert (found[0].place, found[0].entry) == (2, None)
        assert found[0].error.startswith("the row must be CSV: ")
        dogs = [each.entry for each in found if each.headword == "dog" and each.entry]
        assert sum(len(dog.senses) for dog in dogs) == rest.count("dog")
        places = [each.place for each in found]
        assert places == sorted(places)

    def test_bounds_rows_of_many_lines(self) -> None:
        found = table("headword,definition\n" + 'cat,"' + f'{"x" * 1000}\n","' * 1100 + '"\ndog,A pet\n')
        assert "more than 1,048,576 characters" in found[0].error
        assert found[-1].headword == "dog"

    def test_puts_rows_of_an_entry_together_around_one_that_is_wrong(self) -> None:
        found = table(
            "headword,frequency,labels,etymology,definition\n"
            "cat,2,informal,,A pet\n"
            "cat,many,,,A second one\n"
            "cat,3,,,A third one\n"
            "cat,,UK|informal,From Latin,A fourth one\n"
            "dog,,,,Another pet\n"
            "cat,,,,Not consecutive\n"
        )
        assert [(each.place, each.headword, each.error) for each in found] == [
            (2, "cat", ""),
            (3, "cat", "frequency: must be a number, such as 12.5"),
            (4, "cat", "frequency: must be empty or the same as in line 2, of the same entry"),
            (6, "dog", ""),
            (7, "cat", ""),
        ]
        cat = entry_of(found[:1])
        assert (cat.frequency, cat.etymology, list(cat.labels)) == (2, "From Latin", ["informal", "UK"])
        assert [sense.definitions[0] for sense in cat.senses] == ["A pet", "A fourth one"]

    def test_bounds_what_one_entry_may_hold(self) -> None:
        long = "x" * 100_000
        found = table("headword,definition\n" + f"cat,{long}\n" * 50 + "dog,A pet\n")
        assert [each.headword for each in found if each.entry] == ["cat", "dog"]
        assert len(entry_of(found[:1]).senses) == 41
        assert {each.error for each in found[1:-1]} == {
            "the rows of an entry must have at most 4,194,304 bytes together"
        }

    def test_holds_a_bounded_number_of_errors_back(self) -> None:
        rows = [
            "headword,homograph_number,definition",
            "cat,1,A pet",
            *["cat,x,A pet"] * 3000,
            "cat,1,Too late",
            "dog,1,",
        ]
        found = entries_in(io.BytesIO("\n".join(rows).encode()), DICTIONARY_FORMAT_CSV, "en")
        taken = list(found)
        assert [each.place for each in taken] == [*range(2, 3005)]
        assert [each.headword for each in taken if each.entry] == ["cat", "dog"]
        assert taken[-2].error.startswith("too many rows in error")

    def test_writes_a_row_for_each_sense(self) -> None:
        entry = DictionaryEntry(
            headword="=ness",
            part_of_speech="suffix",
            labels=["@x|y", "-z"],
            forms=[InflectedForm(text="\\"), InflectedForm(text="\\|")],
            senses=[
                Sense(definitions=["+ quality"], translations=[Translation(language="de", text="-heit")]),
                Sense(definitions=['A "state"', "b"], translations=[Translation(language="fr", text="-té")]),
            ],
        )
        content = b"".join(write_csv([entry, DictionaryEntry(headword="cat", frequency=2)], ["de"]))
        assert content.decode() == (
            "headword,part_of_speech,homograph_number,labels,pronunciation,forms,definition,example,frequency,"
            "etymology,source,licence,translation_de\r\n"
            "=ness,suffix,,@x\\|y|-z,,\\\\|\\\\\\|,+ quality,,,,,,-heit\r\n"
            '=ness,suffix,,,,,"A ""state""|b",,,,,,\r\n'
            "cat,,,,,,,,2.0,,,,\r\n"
        )

    def test_writes_while_entries_come(self) -> None:
        pieces = write_csv(itertools.repeat(DictionaryEntry(headword="cat")), [])
        assert len(list(itertools.islice(pieces, 1000))) == 1000


LANGUAGES = ("de", "pt-BR", "zh-Hant")
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from('|\\",\n\r ')
optional_texts = st.text(characters, max_size=8)
texts = st.text(characters, min_size=1, max_size=8)
labels = st.lists(texts, max_size=2, unique=True)
headwords = st.from_regex(r"\A[^\x00\t\n\f\r ]([^\x00\n]{0,6}[^\x00\t\n\f\r ])?\Z")
ids = st.uuids().map(str)


def messages(kind: Callable[..., Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **fields)


pronunciations = messages(
    Pronunciation,
    transcription=optional_texts,
    scheme=optional_texts,
    audio_url=st.sampled_from(["", "https://example.com/a.mp3", "http://x/\u00a0"]),
    labels=labels,
)
relations = messages(
    Relation,
    type=st.sampled_from([number for number in Relation.Type.values() if number]),
    related_entry_id=st.just("") | ids,
    related_sense_id=st.just("") | ids,
    text=optional_texts,
)
senses = messages(
    Sense,
    id=st.just("") | ids,
    indicator=optional_texts,
    labels=labels,
    definitions=st.lists(texts, max_size=3),
    examples=st.lists(messages(Example, text=texts, source=optional_texts, translation=optional_texts), max_size=2),
    translations=st.lists(messages(Translation, language=st.sampled_from(LANGUAGES), text=texts), max_size=3),
    relations=st.lists(relations, max_size=2),
)
entries = messages(
    DictionaryEntry,
    headword=headwords,
    part_of_speech=st.from_regex(r"\A[a-z0-9_-]{0,8}\Z"),
    homograph_number=st.integers(0, 99),
    labels=labels,
    pronunciations=st.lists(pronunciations, max_size=2),
    forms=st.lists(messages(InflectedForm, text=texts, tag=optional_texts, labels=labels), max_size=3),
    senses=st.lists(senses, max_size=3),
    etymology=optional_texts,
    hyphenation=optional_texts,
    frequency=st.floats(0, 1_000_000),
    source=optional_texts,
    licence=optional_texts,
)


def key_of(entry: DictionaryEntry) -> tuple[str, str, int]:
    return entry.headword, entry.part_of_speech, entry.homograph_number


def in_csv(entry: DictionaryEntry) -> DictionaryEntry:
    """What a CSV file carries of an entry."""
    whole = [
        Sense(
            definitions=sense.definitions,
            examples=[Example(text=each.text) for each in sense.examples],
            translations=[each for language in LANGUAGES for each in sense.translations if each.language == language],
        )
        for sense in entry.senses
    ]
    spoken = [each.transcription for each in entry.pronunciations if each.transcription]
    return DictionaryEntry(
        headword=entry.headword,
        part_of_speech=entry.part_of_speech,
        homograph_number=entry.homograph_number,
        labels=entry.labels,
        pronunciations=[Pronunciation(transcription=each) for each in spoken],
        forms=[InflectedForm(text=form.text) for form in entry.forms],
        senses=[sense for sense in whole if sense.ByteSize()],
        etymology=entry.etymology,
        frequency=entry.frequency,
        source=entry.source,
        licence=entry.licence,
    )


class TestRoundTrips:
    @given(st.lists(entries, max_size=3), optional_texts)
    def test_through_dmlex_loses_nothing(self, written: list[DictionaryEntry], title: str) -> None:
        assert not any(violations(entry) for entry in written)
        content = b"".join(write_dmlex(title, "en", "https://example.com", written))
        assert entries_of(found_in(content)) == written

    @given(st.lists(entries, min_size=1, max_size=3))
    def test_through_lines_of_dmlex_loses_nothing(self, written: list[DictionaryEntry]) -> None:
        resource = json.loads(b"".join(write_dmlex("", "en", "", written)))
        assert entries_of(found_in(lines(*resource["entries"]), DICTIONARY_FORMAT_DMLEX)) == written

    @given(st.lists(entries, max_size=3, unique_by=key_of))
    def test_through_csv_loses_only_what_it_has_no_columns_for(self, written: list[DictionaryEntry]) -> None:
        content = b"".join(write_csv(written, LANGUAGES))
        assert entries_of(found_in(content)) == [in_csv(entry) for entry in written]

    @given(st.lists(entries, max_size=2, unique_by=key_of))
    def test_other_programs_read_the_same_rows(self, written: list[DictionaryEntry]) -> None:
        content = b"".join(write_csv(written, LANGUAGES)).decode()
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
        assert [row["headword"] for row in rows] == [
            entry.headword for entry in written for _ in range(max(1, len(entry.senses)))
        ]


def large_file(path: Path, first: bytes, middle: bytes, last: bytes) -> int:
    """Write a file of 50 MB. Returns how often `middle` is in it."""
    count = 50 * MEGABYTE // len(middle)
    with path.open("wb") as file:
        file.write(first)
        file.writelines(itertools.repeat(middle, count))
        file.write(last)
    return count


def peak_of(found: Iterator[Found]) -> tuple[int, int]:
    """How many entries there are, and how many bytes reading them takes at most."""
    tracemalloc.start()
    try:
        return sum(each.entry is not None for each in found), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["wiktextract", "dmlex", "csv"])
def test_a_large_file_takes_little_memory(form: str, tmp_path: Path) -> None:
    long = "x" * 50_000
    first, middle, last = {
        "wiktextract": (b"", lines({"word": "cat", "senses": [{"glosses": ["A pet"]}], "unused": long}), b""),
        "dmlex": (b'{"entries": [', lines({"headword": "cat", "unused": long})[:-1] + b",\n", b'{"headword": "cat"}]}'),
        "csv": (b"headword,etymology\n", f"cat,{long}\ndog,{long}\n".encode(), b""),
    }[form]
    count = large_file(tmp_path / form, first, middle, last)
    with (tmp_path / form).open("rb") as file:
        entries_found, peak = peak_of(entries_in(file, DICTIONARY_FORMAT_UNSPECIFIED, "en"))
    assert entries_found == {"wiktextract": count, "dmlex": count + 1, "csv": 2 * count}[form]
    assert peak < 20_000_000
