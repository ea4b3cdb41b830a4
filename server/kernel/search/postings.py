"""Postings: the rows by which a resource is found, kept in the transaction of each write.

A write compares the words of the resource before and after it, and sends only the differences. The words of a tenant
(`typos`) only grow with writes, so that writers never wait for each other; a worker removes what no resource has. Where
the state before is unknown, one statement compares the words with the stored postings.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import Message
from sqlalchemy import ARRAY, BigInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyType
from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.kernel.messages.fields import descriptor_of, value_of
from server.kernel.search.declaration import MARK, Search
from server.kernel.search.words import LONGEST_WORD, SHORTEST_MISTYPED, forgives

# A word whose own key is there has all its keys, as `words.typo_keys` makes them. PostgreSQL computes those of other
# words only: most words of a write are known.
_ADD_KEYS = """
INSERT INTO {typos} (tenant_id, key, word, resource_id)
SELECT DISTINCT :tenant, left(n.word, place - 1) || substr(n.word, place + 1), n.word, n.resource_id
  FROM {source} n CROSS JOIN LATERAL generate_series(1, length(n.word) + 1) AS place
 WHERE length(n.word) BETWEEN {shortest} AND {longest} AND n.word !~ '[0-9]'
   AND NOT EXISTS (SELECT FROM {typos} t WHERE t.tenant_id = :tenant AND t.key = n.word AND t.word = n.word)
ON CONFLICT DO NOTHING"""
# The next two take lists as text, separated by spaces, which no word contains. PostgreSQL expects 1,000 rows of
# string_to_table whatever the text is, so it keeps one plan. For arrays it plans each execution for their length, which
# took 250 of 300 us here. The subquery per word keeps 1,000 expected rows from becoming a join over the whole tenant.
_LEARN = """
INSERT INTO {typos} (tenant_id, key, word, resource_id)
SELECT :tenant, left(n.word, place - 1) || substr(n.word, place + 1), n.word, :resource
  FROM (SELECT each.word COLLATE "C" AS word FROM string_to_table(:words, ' ') AS each (word)
         WHERE (SELECT true FROM {typos} t
                 WHERE t.tenant_id = :tenant AND t.key = each.word COLLATE "C" AND t.word = each.word COLLATE "C"
                 LIMIT 1) IS NULL
        OFFSET 0) n
 CROSS JOIN LATERAL generate_series(1, length(n.word) + 1) AS place
ON CONFLICT DO NOTHING"""
_ADD = """
INSERT INTO {words} (tenant_id, resource_id, word, weight)
SELECT :tenant, n.resource_id::uuid, coalesce(n.word, ''), n.weight::smallint
  FROM ROWS FROM (string_to_table(:owners, ' '), string_to_table(:words, ' '), string_to_table(:weights, ' '))
       AS n (resource_id, word, weight)"""
_PUT = f"{_ADD} ON CONFLICT (tenant_id, resource_id, word) DO UPDATE SET weight = excluded.weight"
# Arrays: with 1,000 expected rows it would join over all postings of the tenant.
_REMOVE = """
DELETE FROM {words} w
 USING unnest(:owners, :words) AS n (resource_id, word)
 WHERE w.tenant_id = :tenant AND w.resource_id = n.resource_id AND w.word = n.word COLLATE "C" """
_CLEAR = "DELETE FROM {words} w WHERE w.tenant_id = :tenant AND w.resource_id = ANY (:resources)"
# Takes `resources`, whose postings are replaced, and three lists of equal length with the new ones.
_REPLACE = """
WITH wanted AS MATERIALIZED (
    SELECT n.resource_id, n.word COLLATE "C" AS word, n.weight
      FROM unnest(:owners, :words, :weights) AS n (resource_id, word, weight)
), gone AS (
    DELETE FROM {words} w
     WHERE w.tenant_id = :tenant AND w.resource_id = ANY (:resources)
       AND NOT EXISTS (SELECT FROM wanted n WHERE n.resource_id = w.resource_id AND n.word = w.word)
), kept AS (
    INSERT INTO {words} AS w (tenant_id, resource_id, word, weight)
    SELECT :tenant, n.resource_id, n.word, n.weight
      FROM wanted n
     WHERE NOT EXISTS (SELECT FROM {words} w
                        WHERE w.tenant_id = :tenant AND w.resource_id = n.resource_id AND w.word = n.word
                          AND w.weight = n.weight)
    ON CONFLICT (tenant_id, resource_id, word) DO UPDATE SET weight = excluded.weight
)"""
_ALL_WORDS = """(
    SELECT DISTINCT ON (w.word) w.word, w.resource_id FROM {words} w WHERE w.tenant_id = :tenant ORDER BY w.word
)"""
_FORGET = """
DELETE FROM {typos} t
 WHERE t.tenant_id = :tenant
   AND NOT EXISTS (SELECT FROM {words} w WHERE w.tenant_id = :tenant AND w.word = t.word)"""
_ID = UUID(as_uuid=False)
_IDS, _TEXTS, _NUMBERS = ARRAY(_ID), ARRAY(Text()), ARRAY(BigInteger())


class Change(NamedTuple):
    """A resource that was written. None where it did not exist before, or has been removed with its row."""

    before: Message | None
    after: Message | None


class Posting(NamedTuple):
    """A word of a resource."""

    resource: str
    word: str
    weight: int


class Postings:
    """The postings of one resource."""

    def __init__(self, search: Search) -> None:
        self._search = search
        names = {"words": search.tables.words.name, "typos": search.tables.typos.name}
        keys = {"shortest": SHORTEST_MISTYPED, "longest": LONGEST_WORD, **names}
        self._forget = _statement(_FORGET.format(**names))
        self._complete = _statement(_ADD_KEYS.format(source=_ALL_WORDS.format(**names), **keys))
        replace = _REPLACE.format(**names) + _ADD_KEYS.format(source="wanted", **keys)
        self._replace = _statement(replace, resources=_IDS, owners=_IDS, words=_TEXTS, weights=_NUMBERS)
        self._add = _statement(_ADD.format(**names), owners=Text(), words=Text(), weights=Text())
        self._put = _statement(_PUT.format(**names), owners=Text(), words=Text(), weights=Text())
        self._remove = _statement(_REMOVE.format(**names), owners=_IDS, words=_TEXTS)
        self._clear = _statement(_CLEAR.format(**names), resources=_IDS)
        self._learn = _statement(_LEARN.format(**names), resource=_ID, words=Text())

    def keep(self, transaction: WriteTransaction, tenant: str, changes: Iterable[Change]) -> None:
        """Queue the statements of a write. Each resource is locked or new. A deleted resource has no postings."""
        added: list[Posting] = []
        put: list[Posting] = []
        removed: list[Posting] = []
        cleared: list[str] = []
        for before, after in changes:
            if after is None:
                continue
            old, new = self._words(before), self._words(after)
            resource = str(value_of(after, "id"))
            if old and not new:
                cleared.append(resource)
                continue
            changed = [Posting(resource, word, weight) for word, weight in new.items() if old.get(word) != weight]
            (added if before is None else put).extend(changed)
            removed += (Posting(resource, word, 0) for word in old if word not in new)
        if cleared:
            transaction.queue(self._clear, tenant=tenant, resources=cleared)
        if removed:
            resources = [each.resource for each in removed]
            transaction.queue(self._remove, tenant=tenant, owners=resources, words=[each.word for each in removed])
        for statement, postings in ((self._add, added), (self._put, put)):
            if postings:
                owners, words, weights = (_texts(postings, column) for column in range(3))
                transaction.queue(statement, tenant=tenant, owners=owners, words=words, weights=weights)
        self._let_mistype(transaction, tenant, [*added, *put])

    def _let_mistype(self, transaction: WriteTransaction, tenant: str, postings: Sequence[Posting]) -> None:
        """Queue the keys of those words that the tenant has not had so far."""
        words = dict.fromkeys(posting.word for posting in postings if forgives(posting.word))
        if words:
            # One of the resources will do: it tells the rows of two calls apart.
            transaction.queue(self._learn, tenant=tenant, resource=postings[0].resource, words=" ".join(words))

    def replace(
        self, transaction: WriteTransaction, tenant: str, resources: Sequence[tuple[str, dict[str, int]]]
    ) -> None:
        """Queue the statement that gives these words to resources, by id. Rows that stay are not touched."""
        rows = [Posting(resource, word, weight) for resource, words in resources for word, weight in words.items()]
        transaction.queue(
            self._replace,
            tenant=tenant,
            resources=[resource for resource, _ in resources],
            owners=[row.resource for row in rows],
            words=[row.word for row in rows],
            weights=[row.weight for row in rows],
        )

    def tidy(self, transaction: WriteTransaction, tenant: str) -> None:
        """Remove the words that no resource of a tenant has, and add words that were removed while they came back."""
        transaction.queue(self._forget, tenant=tenant)
        transaction.run(self._complete, tenant=tenant)

    def of(self, message: Message) -> dict[str, int]:
        """The postings of a resource: its words, and the mark of their version."""
        return {**self._search.words(message), MARK: self._search.mark}

    def _words(self, message: Message | None) -> dict[str, int]:
        return {} if message is None or _is_deleted(message) else self.of(message)


def _statement(sql: str, **types: AnyType) -> Statement:
    """A statement that takes the tenant, and parameters of these types."""
    parameters = {"tenant": _ID, **types}
    return Statement(text(sql).bindparams(*(bindparam(name, type_=kind) for name, kind in parameters.items())))


def _texts(postings: Sequence[Posting], column: int) -> str:
    """A column of postings as one text, with spaces between."""
    return " ".join([str(posting[column]) for posting in postings])


def _is_deleted(message: Message) -> bool:
    return "delete_time" in descriptor_of(message).fields_by_name and message.HasField("delete_time")
