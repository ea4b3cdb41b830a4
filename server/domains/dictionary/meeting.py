"""Meeting: the statements by which words meet the terms of published entries, each by a key or a range of an index."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rapidfuzz.distance import OSA
from sqlalchemy import ARRAY, Boolean, Double, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.data.transactions import Transaction
from server.domains.dictionary.ranking import Facts, Met
from server.domains.dictionary.terms import Kind, typo_keys, typos_forgiven

MOST = 500
"""Entries that are looked at for one spelling of a word in one dictionary."""
MOST_BEGUN = 4_000
"""Terms that begin with a word of which the best are chosen: the first of the alphabet."""
MOST_ALIKE = 2_000
"""Words of a dictionary that have a key of a mistyped one, and about its length."""
_id = UUID(as_uuid=False)
_ids, _texts, _numbers, _flags = ARRAY(_id), ARRAY(Text()), ARRAY(Integer()), ARRAY(Boolean())
_tenant = bindparam("tenant", type_=_id)
ALIKE = Statement(
    text(
        f"""
SELECT a.number, t.term
  FROM unnest(:numbers, :dictionaries, :keys, :lengths) AS a (number, dictionary_id, key, length)
 CROSS JOIN LATERAL (
       SELECT y.term FROM dictionary_typos y
        WHERE y.tenant_id = :tenant AND y.dictionary_id = a.dictionary_id AND y.key = a.key COLLATE "C"
          AND char_length(y.term) BETWEEN a.length - 2 AND a.length + 2
        LIMIT {MOST_ALIKE}) t"""  # noqa: S608 - a number
    )
    .bindparams(
        _tenant,
        bindparam("numbers", type_=_numbers),
        bindparam("dictionaries", type_=_ids),
        bindparam("keys", type_=_texts),
        bindparam("lengths", type_=_numbers),
    )
    .columns(number=Integer(), term=Text())
)
"""Takes `tenant`, and four lists of equal length."""
MEET = Statement(
    text(
        f"""
SELECT a.place, p.resource_id, a.typos, p.kind, false AS begun, p.term
  FROM unnest(:places, :dictionaries, :terms, :typos, :least_kinds, :last_kinds)
       AS a (place, dictionary_id, term, typos, least_kind, last_kind)
 CROSS JOIN LATERAL (
       SELECT t.resource_id, t.kind, t.term FROM dictionary_terms t
        WHERE t.tenant_id = :tenant AND t.dictionary_id = a.dictionary_id AND t.term = a.term COLLATE "C"
          AND t.kind BETWEEN a.least_kind AND a.last_kind
        ORDER BY t.kind, t.rank, t.resource_id LIMIT {MOST}) p
UNION ALL
SELECT a.place, p.resource_id, 0, a.kind, true, p.term
  FROM unnest(:begun_places, :begun_dictionaries, :begun_kinds, :starts, :stops)
       AS a (place, dictionary_id, kind, start, stop)
 CROSS JOIN LATERAL (
       SELECT r.resource_id, r.term
         FROM (SELECT t.resource_id, t.term, t.rank FROM dictionary_terms t
                WHERE t.tenant_id = :tenant AND t.dictionary_id = a.dictionary_id AND t.kind = a.kind
                  AND t.kind = ANY (ARRAY[1, 2, 3, 6, 7])
                  AND t.term > a.start COLLATE "C" AND t.term < a.stop COLLATE "C" LIMIT {MOST_BEGUN}) r
        ORDER BY r.rank, r.resource_id LIMIT {MOST}) p"""  # noqa: S608 - numbers
    )
    .bindparams(
        _tenant,
        *(bindparam(name, type_=_ids) for name in ("dictionaries", "begun_dictionaries")),
        *(bindparam(name, type_=_texts) for name in ("terms", "starts", "stops")),
        *(
            bindparam(name, type_=_numbers)
            for name in ("places", "typos", "least_kinds", "last_kinds", "begun_places", "begun_kinds")
        ),
    )
    .columns(place=Integer(), resource_id=_id, typos=Integer(), kind=Integer(), begun=Boolean(), term=Text())
)
"""Takes `tenant`, six lists of equal length for whole terms, and five for ranges."""
PROBE = Statement(
    text(
        """
SELECT a.place, t.resource_id, a.typos, t.kind, false AS begun, t.term
  FROM unnest(:places, :terms, :typos, :last_kinds) AS a (place, term, typos, last_kind)
  JOIN dictionary_terms t ON t.tenant_id = :tenant AND t.resource_id = ANY (:entries) AND t.term = a.term COLLATE "C"
                         AND t.kind <= a.last_kind
UNION ALL
SELECT a.place, t.resource_id, 0, t.kind, true, t.term
  FROM unnest(:begun_places, :begun_kinds, :starts, :stops) AS a (place, kind, start, stop)
  JOIN dictionary_terms t ON t.tenant_id = :tenant AND t.resource_id = ANY (:entries) AND t.kind = a.kind
                         AND t.term > a.start COLLATE "C" AND t.term < a.stop COLLATE "C" """
    )
    .bindparams(
        _tenant,
        bindparam("entries", type_=_ids),
        *(bindparam(name, type_=_texts) for name in ("terms", "starts", "stops")),
        *(bindparam(name, type_=_numbers) for name in ("places", "typos", "last_kinds", "begun_places", "begun_kinds")),
    )
    .columns(place=Integer(), resource_id=_id, typos=Integer(), kind=Integer(), begun=Boolean(), term=Text())
)
"""Takes `tenant`, `entries`, four lists of equal length for whole terms, and four for ranges."""
FACTS = Statement(
    text(
        """
SELECT e.id, e.headword, e.sort_key, e.frequency FROM dictionary_entries e
 WHERE e.tenant_id = :tenant AND e.id = ANY (:entries) AND e.delete_time IS NULL AND e.state = 3
   AND (e.part_of_speech = :part OR :part = '')"""
    )
    .bindparams(_tenant, bindparam("entries", type_=_ids), bindparam("part", type_=Text()))
    .columns(id=_id, headword=Text(), sort_key=Text(), frequency=Double())
)
"""Takes `tenant`, `entries` and `part`, a part of speech or nothing."""


BEGINNINGS = (Kind.BEGINNING_OF_HEADWORD, Kind.BEGINNING_OF_FORM)
MATCHES: Mapping[int, int] = {
    Kind.WHOLE_HEADWORD: Kind.HEADWORD,
    Kind.WHOLE_FORM: Kind.FORM,
    Kind.BEGINNING_OF_HEADWORD: Kind.HEADWORD,
    Kind.BEGINNING_OF_FORM: Kind.FORM,
}
"""What callers are told of the other kinds."""


class Whole(NamedTuple):
    """A term to meet."""

    place: int
    """The place in the query of the word that meets it."""
    dictionary_id: str
    term: str
    typos: int
    least_kind: int
    last_kind: int


class Begun(NamedTuple):
    """A range of terms to meet, all of which begin with a word: above the first text, below the second."""

    place: int
    dictionary_id: str
    kind: int
    start: str
    stop: str


class Mistyped(NamedTuple):
    """A word of a query in which typos are forgiven."""

    place: int
    dictionary_id: str
    word: str


def alike(reads: Transaction, tenant_id: str, asked: Iterable[Mistyped]) -> Iterator[tuple[Mistyped, str, int]]:
    """The words of dictionaries that mistyped ones may stand for, with the number of typos."""
    wanted = [each for each in asked if typos_forgiven(each.word)]
    keys = [(number, key) for number, each in enumerate(wanted) for key in sorted(typo_keys(each.word))]
    if not keys:
        return
    rows = reads.run(
        ALIKE,
        tenant=tenant_id,
        numbers=[number for number, _ in keys],
        dictionaries=[wanted[number].dictionary_id for number, _ in keys],
        keys=[key for _, key in keys],
        lengths=[len(wanted[number].word) for number, _ in keys],
    ).all()
    for number, term in dict.fromkeys((row["number"], row["term"]) for row in rows):
        each = wanted[number]
        forgiven = min(typos_forgiven(each.word), typos_forgiven(term))
        typos = OSA.distance(each.word, term, score_cutoff=forgiven)
        if 0 < typos <= forgiven:
            yield each, term, typos


def meet(
    reads: Transaction, tenant_id: str, wholes: Sequence[Whole], begun: Sequence[Begun]
) -> Iterator[tuple[int, str, Met]]:
    """The entries that have terms, best first for each of them: place in the query, entry, and what was met."""
    rows = reads.run(
        MEET,
        tenant=tenant_id,
        places=[each.place for each in wholes],
        dictionaries=[each.dictionary_id for each in wholes],
        terms=[each.term for each in wholes],
        typos=[each.typos for each in wholes],
        least_kinds=[int(each.least_kind) for each in wholes],
        last_kinds=[int(each.last_kind) for each in wholes],
        **_ranges(begun),
        begun_dictionaries=[each.dictionary_id for each in begun],
    ).all()
    return _met(rows)


def probe(
    reads: Transaction, tenant_id: str, entries: Sequence[str], wholes: Sequence[Whole], begun: Sequence[Begun]
) -> Iterator[tuple[int, str, Met]]:
    """The same for some entries alone."""
    rows = reads.run(
        PROBE,
        tenant=tenant_id,
        entries=list(entries),
        places=[each.place for each in wholes],
        terms=[each.term for each in wholes],
        typos=[each.typos for each in wholes],
        last_kinds=[int(each.last_kind) for each in wholes],
        **_ranges(begun),
    ).all()
    return _met(rows)


def facts_of(reads: Transaction, tenant_id: str, entries: Iterable[str], part_of_speech: str) -> list[Facts]:
    """What the order needs to know of published entries."""
    rows = reads.run(FACTS, tenant=tenant_id, entries=sorted(entries), part=part_of_speech).all()
    return [Facts(row["id"], row["headword"], row["sort_key"], row["frequency"]) for row in rows]


def _ranges(begun: Sequence[Begun]) -> Mapping[str, Sequence[object]]:
    return {
        "begun_places": [each.place for each in begun],
        "begun_kinds": [int(each.kind) for each in begun],
        "starts": [each.start for each in begun],
        "stops": [each.stop for each in begun],
    }


def _met(rows: Iterable[Row]) -> Iterator[tuple[int, str, Met]]:
    for row in rows:
        kind: int = row["kind"]
        is_begun = row["begun"] or kind in BEGINNINGS
        yield row["place"], row["resource_id"], Met(row["typos"], MATCHES.get(kind, kind), is_begun, row["term"])
