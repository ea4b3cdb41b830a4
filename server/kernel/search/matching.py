"""Matching: the resources that have every word of a query, each with its rank, as a part of a list's statement.

The rank is a number. Each word of the query adds the weight of the field that has it. A word that only begins with the
asked one takes BEGINNING off, and a mistyped word takes TYPO off, which is more than all weights together. So fewer
typos come first, then fewer longer words, then heavier fields.

For each word of a query, at most MOST_WALKED postings are read: the heaviest and newest of the word itself, then those
of longer words, then those of mistyped words. The word with the fewest postings gives the candidates, and each of them
is looked up with the other words. A query is therefore answered in full if one of its words has fewer postings.
"""

from collections.abc import Sequence

from sqlalchemy import ARRAY, CTE, BigInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.search import SearchTables
from server.data.statements import Row
from server.kernel.search.words import Word

MOST_WALKED = 2_000
"""Postings that are read for one word of a query."""
MOST_ALIKE = 100
"""Words of a tenant for which one mistyped word may stand."""
BEGINNING = 1 << 16
TYPO = 1 << 32
RANK = "rank"

_IDS, _TEXTS = UUID(as_uuid=False), ARRAY(Text())

# The words that a word of the query may have been meant for.
_ALIKE = """
alike_{place} AS MATERIALIZED (
    SELECT DISTINCT t.word FROM {typos} t
     WHERE t.tenant_id = :key_tenant_id AND t.key = ANY (:q_typos_{place}) AND t.word <> ALL (:q_spellings_{place})
     LIMIT {alike}
)"""
# All with these words. Each word is read from the end of its part of the index: the heaviest and newest first.
_WALK_WORDS = """
        (SELECT p.resource_id, p.weight - {less} AS score
           FROM {source} CROSS JOIN LATERAL (
                SELECT w.resource_id, w.weight::bigint AS weight FROM {words} w
                 WHERE w.tenant_id = :key_tenant_id AND w.word = s.word
                 ORDER BY w.weight DESC, w.resource_id DESC LIMIT {walked}) p
          LIMIT {walked})"""
_WALK_RANGES = """
        (SELECT p.resource_id, p.weight - {less} AS score
           FROM unnest(:q_starts, :q_stops) AS r (start, stop) CROSS JOIN LATERAL (
                SELECT w.resource_id, w.weight::bigint AS weight FROM {words} w
                 WHERE w.tenant_id = :key_tenant_id AND w.word > r.start AND w.word < r.stop LIMIT {walked}) p
          LIMIT {walked})"""
_WALK = """
walk_{place} AS MATERIALIZED (
    SELECT p.resource_id, p.score FROM ({parts}) p LIMIT {walked}
)"""
# The score of one candidate for one word; NULL if it does not have the word. OFFSET keeps it from being computed twice.
_PROBE_WORDS = """
        SELECT w.weight - CASE WHEN w.word = ANY (:q_spellings_{place}) THEN 0 ELSE {typo} END AS score
          FROM {words} w
         WHERE w.tenant_id = :key_tenant_id AND w.resource_id = c.resource_id
           AND w.word = ANY (:q_spellings_{place} || ARRAY(SELECT a.word FROM alike_{place} a))"""
_PROBE_RANGES = """
        UNION ALL
        SELECT p.weight - {beginning}
          FROM unnest(:q_starts, :q_stops) AS r (start, stop) CROSS JOIN LATERAL (
               SELECT w.weight FROM {words} w
                WHERE w.tenant_id = :key_tenant_id AND w.resource_id = c.resource_id
                  AND w.word > r.start AND w.word < r.stop OFFSET 0) p"""
_PROBE = """
  CROSS JOIN LATERAL (
      SELECT CASE WHEN c.place = {place} THEN c.score ELSE (SELECT max(p.score) FROM ({parts}) p) END AS score OFFSET 0
  ) probe_{place}"""
_WALKED = "SELECT {place} AS place, w.* FROM walk_{place} w"
_ONE = """
SELECT walk_0.resource_id, max(walk_0.score) AS rank FROM walk_0 GROUP BY walk_0.resource_id"""
_ALL = """,
walked AS MATERIALIZED ({walks}),
fewest AS (
    SELECT walked.place FROM walked GROUP BY walked.place ORDER BY count(*), walked.place LIMIT 1
)
SELECT c.resource_id, {sum} AS rank
  FROM (SELECT walked.place, walked.resource_id, max(walked.score) AS score FROM walked
         WHERE walked.place = (SELECT fewest.place FROM fewest)
           AND (SELECT count(DISTINCT walked.place) FROM walked) = {count}
         GROUP BY walked.place, walked.resource_id) c{probes}
 WHERE {found}"""


class Matching:
    """The matching of one resource."""

    def __init__(self, tables: SearchTables) -> None:
        self._names = {
            "words": tables.words.name,
            "typos": tables.typos.name,
            "walked": MOST_WALKED,
            "alike": MOST_ALIKE,
            "beginning": BEGINNING,
            "typo": TYPO,
        }

    def parameters(self, words: Sequence[Word]) -> Row:
        """The parameters of `found` beside the tenant."""
        starts, stops = map(list, zip(*words[-1].ranges, strict=True)) if words[-1].ranges else ([], [])
        found: Row = {"q_starts": starts, "q_stops": stops}
        for place, word in enumerate(words):
            found |= {f"q_spellings_{place}": list(word.spellings), f"q_typos_{place}": word.typo_keys}
        return found

    def found(self, count: int) -> CTE:
        """`resource_id` and `rank` of what has all of `count` words. Takes `key_tenant_id`, the tenant."""
        ends = [bindparam("q_starts", type_=_TEXTS), bindparam("q_stops", type_=_TEXTS)]
        for place in range(count):
            ends += [bindparam(f"{name}_{place}", type_=_TEXTS) for name in ("q_spellings", "q_typos")]
        statement = text(self._sql(count)).bindparams(bindparam("key_tenant_id", type_=_IDS), *ends)
        return statement.columns(resource_id=_IDS, rank=BigInteger()).cte("found")

    def _sql(self, count: int) -> str:
        last = count - 1
        ctes = [
            part for place in range(count) for part in (self._alike(place), self._walk(place, is_last=place == last))
        ]
        opening = "WITH" + ",".join(ctes)
        if count == 1:
            return opening + _ONE
        places = range(count)
        return opening + _ALL.format(
            walks=" UNION ALL ".join(_WALKED.format(place=place) for place in places),
            count=count,
            sum=" + ".join(f"probe_{place}.score" for place in places),
            probes="".join(self._probe(place, is_last=place == last) for place in places),
            found=" AND ".join(f"probe_{place}.score IS NOT NULL" for place in places),
        )

    def _alike(self, place: int) -> str:
        return _ALIKE.format(place=place, **self._names)

    def _walk(self, place: int, *, is_last: bool) -> str:
        parts = [
            _WALK_WORDS.format(source=f"unnest(:q_spellings_{place}) AS s (word)", less=0, **self._names),
            *([_WALK_RANGES.format(less=BEGINNING, **self._names)] if is_last else []),
            _WALK_WORDS.format(source=f"alike_{place} s", less=TYPO, **self._names),
        ]
        return _WALK.format(place=place, parts="\n        UNION ALL".join(parts), **self._names)

    def _probe(self, place: int, *, is_last: bool) -> str:
        parts = (_PROBE_WORDS + _PROBE_RANGES if is_last else _PROBE_WORDS).format(place=place, **self._names)
        return _PROBE.format(place=place, parts=parts)
