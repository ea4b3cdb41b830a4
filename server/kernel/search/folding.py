"""Folding: words that people take for the same become equal.

A fold ignores case, widths, the diacritics of Latin, Greek and Cyrillic, and the points of Arabic and Hebrew. Letters
without a decomposition, such as `ø` and the forms of the Arabic alef, are mapped. Marks that make another letter stay:
those of kana and of the scripts of India and South-East Asia. One function folds what is stored and what is asked.
"""

import re
from unicodedata import category, combining, decimal, normalize

from server.kernel.messages.text import normal_form

VERSION = 1
"""Changes with what `fold` makes of any text, so that stored words are made again."""

# Marks of these combining classes stay: nukta 7, voiced kana 8, virama 9, vowel signs from 84 to 132.
_OVERLAYS, _POINTS, _DIACRITICS = range(1, 2), range(10, 37), range(200, 255)
# Variation selectors, and the grapheme joiner.
_SELECTORS = frozenset((*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x034F))
MOST_REMEMBERED = 20_000
"""Code points whose fold is remembered: about 2 MB."""
_SINGLE = {
    "ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ł": "l", "ŧ": "t", "þ": "th", "ŋ": "n",  # noqa: RUF001
    # Arabic: alef wasla, alef maqsura, ta marbuta, and the letters that Persian and Urdu write for kaf, ya and ha.
    "ٱ": "ا", "ى": "ي", "ة": "ه", "ک": "ك", "ی": "ي", "ے": "ي", "ہ": "ه", "ھ": "ه", "ە": "ه",  # noqa: RUF001
    # Tatweel, which only stretches a word.
    "ـ": "",
}  # fmt: skip
_TURKISH = str.maketrans({"I": "ı", "İ": "i"})  # noqa: RUF001
_EXPANDED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})


def fold(text: str) -> str:
    """The text as it is compared in searches. Folding again changes nothing."""
    if text.isascii():
        return text.lower()
    return normal_form(normal_form(text, "NFKC").translate(_FOLDS))


def fold_keeping(text: str, kept: str) -> str:
    """The fold of a text in a language that takes the letters `kept` for letters of their own, such as `å` in Swedish.

    A language that keeps the dotless i writes it large as `I`, and the other one with its dot.
    """
    if not kept:
        return fold(text)
    text = normal_form(text, "NFKC")
    small = (text.translate(_TURKISH) if "\u0131" in kept else text).lower()
    small = "".join(_kept_of(each, kept) for each in normal_form(small, "NFC"))
    return "".join(each if each in kept else fold(each) for each in re.split(f"([{kept}])", small))


def _kept_of(sign: str, kept: str) -> str:
    """The letter that is kept of one with a further mark, such as `ø` of `ǿ`; another sign as it is."""
    if sign.isascii() or sign in kept:
        return sign
    parts = normalize("NFD", sign)
    return next((letter for end in range(len(parts), 0, -1) if (letter := normalize("NFC", parts[:end])) in kept), sign)


def expanded(text: str) -> str:
    """The fold of a text in which umlauts are written as two letters: `Zürich` is `zuerich`."""
    return fold(normal_form(text, "NFKC").casefold().translate(_EXPANDED))


class _Folds(dict[int, str]):
    """What becomes of each code point, found when it is first met."""

    def __missing__(self, code: int) -> str:
        folded = _fold_of(chr(code))
        if len(self) < MOST_REMEMBERED:
            self[code] = folded
        return folded


def _fold_of(sign: str) -> str:
    """The fold of one code point."""
    parts = normalize("NFKD", normalize("NFKD", sign).casefold())
    kept = (_SINGLE.get(part, _digit(part)) for part in parts if not _is_ignored(part))
    return normalize("NFC", "".join(kept))


def _digit(sign: str) -> str:
    """A digit of any script as an ASCII one; anything else as it is."""
    return str(decimal(sign, sign))


def _is_ignored(sign: str) -> bool:
    """Whether a code point is a diacritic, a point, or an invisible sign such as a joiner or a variation selector."""
    place = combining(sign)
    if place:
        return place in _OVERLAYS or place in _POINTS or place in _DIACRITICS
    return category(sign) in ("Cf", "Me") or ord(sign) in _SELECTORS


_FOLDS = _Folds()
