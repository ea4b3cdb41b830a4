"""Postings: the rows by which a resource is found, kept in the transaction of each write.

One statement replaces the postings of any number of resources. Rows that stay are not touched.
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

# Takes `resources`, whose postings are replaced, and three lists of equal length with the new ones. A word whose own
# key is there has all its keys. PostgreSQL computes them, since most words of a write are known.
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
)
INSERT INTO {typos} (tenant_id, key, word, resource_id)
SELECT DISTINCT :tenant, left(n.word, place - 1) || substr(n.word, place + 1), n.word, n.resource_id
  FROM wanted n CROSS JOIN LATERAL generate_series(1, length(n.word) + 1) AS place
 WHERE length(n.word) BETWEEN {shortest} AND {longest} AND n.word !~ '[0-9]'
   AND NOT EXISTS (SELECT FROM {typos} t WHERE t.tenant_id = :tenant AND t.key = n.word AND t.word = n.word)
ON CONFLICT DO NOTHING
"""
_ID = UUID(as_uuid=False)


class Change(NamedTuple):
    """A resource that was written. None where it did not exist before, or has been removed with its row."""

    before: Message | None
    after: Message | None


class Postings:
    """The postings of one resource."""

    def __init__(self, search: Search) -> None:
        self._search = search
        sql = _REPLACE.format(
            words=search.tables.words.name,
            typos=search.tables.typos.name,
            shortest=SHORTEST_MISTYPED,
            longest=LONGEST_WORD,
        )
        self._replace = Statement(
            text(sql).bindparams(
                bindparam("tenant", type_=_ID),
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

    def of(self, message: Message) -> dict[str, int]:
        """The postings of a resource: its words, and the mark of their version."""
        return {**self._search.words(message), MARK: self._search.mark}

    def _words(self, message: Message | None) -> dict[str, int]:
        return {} if message is None or _is_deleted(message) else self.of(message)


def _is_deleted(message: Message) -> bool:
    return "delete_time" in descriptor_of(message).fields_by_name and message.HasField("delete_time")
