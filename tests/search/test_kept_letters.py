"""Letters that a language takes for letters of their own: they stay, and everything else is folded as ever."""
# ruff: noqa: RUF001 - letters that look like others are what this is about

from unicodedata import normalize

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from server.kernel.problems import RuleViolated
from server.kernel.search.folding import expanded, fold, fold_keeping
from server.kernel.search.words import LONGEST_WORD, asked_words, whole_spellings, words_of

SWEDISH, NORDIC, TURKISH, SPANISH, ICELANDIC = "åäö", "æøå", "çğıöşü", "ñ", "ðþæö"
KEPT = st.sampled_from([SWEDISH, NORDIC, TURKISH, SPANISH, ICELANDIC])
UNDOTTED = st.sampled_from([SWEDISH, NORDIC, SPANISH, ICELANDIC])
"""Those of languages in which `I` is a large `i`."""
NEAR = "åäöæøñßçğıİiIÅÄÖØÆÑÇĞŞşüÜšŠõðÐþÞéá\u0301\u0308\u030a\u0307 -'日本"
"""Letters that some languages keep, in both cases, with marks that make them of others, and what parts words."""
TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from(NEAR))


def small(text: str) -> str:
    """A text composed and in small letters."""
    return normalize("NFC", normalize("NFKC", text).lower())


def has_kept(text: str, kept: str) -> bool:
    """Whether a letter of a text is kept."""
    is_dotless = "ı" in kept and "I" in normalize("NFKC", text)
    return is_dotless or any(letter in kept for letter in small(text))


@pytest.mark.parametrize(
    ("text", "kept", "folded"),
    [
        ("ÅR", SWEDISH, "år"),
        ("Cafe\u0301 A\u030angstro\u0308m", SWEDISH, "cafe ångström"),
        ("Ｓｍö", SWEDISH, "smö"),
        ("Zürich", SWEDISH, "zurich"),
        ("Æblegrød", NORDIC, "æblegrød"),
        ("Ärger", NORDIC, "arger"),
        ("ISI ısı İnce ince", TURKISH, "ısı ısı ince ince"),
        ("I\u0307nce", TURKISH, "ince"),
        ("ISI İnce", SWEDISH, "isi ince"),
        ("Año de El Niño", SPANISH, "año de el niño"),
        ("ÞAÐ", ICELANDIC, "það"),
        ("Straße", SWEDISH, "strasse"),
        ("Zürich ñ", "", "zurich n"),
    ],
)
def test_letters_of_a_language_stay(text: str, kept: str, folded: str) -> None:
    assert fold_keeping(text, kept) == folded


# `ǿ` is one code point, which is none of the letters. Danish marks a stressed `ø` so.
@pytest.mark.parametrize(("text", "kept", "folded"), [("gǿr", NORDIC, "gør"), ("ǻ", NORDIC, "å"), ("ǽ", NORDIC, "æ")])
def test_letters_of_a_language_stay_with_a_further_mark(text: str, kept: str, folded: str) -> None:
    assert fold_keeping(text, kept) == folded


@given(TEXTS, KEPT)
def test_folding_again_changes_nothing(text: str, kept: str) -> None:
    once = fold_keeping(text, kept)
    assert fold_keeping(once, kept) == once


@given(TEXTS)
def test_without_letters_to_keep_it_is_the_fold(text: str) -> None:
    assert fold_keeping(text, "") == fold(text)


@given(TEXTS, KEPT)
@example("Ä", NORDIC)
@example("ß", SWEDISH)
def test_a_text_without_such_letters_is_folded_as_ever(text: str, kept: str) -> None:
    assume(not has_kept(text, kept))
    assert fold_keeping(text, kept) == fold(text)


@given(TEXTS, KEPT)
def test_what_is_the_same_with_such_letters_is_the_same_without(text: str, kept: str) -> None:
    """Keeping tells more apart, and nothing less."""
    assert fold(fold_keeping(text, kept)) == fold(text)


@given(st.data(), KEPT)
def test_each_of_them_stays_in_its_place(data: st.DataObject, kept: str) -> None:
    text = data.draw(st.text(st.sampled_from(kept + "abcxyz"), min_size=1))
    assert fold_keeping(text, kept) == text
    large = "".join({"i": "İ", "ı": "I"}.get(letter, letter.upper()) for letter in text)
    assert fold_keeping(large, kept) == fold_keeping(normalize("NFD", text), kept) == text


@given(TEXTS, KEPT)
def test_nothing_else_becomes_one_of_them(text: str, kept: str) -> None:
    folded = fold_keeping(text, kept)
    undotted = normalize("NFKC", text).count("I")
    for letter in kept:
        assert folded.count(letter) <= small(text).count(letter) + undotted * (letter == "ı")


@given(TEXTS, UNDOTTED)
def test_case_and_composition_do_not_matter(text: str, kept: str) -> None:
    folded = fold_keeping(text, kept)
    assert folded == fold_keeping(text.lower(), kept) == fold_keeping(normalize("NFD", text), kept)


# Words and whole texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept", "words"),
    [
        ("Året runt, på svenska", SWEDISH, ["året", "runt", "på", "svenska"]),
        # With two letters for an umlaut only where the umlaut is no letter of its own.
        ("Übermut", "", ["ubermut", "uebermut"]),
        ("Übermut", SWEDISH, ["ubermut"]),
        ("ISI", TURKISH, ["ısı"]),
        ("isi", TURKISH, ["isi"]),
        ("ASCII words", SWEDISH, ["ascii", "words"]),
        ("日本 på", SWEDISH, ["日", "本", "日本", "på"]),
        ("å" * 500, SWEDISH, ["å" * LONGEST_WORD]),
    ],
)
def test_the_words_of_a_text(text: str, kept: str, words: list[str]) -> None:
    assert list(words_of(text, kept)) == words


@given(TEXTS, KEPT)
def test_each_text_finds_itself(text: str, kept: str) -> None:
    words = set(words_of(text, kept))
    try:
        query = asked_words(text, kept)
    except RuleViolated:
        return
    assert bool(query) == bool(words)
    assert all(set(word.spellings) <= words for word in query)


@given(TEXTS, KEPT)
def test_a_word_that_is_asked_for_has_one_spelling(text: str, kept: str) -> None:
    try:
        query = asked_words(text, kept)
    except RuleViolated:
        return
    assert all(len(word.spellings) == 1 for word in query)


@given(TEXTS, KEPT)
def test_a_text_without_such_letters_has_no_other_words(text: str, kept: str) -> None:
    assume(not has_kept(text, kept))
    assert set(words_of(text, kept)) <= set(words_of(text))


@pytest.mark.parametrize(
    ("text", "kept", "spellings"),
    [
        ("Ice-cream!", "", ("ice cream",)),
        ("  ice   CREAM ", "", ("ice cream",)),
        ("Zürich", "", ("zurich", "zuerich")),
        # In all words or in none of them.
        ("Grüße aus Zürich", "", ("grusse aus zurich", "gruesse aus zuerich")),
        ("Smörgås bord", SWEDISH, ("smörgås bord",)),
        ("ISI", TURKISH, ("ısı",)),
        ("don't", "", ("don t",)),
        ("日本語", "", ("日本語",)),
        ("?!", "", ()),
        ("", SWEDISH, ()),
    ],
)
def test_a_whole_text_as_it_is_compared(text: str, kept: str, spellings: tuple[str, ...]) -> None:
    assert whole_spellings(text, kept) == spellings


@given(TEXTS, KEPT | st.just(""))
def test_a_whole_text_is_compared_as_its_spellings_are(text: str, kept: str) -> None:
    found = whole_spellings(text, kept)
    assert len(found) <= (1 if kept else 2)
    for spelling in found:
        assert whole_spellings(spelling, kept)[:1] == (spelling,)
        assert spelling == " ".join(spelling.split())


@given(st.lists(st.text(st.sampled_from("abcåäöüé"), min_size=1, max_size=LONGEST_WORD // 2), max_size=4), KEPT)
def test_a_whole_text_is_its_words_with_spaces(words: list[str], kept: str) -> None:
    text = " - ".join(words)
    assert " ".join(whole_spellings(text, kept)) == " ".join(words_of(text, kept))
    assert " ".join(whole_spellings(text)[:1]) == fold(" ".join(words))
    assert " ".join(whole_spellings(text)[-1:]) == expanded(" ".join(words))
