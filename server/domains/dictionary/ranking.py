"""Ranking: from the terms that were met to entries in their order. Tests hold it against brute force.

The order is that of the contract: typos, what was met, whole words before beginnings, the exact spelling, the
frequency, the length of the headword, the alphabet, the id.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast
from unicodedata import normalize

from plinth.dictionary.v1.dictionary_search_pb2 import Match

Key = tuple[int, int, bool, int, float, int, str, str]
"""What hits are sorted by."""


class Met(NamedTuple):
    """A term of an entry that a word of the query met. Less is better."""

    typos: int
    kind: int
    is_begun: bool
    """Whether the term only begins with the word."""
    term: str


class Facts(NamedTuple):
    """What the order needs to know of an entry."""

    id: str
    headword: str
    sort_key: str
    frequency: float


class Hit(NamedTuple):
    """An entry that was found."""

    key: Key
    facts: Facts
    met: Sequence[Met]
    """One for each word of the query."""

    @property
    def typos(self) -> int:
        """How many typos were forgiven."""
        return self.key[0]

    @property
    def match(self) -> Match:
        """What the words were met in: the least of it."""
        return cast("Match", self.key[1])


def best_of(met: Iterable[tuple[str, Met]]) -> dict[str, Met]:
    """The best term of each entry, of (entry, term)."""
    found: dict[str, Met] = {}
    for entry_id, each in met:
        known = found.get(entry_id)
        if known is None or each < known:
            found[entry_id] = each
    return found


def ranked(words: Sequence[Mapping[str, Met]], facts: Iterable[Facts], query: str) -> list[Hit]:
    """The entries that have all words, in their order. `words` are the best terms of entries for each word."""
    hits = [
        _hit(each, [word[each.id] for word in words], query) for each in facts if all(each.id in word for word in words)
    ]
    return sorted(hits, key=lambda hit: hit.key)


def suggested(hit: Hit) -> tuple[object, ...]:
    """What suggestions are sorted by: of what only begins as it was typed, the most common come first."""
    typos, kind, is_begun, *rest = hit.key
    return typos, is_begun, 0 if is_begun else kind, *rest


def unlikeness(headword: str, query: str) -> int:
    """0 if a headword is spelled as in the query, 1 if but for its case, 2 otherwise."""
    asked = " ".join(normalize("NFC", query).split())
    if headword == asked:
        return 0
    return 1 if headword.casefold() == asked.casefold() else 2


def _hit(facts: Facts, met: Sequence[Met], query: str) -> Hit:
    key = (
        sum(each.typos for each in met),
        max(each.kind for each in met),
        any(each.is_begun for each in met),
        unlikeness(facts.headword, query),
        -facts.frequency,
        len(facts.headword),
        facts.sort_key,
        facts.id,
    )
    return Hit(key, facts, met)
