"""Words: what a text is found by, and what a query asks for.

A word is a run of letters, marks and digits, folded. Scripts that put no spaces between words (Chinese, Japanese, Thai,
Lao, Khmer, Burmese) are found by each sign and by each pair of neighbours.
"""

import re
from collections.abc import Iterable, Iterator
from sys import maxunicode
from typing import NamedTuple
from unicodedata import category

from server.kernel.messages.text import normal_form
from server.kernel.problems import Violation, broken_rules
from server.kernel.search.folding import MOST_REMEMBERED, expanded, fold, fold_keeping

LONGEST_WORD = 40
"""Code points of a word. What is beyond is ignored, in texts and in queries alike."""
MOST_WORDS = 1_000
"""Distinct words of a resource. What is beyond is not found."""
MOST_ASKED = 10
"""Words of a query."""
SHORTEST_MISTYPED = 5
"""Letters of the shortest word in which a typo is forgiven."""
BEYOND_ALL = chr(maxunicode) * (LONGEST_WORD + 1)
"""Sorts after every word."""

# Cut before a text is folded, so that the time does not depend on what is thrown away.
_LONGEST_RUN = 200
_DIGITS = frozenset("0123456789")
_SURROGATES = range(0xD800, 0xE000)
_ASCII_WORDS = re.compile("[0-9a-z]+")
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]+)"
)


class Word(NamedTuple):
    """One word of a query."""

    spellings: tuple[str, ...]
    """The folded word, and if it has an umlaut the word with two letters for it."""
    begins: bool
    """Whether longer words that begin with it are found too: the last word may not be finished."""

    @property
    def ranges(self) -> list[tuple[str, str]]:
        """The ranges of the words that begin with it, without itself: above the first text, below the second."""
        return [(each, beginning_end(each)) for each in self.spellings] if self.begins else []

    @property
    def typo_keys(self) -> list[str]:
        """The keys by which words are found that differ in one letter."""
        return sorted({key for each in self.spellings if forgives(each) for key in typo_keys(each)})


def words_of(text: str, kept: str = "") -> Iterator[str]:
    """The words by which a text is found. A word may come several times.

    `kept` are letters that its language takes for letters of their own.
    """
    if text.isascii() and not kept:
        # A tenth of the time of the general way, with the same result.
        for word in _ASCII_WORDS.findall(text.lower()):
            yield word[:LONGEST_WORD]
        return
    for run in _runs(text):
        for piece in _UNSPACED.split(run):
            if _UNSPACED.match(piece):
                signs = fold(piece)
                yield from signs
                yield from _pairs(signs)
            else:
                yield from _spellings(piece, kept)


def whole_spellings(text: str, kept: str = "") -> tuple[str, ...]:
    """A text as it is compared as a whole, and if it has umlauts with two letters for each. Empty without letters."""
    pieces = [_spellings(run, kept) for run in _runs(text)]
    found = (" ".join(each[place % len(each)] for each in pieces if each) for place in (0, -1))
    return tuple(dict.fromkeys(each for each in found if each))


def asked_words(text: str, kept: str = "") -> tuple[Word, ...]:
    """The words of a query, each once. Raises RuleViolated if there are too many."""
    words = tuple(dict.fromkeys(_asked(text, kept)))
    if len(words) > MOST_ASKED:
        raise broken_rules([Violation("q", f"has more than {MOST_ASKED} words", "q.words")])
    return words


def _asked(text: str, kept: str) -> Iterator[Word]:
    pieces = [piece for run in _runs(text) for piece in _UNSPACED.split(run) if piece]
    for place, piece in enumerate(pieces):
        if _UNSPACED.match(piece):
            signs = fold(piece)
            yield from (Word((each,), begins=False) for each in (_pairs(signs) or signs))
        elif spellings := _spellings(piece, kept):
            yield Word(spellings, begins=place == len(pieces) - 1)


def _runs(text: str) -> Iterator[str]:
    """The runs of letters, marks and digits."""
    for run in normal_form(text, "NFKC").translate(_SPACED).split():
        yield run[:_LONGEST_RUN]


def _spellings(piece: str, kept: str) -> tuple[str, ...]:
    """The folded word, and the word with two letters for each umlaut. Empty if it has neither letter nor digit."""
    if kept:
        found: tuple[str, ...] = (fold_keeping(piece, kept),)
    else:
        found = (fold(piece), expanded(piece)) if not piece.isascii() else (piece.lower(),)
    return tuple(dict.fromkeys(word[:LONGEST_WORD] for word in found if any(map(str.isalnum, word))))


def _pairs(piece: str) -> list[str]:
    """Each sign with its neighbour."""
    return [piece[place : place + 2] for place in range(len(piece) - 1)]


def beginning_end(beginning: str) -> str:
    """The least text, by code points, above every text with this beginning; BEYOND_ALL if no text is above them."""
    rest = beginning.rstrip(chr(maxunicode))
    if not rest:
        return BEYOND_ALL
    following = ord(rest[-1]) + 1
    return rest[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def forgives(word: str) -> bool:
    """Whether a word may be mistyped. A number may not: with another digit it is another number."""
    return len(word) >= SHORTEST_MISTYPED and _DIGITS.isdisjoint(word)


def typo_keys(word: str) -> Iterable[str]:
    """The word, and the word without one of its letters.

    Two words have a key in common if one letter is missing, added, replaced, or in another place.
    """
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}


class _Spaced(dict[int, str]):
    """A space for each code point that is no part of a word."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        kept = sign if category(sign)[0] in "LMN" or category(sign) == "Cf" else " "
        if len(self) < MOST_REMEMBERED:
            self[code] = kept
        return kept


_SPACED = _Spaced()
