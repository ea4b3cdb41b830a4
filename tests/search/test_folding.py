"""Folding: what people take for the same is the same, what they do not is not, and folding twice changes nothing."""
# ruff: noqa: RUF001 - letters that look like others are what this is about

import sys
from unicodedata import normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.kernel.search.folding import MOST_REMEMBERED, _Folds, expanded, fold

SAME = {
    "case": ("ZÜRICH", "zürich"),
    "Latin diacritics": ("Crème Brûlée à l'Été", "creme brulee a l'ete"),
    "composed and decomposed": ("Cafe\u0301", "Caf\u00e9"),
    "an umlaut": ("Zürich", "Zurich"),
    "a sharp s": ("Straße", "STRASSE"),
    "the capital sharp s": ("STRAẞE", "strasse"),
    "letters without a decomposition": ("Łódź Ørsted Æsir", "lodz orsted aesir"),
    "Turkish i with and without a dot": ("İstanbul ISPARTA ısparta", "istanbul isparta isparta"),
    "Vietnamese": ("Hà Nội", "ha noi"),
    "Greek accents and the final sigma": ("ΟΔΟΣ Άγιος", "οδοσ αγιος"),
    "Cyrillic yo": ("Ёлка", "елка"),
    "forms of the Arabic alef": ("أحمد إبراهيم آمنة ٱسم", "احمد ابراهيم امنه اسم"),
    "alef maqsura and ya": ("مصطفى", "مصطفي"),
    "ta marbuta and ha": ("مكة", "مكه"),
    "tatweel": ("مـــكـة", "مكة"),
    "harakat": ("مَكَّةُ", "مكة"),
    "Persian ya and kaf": ("کتابی", "كتابي"),
    "Arabic digits": ("٢٠٢٦ ۲۰۲۶", "2026 2026"),
    "points of Hebrew": ("שָׁלוֹם", "שלום"),
    "width": ("ＡＢＣ　ｶﾞ", "abc ガ"),
    "ligatures": ("ﬁnance", "finance"),
    "joiners and soft hyphens": ("می\u200cخواهم Zu\u00adcker", "ميخواهم zucker"),
    "variation selectors": ("葛\U000e0100 ☕\ufe0f", "葛 ☕"),
}
OTHER = {
    "voiced kana": ("か", "が"),
    "Hangul syllables": ("한", "하"),
    "Hindi vowels": ("की", "कु"),
    "Thai vowels": ("กุ", "กู"),
    "digits": ("1", "2"),
}


@pytest.mark.parametrize("what", SAME)
def test_what_people_take_for_the_same_is_the_same(what: str) -> None:
    one, other = SAME[what]
    assert fold(one) == fold(other)


@pytest.mark.parametrize("what", OTHER)
def test_what_makes_another_letter_stays(what: str) -> None:
    one, other = OTHER[what]
    assert fold(one) != fold(other)


def test_an_umlaut_may_be_two_letters() -> None:
    assert [expanded(each) for each in ("Zürich", "MÖBEL", "Åse", "Straße")] == ["zuerich", "moebel", "aase", "strasse"]


@given(st.text())
@example("ᾳ\u0345")
@example("\u0958\u0301\u3099")
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(st.characters(categories=["L", "N"])))
def test_case_and_composition_do_not_matter(text: str) -> None:
    assert fold(text) == fold(normalize("NFD", text)) == fold(normalize("NFC", text))
    assert fold(text.casefold()) == fold(text)


def test_a_long_run_of_marks_is_folded_in_linear_time() -> None:
    """Ordering it takes 10 thousand million steps, which the time limit of tests would end."""
    assert fold("a" + "\u0301\u0316" * 100_000) == "a"


def test_what_is_remembered_is_bounded() -> None:
    folds = _Folds()
    for code in range(sys.maxunicode + 1)[:: sys.maxunicode // (2 * MOST_REMEMBERED)]:
        assert folds[code] == folds[code]
    assert len(folds) == MOST_REMEMBERED
