"""Finding: from what was typed to the hits of one alphabet, best first."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from server.data.transactions import Transaction
from server.domains.dictionary.languages import wholes
from server.domains.dictionary.meeting import MOST, Begun, Mistyped, Whole, alike, facts_of, meet, probe
from server.domains.dictionary.ranking import Hit, Met, best_of, ranked, suggested
from server.domains.dictionary.terms import SHORT_BEGINNING, Kind
from server.kernel.search import Word, asked_words

NAMES = (Kind.HEADWORD, Kind.FORM, Kind.TRANSLATION)
WHOLES = (Kind.WHOLE_HEADWORD, Kind.WHOLE_FORM)


class Place(NamedTuple):
    """Where to look: dictionaries of one tenant whose languages keep the same letters."""

    reads: Transaction
    tenant_id: str
    kept: str
    dictionaries: Sequence[str]
    part_of_speech: str = ""


class _Asked(NamedTuple):
    wholes: list[Whole]
    begun: list[Begun]

    def of(self, place: int) -> "_Asked":
        """What one word of the query asks for."""
        return _Asked(
            [each for each in self.wholes if each.place == place], [each for each in self.begun if each.place == place]
        )


def search(where: Place, query: str) -> list[Hit]:
    """The entries that have all words of a query. Raises RuleViolated for too many words."""
    words = asked_words(query, where.kept)
    if not words:
        return look_up(where, query)
    asked = _asked_for(where, words)
    met: list[list[tuple[str, Met]]] = [[] for _ in words]
    for place, entry_id, each in meet(where.reads, where.tenant_id, asked.wholes, asked.begun):
        met[place].append((entry_id, each))
    found = [best_of(each) for each in met]
    if all(found):
        _complete(where, asked, met, found)
    return _ranked(where, found, query)


def suggest(where: Place, typed: str) -> list[Hit]:
    """The entries whose headword or form was typed, then those that begin so, then those that may have been meant."""
    asked = _Asked([], [])
    mistyped: list[Mistyped] = []
    for spelling in wholes(typed, where.kept):
        for dictionary_id in where.dictionaries:
            mistyped.append(Mistyped(0, dictionary_id, spelling))
            asked.wholes.append(Whole(0, dictionary_id, spelling, 0, *WHOLES))
            _add_beginnings(asked, 0, dictionary_id, spelling, WHOLES)
    for each, term, typos in alike(where.reads, where.tenant_id, mistyped):
        asked.wholes.append(Whole(0, each.dictionary_id, term, typos, *WHOLES))
    return sorted(_found(where, asked, typed), key=suggested)


def look_up(where: Place, word: str) -> list[Hit]:
    """The entries whose headword or form a word is."""
    spellings = wholes(word, where.kept)
    asked = [Whole(0, each, spelling, 0, *WHOLES) for each in where.dictionaries for spelling in spellings]
    return _found(where, _Asked(asked, []), word)


def _asked_for(where: Place, words: Sequence[Word]) -> _Asked:
    asked = _Asked([], [])
    mistyped: list[Mistyped] = []
    for place, word in enumerate(words):
        for dictionary_id in where.dictionaries:
            # With two letters for an umlaut it is no longer than it was typed.
            kinds = NAMES if len(word.spellings[0]) > SHORT_BEGINNING else WHOLES
            for spelling in word.spellings:
                mistyped.append(Mistyped(place, dictionary_id, spelling))
                asked.wholes.append(Whole(place, dictionary_id, spelling, 0, Kind.HEADWORD, Kind.EXAMPLE))
                if word.begins:
                    _add_beginnings(asked, place, dictionary_id, spelling, kinds)
    for each, term, typos in alike(where.reads, where.tenant_id, mistyped):
        asked.wholes.append(Whole(each.place, each.dictionary_id, term, typos, Kind.HEADWORD, Kind.FORM))
    return asked


def _add_beginnings(asked: _Asked, place: int, dictionary_id: str, spelling: str, kinds: Sequence[Kind]) -> None:
    """Ask for what begins with a spelling. Short beginnings are stored as terms: their ranges would be large."""
    if len(spelling) <= SHORT_BEGINNING:
        last = Kind.BEGINNING_OF_FORM
        asked.wholes.append(Whole(place, dictionary_id, spelling, 0, Kind.BEGINNING_OF_HEADWORD, last))
        return
    [(start, stop)] = Word((spelling,), begins=True).ranges
    asked.begun.extend(Begun(place, dictionary_id, kind, start, stop) for kind in kinds)


def _complete(
    where: Place, asked: _Asked, met: Sequence[Sequence[tuple[str, Met]]], found: list[dict[str, Met]]
) -> None:
    """Ask again for words of which only the first entries were read, for the entries of the rarest word alone."""
    rarest = min(range(len(found)), key=lambda place: len(found[place]))
    common = [place for place in range(len(found)) if place != rarest and len(met[place]) >= MOST]
    if not common:
        return
    again = [asked.of(place) for place in common]
    wholes_again = [each for part in again for each in part.wholes]
    begun_again = [each for part in again for each in part.begun]
    probed: dict[int, list[tuple[str, Met]]] = {place: [] for place in common}
    for place, entry_id, each in probe(where.reads, where.tenant_id, list(found[rarest]), wholes_again, begun_again):
        probed[place].append((entry_id, each))
    for place, pairs in probed.items():
        found[place] = best_of(pairs)


def _found(where: Place, asked: _Asked, query: str) -> list[Hit]:
    met = [(entry_id, each) for _, entry_id, each in meet(where.reads, where.tenant_id, asked.wholes, asked.begun)]
    return _ranked(where, [best_of(met)], query)


def _ranked(where: Place, found: Sequence[Mapping[str, Met]], query: str) -> list[Hit]:
    entries = set(found[0]).intersection(*found[1:])
    if not entries:
        return []
    return ranked(found, facts_of(where.reads, where.tenant_id, entries, where.part_of_speech), query)
