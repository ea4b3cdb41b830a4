"""Terms: what an entry is found by."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import groupby
from math import log2
from typing import NamedTuple

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry

from server.domains.dictionary.languages import wholes
from server.kernel.search import words_of

MOST_NAMES, MOST_TEXTS = 1_500, 400
"""Terms of an entry: of its names, and of its definitions and examples."""
SHORT_BEGINNING = 3
"""Letters of the beginnings that are stored. Longer ones are ranges of terms."""
LAST_RANK = 32_767
PREFIX = 6
"""Letters of a word from which keys are made: the prefix of SymSpell (https://github.com/wolfgarbe/SymSpell).

Keys without two letters as well would be 29 for a long word instead of 7, and were 12 KB for each entry.
"""
UNFORGIVEN = frozenset("0123456789 ")
"""Of folded words: those with digits, and several of them."""
ONE_TYPO, TWO_TYPOS = 5, 9
"""Letters of the shortest words in which one and two typos are forgiven."""


class Kind(IntEnum):
    """What a term is of its entry. The first five are those of `Match`, in the order of the ranking."""

    HEADWORD = 1
    FORM = 2
    TRANSLATION = 3
    DEFINITION = 4
    EXAMPLE = 5
    WHOLE_HEADWORD = 6
    WHOLE_FORM = 7
    BEGINNING_OF_HEADWORD = 8
    BEGINNING_OF_FORM = 9


class Term(NamedTuple):
    """A term of an entry."""

    text: str
    kind: Kind


def terms_of(entry: DictionaryEntry, kept: str) -> set[Term]:
    """What a published entry is found by; nothing for another one. `kept` are letters of its language."""
    if entry.state != DictionaryEntry.STATE_PUBLISHED or entry.HasField("delete_time"):
        return set()
    return {*_first(_names(entry, kept), MOST_NAMES), *_first(_texts(entry, kept), MOST_TEXTS)}


def rank_of(frequency: float) -> int:
    """The rank of an entry among others with the same term: less for a more common one."""
    return LAST_RANK - round(log2(1 + frequency * 1000) * 1000)


def typos_forgiven(word: str) -> int:
    """How many typos are forgiven in a word. None in one with a digit, as another digit makes another number."""
    if len(word) < ONE_TYPO or not UNFORGIVEN.isdisjoint(word):
        return 0
    return 2 if len(word) >= TWO_TYPOS else 1


def typo_keys(word: str) -> set[str]:
    """The beginning of a word, as it is, with doubled letters as one, and without one of its letters.

    Words have a key in common if they differ in one typo; in two, of which one is behind the beginning; or only in
    letters that are doubled, as `acomodate` and `accommodate` do.
    """
    beginning = word[:PREFIX]
    single = "".join(letter for letter, _ in groupby(word))[:PREFIX]
    return {beginning, single, *(beginning[:place] + beginning[place + 1 :] for place in range(len(beginning)))}


def _first(terms: Iterable[Term], most: int) -> Iterable[Term]:
    found: dict[Term, None] = {}
    for term in terms:
        found[term] = None
        if len(found) == most:
            break
    return found


def _names(entry: DictionaryEntry, kept: str) -> Iterator[Term]:
    yield from _named(entry.headword, kept, (Kind.HEADWORD, Kind.WHOLE_HEADWORD, Kind.BEGINNING_OF_HEADWORD))
    for form in entry.forms:
        yield from _named(form.text, kept, (Kind.FORM, Kind.WHOLE_FORM, Kind.BEGINNING_OF_FORM))
    for sense in entry.senses:
        for translation in sense.translations:
            for word in words_of(translation.text, kept):
                yield Term(word, Kind.TRANSLATION)


def _named(text: str, kept: str, kinds: tuple[Kind, Kind, Kind]) -> Iterator[Term]:
    word_kind, whole_kind, beginning_kind = kinds
    for whole in wholes(text, kept):
        yield Term(whole, whole_kind)
        for end in range(1, min(SHORT_BEGINNING, len(whole)) + 1):
            yield Term(whole[:end], beginning_kind)
    for word in words_of(text, kept):
        yield Term(word, word_kind)


def _texts(entry: DictionaryEntry, kept: str) -> Iterator[Term]:
    for sense in entry.senses:
        for definition in sense.definitions:
            for word in words_of(definition, kept):
                yield Term(word, Kind.DEFINITION)
    for sense in entry.senses:
        for example in sense.examples:
            for word in words_of(example.text, kept):
                yield Term(word, Kind.EXAMPLE)
