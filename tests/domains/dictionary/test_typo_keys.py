"""Typos are found by keys: words that differ as the contract says have one in common."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.domains.dictionary.terms import PREFIX, typo_keys, typos_forgiven

LETTERS = "abc"
"""Few, so that letters are doubled and neighbours are equal."""
words = st.text(LETTERS, min_size=5, max_size=12)
long_words = st.text(LETTERS, min_size=9, max_size=12)
edits = st.tuples(st.sampled_from("darx"), st.integers(0, 12), st.sampled_from(f"{LETTERS}d"))


def edited(word: str, kind: str, place: int, letter: str) -> str:
    """A word without a letter, with one more, with another one, or with two neighbours exchanged."""
    if kind == "a":
        return word[:place] + letter + word[place:]
    if kind == "d":
        return word[:place] + word[place + 1 :]
    if kind == "r":
        return word[:place] + letter + word[place + 1 :]
    return word[:place] + word[place + 1 : place + 2] + word[place : place + 1] + word[place + 2 :]


@settings(max_examples=2_000)
@given(words, edits)
def test_one_typo_leaves_a_key(word: str, edit: tuple[str, int, str]) -> None:
    kind, place, letter = edit
    assert typo_keys(word) & typo_keys(edited(word, kind, place % len(word), letter))


@settings(max_examples=2_000)
@given(long_words, edits, edits)
def test_a_second_typo_behind_the_beginning_leaves_a_key(
    word: str, first: tuple[str, int, str], second: tuple[str, int, str]
) -> None:
    kind, place, letter = second
    other = edited(word, kind, PREFIX + place % (len(word) - PREFIX), letter)
    kind, place, letter = first
    assert typo_keys(word) & typo_keys(edited(other, kind, place % PREFIX, letter))


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.booleans(), st.booleans()), min_size=6, max_size=9))
@example([(letter, True, False) for letter in "acomodate"])
def test_doubled_letters_leave_a_key(letters: list[tuple[str, bool, bool]]) -> None:
    word = "".join(letter * (1 + is_doubled) for letter, is_doubled, _ in letters)
    other = "".join(letter * (1 + is_doubled) for letter, _, is_doubled in letters)
    assert typo_keys(word) & typo_keys(other)


def test_a_long_word_has_few_keys() -> None:
    assert len(typo_keys("internationally")) == 1 + PREFIX
    assert typo_keys("accommodate") == {"accomm", "ccomm", "acomm", "accmm", "accom", "acomod"}
    assert typos_forgiven("internationally") == 2
    assert typos_forgiven("run") == typos_forgiven("route66") == 0
