"""Postings: the rows by which a resource is found, kept in the transaction of each write.

One statement replaces the postings of any number of resources. Rows that stay are not touched. The words of a tenant
(`typos`) only grow with writes, so that writers never wait for each other; a worker removes what no resource has.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import Message
from sqlalchemy import ARRAY, BigInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.kernel.messages.fields import descriptor_of, value_of
from server.kernel.search.declaration import MARK, Search
from server.kernel.search.words import LONGEST_WORD, SHORTEST_MISTYPED

# A word whose own key is there has all its keys, as `words.typo_keys` makes them. PostgreSQL computes those of other
# words only: most words of a write are known.
_ADD_KEYS = """
INSERT INTO {typos} (tenant_id, key, word, resource_id)
SELECT DISTINCT :tenant, left(n.word, place - 1) || substr(n.word, place + 1), n.word, n.resource_id
  FROM {source} n CROSS JOIN LATERAL generate_series(1, length(n.word) + 1) AS place
 WHERE length(n.word) BETWEEN {shortest} AND {longest} AND n.word !~ '[0-9]'
   AND NOT EXISTS (SELECT FROM {typos} t WHERE t.tenant_id = :tenant AND t.key = n.word AND t.word = n.word)
ON CONFLICT DO NOTHING"""
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


class Change(NamedTuple):
    """A resource that was written. None where it did not exist before, or has been removed with its row."""

    before: Message | None
    after: Message | None


class Postings:
    """The postings of one resource."""

    def __init__(self, search: Search) -> None:
        self._search = search
        names = {"words": search.tables.words.name, "typos": search.tables.typos.name}
        keys = {"shortest": SHORTEST_MISTYPED, "longest": LONGEST_WORD, **names}
        tenant = bindparam("tenant", type_=_ID)
        replace = _REPLACE.format(**names) + _ADD_KEYS.format(source="wanted", **keys)
        complete = _ADD_KEYS.format(source=_ALL_WORDS.format(**names), **keys)
        self._forget = Statement(text(_FORGET.format(**names)).bindparams(tenant))
        self._complete = Statement(text(complete).bindparams(tenant))
        self._replace = Statement(
            text(replace).bindparams(
                tenant,
                bindparam("resources", type_=ARRAY(_ID)),
                bindparam("owners", type_=ARRAY(_ID)),
                bindparam("words", type_=ARRAY(Text())),
                bindparam("weights", type_=ARRAY(BigInteger())),
            )
        )

    def keep(self, transaction: WriteTransaction, tenant: str, changes: Iterable[Change]) -> None:
        """Queue the statement after a write, unless no word has changed. A deleted resource is not found."""
        changed = [
            (value_of(after, "id"), words)
            for before, after in changes
            if after is not None and (words := self._words(after)) != self._words(before)
        ]
        if changed:
            self.replace(transaction, tenant, changed)

    def replace(
        self, transaction: WriteTransaction, tenant: str, resources: Sequence[tuple[str, dict[str, int]]]
    ) -> None:
        """Queue the statement that gives these words to resources, by id."""
        rows = [(resource, word, weight) for resource, words in resources for word, weight in words.items()]
        transaction.queue(
            self._replace,
            tenant=tenant,
            resources=[resource for resource, _ in resources],
            owners=[row[0] for row in rows],
            words=[row[1] for row in rows],
            weights=[row[2] for row in rows],
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


def _is_deleted(message: Message) -> bool:
    return "delete_time" in descriptor_of(message).fields_by_name and message.HasField("delete_time")
