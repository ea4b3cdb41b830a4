"""Words: what a text is found by, what a query asks for, ranges of beginnings, and keys of typos."""
# ruff: noqa: RUF001 - letters that look like others are what this is about

import sys

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from server.kernel.problems import RuleViolated
from server.kernel.search.words import (
    BEYOND_ALL,
    LONGEST_WORD,
    MOST_ASKED,
    Word,
    asked_words,
    beginning_end,
    forgives,
    typo_keys,
    words_of,
)

LAST = chr(sys.maxunicode)
ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
EDGES = st.sampled_from(["a", "z", "é", "\ud7ff", "\ue000", "\uffff", "\U00010000", LAST])
AWKWARD = st.lists(EDGES, max_size=5).map("".join)
TEXTS = ANY | AWKWARD
LETTERS = st.text("abcd", min_size=1, max_size=9)


def asked(text: str) -> list[tuple[tuple[str, ...], bool]]:
    return [(word.spellings, word.begins) for word in asked_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world! Hello_again", ["hello", "world", "hello", "again"]),
        ("Zürich", ["zurich", "zuerich"]),
        ("l'Été 2026/27", ["l", "ete", "2026", "27"]),
        ("½ -- _ ´", ["1", "2"]),
        ("دليل مكة", ["دليل", "مكه"]),
        ("हिन्दी", ["हिन्दी"]),
        ("한국어 페이지", ["한국어", "페이지"]),
        ("日本語ABC", ["日", "本", "語", "日本", "本語", "abc"]),
        ("京", ["京"]),
        ("x" * 500, ["x" * LONGEST_WORD]),
        ("\u0301\u0301 \u0903", []),
        ("", []),
    ],
)
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    assert list(words_of(text)) == words


@given(st.text(st.characters(codec="ascii")))
def test_plain_texts_have_the_same_words_among_others(text: str) -> None:
    """They take a shorter way, unless a letter stands beside them that needs the longer one."""
    assert list(words_of(f"{text} ß")) == [*words_of(text), "ss"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Zürich Guide", [(("zurich", "zuerich"), False), (("guide",), True)]),
        ("guide", [(("guide",), True)]),
        ("home home", [(("home",), False), (("home",), True)]),
        ("日本語", [(("日本",), False), (("本語",), False)]),
        ("京", [(("京",), False)]),
        ("ABC 日本", [(("abc",), False), (("日本",), False)]),
        ("?!", []),
    ],
)
def test_the_words_of_a_query(text: str, words: list[tuple[tuple[str, ...], bool]]) -> None:
    assert asked(text) == words


def test_a_query_of_too_many_words_is_refused() -> None:
    many = [f"w{number}" for number in range(MOST_ASKED + 1)]
    assert len(asked_words(" ".join(many[1:]))) == MOST_ASKED
    with pytest.raises(RuleViolated, match=r"q: has more than 10 words\."):
        asked_words(" ".join(many))


@given(st.text())
def test_any_text_has_words_that_can_be_stored_and_asked_for(text: str) -> None:
    """Every word of a query is one of the text's words, so that each text finds itself."""
    assume(len(text) < 50)
    words = set(words_of(text))
    assert all(0 < len(word) <= LONGEST_WORD and "\0" not in word and word.encode() for word in words)
    try:
        query = asked_words(text)
    except RuleViolated:
        return
    assert all(set(word.spellings) <= words for word in query)
    assert bool(query) == bool(words)


# Ranges of beginnings, as PostgreSQL collates "C": by the bytes of UTF-8, which is by code point ----------------------


@given(TEXTS, TEXTS)
@example("", "a")
@example(LAST, LAST)
@example("a" + LAST, "a" + LAST + "z")
@example("\ud7ff", "\ue000")
def test_a_range_has_what_begins_with_its_beginning_and_nothing_else(beginning: str, text: str) -> None:
    assume(beginning)
    end = beginning_end(beginning).encode()
    assert beginning.encode() <= (beginning + text).encode() < end
    if not text.startswith(beginning):
        assert not beginning.encode() <= text.encode() < end


def test_there_is_nothing_beyond_the_last_beginnings() -> None:
    assert beginning_end(LAST) == beginning_end(LAST * 3) == BEYOND_ALL
    assert beginning_end("a" + LAST) == "b"
    assert beginning_end("\ud7ff") == "\ue000"


def test_only_unfinished_words_have_ranges() -> None:
    assert Word(("zur",), begins=True).ranges == [("zur", "zus")]
    assert Word(("zur",), begins=False).ranges == []


# Typos ---------------------------------------------------------------------------------------------------------------


def one_letter_apart(one: str, other: str) -> bool:
    """Whether a letter is missing, added, replaced or in another place: by trying all."""
    shorter = {one[:place] + one[place + 1 :] for place in range(len(one))} | {one}
    return any(rest == other for rest in shorter) or any(
        rest[:place] + letter + rest[place:] == other
        for rest in shorter
        for place in range(len(rest) + 1)
        for letter in set(other)
    )


@given(LETTERS, LETTERS)
@example("abcd", "bcda")
@example("abcd", "abdc")
@example("abcd", "abxd")
def test_words_have_a_key_in_common_if_they_are_one_letter_apart(one: str, other: str) -> None:
    assert bool(set(typo_keys(one)) & set(typo_keys(other))) is one_letter_apart(one, other)


def test_typos_are_forgiven_in_long_words_without_digits() -> None:
    assert [forgives(word) for word in ("hous", "house", "a2345")] == [False, True, False]
    assert Word(("hous",), begins=True).typo_keys == []
    assert "zurch" in Word(("zurich", "zuerich"), begins=True).typo_keys
