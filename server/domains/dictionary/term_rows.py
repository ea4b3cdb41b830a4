"""The rows of terms, kept in the transaction of each write."""

from collections.abc import Sequence
from typing import NamedTuple

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry
from sqlalchemy import ARRAY, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.dictionary.languages import kept_letters
from server.domains.dictionary.terms import Kind, Term, rank_of, terms_of, typo_keys, typos_forgiven

MISTYPED = (Kind.HEADWORD, Kind.FORM)
"""The kinds in whose words typos are forgiven."""
_id = UUID(as_uuid=False)
_ids, _texts, _numbers = ARRAY(_id), ARRAY(Text()), ARRAY(Integer())
_tenant, _dictionary = bindparam("tenant", type_=_id), bindparam("dictionary", type_=_id)
REMOVE = Statement(
    text("DELETE FROM dictionary_terms t WHERE t.tenant_id = :tenant AND t.resource_id = ANY (:entries)").bindparams(
        _tenant, bindparam("entries", type_=_ids)
    )
)
"""Takes `tenant` and `entries`."""
ADD = Statement(
    text(
        """
INSERT INTO dictionary_terms (tenant_id, dictionary_id, term, kind, rank, resource_id)
SELECT :tenant, :dictionary, n.term, n.kind, n.rank, n.resource_id
  FROM unnest(:terms, :kinds, :ranks, :entries) AS n (term, kind, rank, resource_id)
ON CONFLICT DO NOTHING"""
    ).bindparams(
        _tenant,
        _dictionary,
        bindparam("terms", type_=_texts),
        bindparam("kinds", type_=_numbers),
        bindparam("ranks", type_=_numbers),
        bindparam("entries", type_=_ids),
    )
)
"""Takes `tenant`, `dictionary`, and four lists of equal length."""
LEARN = Statement(
    text(
        """
INSERT INTO dictionary_typos (tenant_id, dictionary_id, key, term)
SELECT :tenant, :dictionary, n.key, n.term FROM unnest(:keys, :terms) AS n (key, term)
 ORDER BY n.key COLLATE "C", n.term COLLATE "C"
ON CONFLICT DO NOTHING"""
    ).bindparams(_tenant, _dictionary, bindparam("keys", type_=_texts), bindparam("terms", type_=_texts))
)
"""Takes `tenant`, `dictionary`, and two lists of equal length. In one order: no two writers wait in a circle."""
FORGET = Statement(
    text(
        """
DELETE FROM dictionary_typos t
 WHERE t.tenant_id = :tenant AND t.dictionary_id = :dictionary
   AND NOT EXISTS (SELECT FROM dictionary_terms w
                    WHERE w.tenant_id = :tenant AND w.dictionary_id = :dictionary AND w.term = t.term
                      AND w.kind <= 2)"""
    ).bindparams(_tenant, _dictionary)
)
"""Takes `tenant` and `dictionary`. Removes the words that no entry has any more."""


class Change(NamedTuple):
    """An entry that was written, and what it was before; None for a new one."""

    before: DictionaryEntry | None
    after: DictionaryEntry


class _Posting(NamedTuple):
    entry: DictionaryEntry
    term: Term


def keep_terms(transaction: WriteTransaction, tenant_id: str, changes: Sequence[Change]) -> None:
    """Queue the statements that let searches find what was written. All entries are of one dictionary."""
    stale: list[str] = []
    added: list[_Posting] = []
    for before, after in changes:
        kept = kept_letters(after.language)
        new = terms_of(after, kept)
        old = terms_of(before, kept) if before is not None else set()
        if before is not None and (old, before.frequency) == (new, after.frequency):
            continue
        if old:
            stale.append(after.id)
        added += (_Posting(after, term) for term in new)
    if stale:
        transaction.queue(REMOVE, tenant=tenant_id, entries=stale)
    if added:
        _add(transaction, tenant_id, added)


def _add(transaction: WriteTransaction, tenant_id: str, added: Sequence[_Posting]) -> None:
    place = {"tenant": tenant_id, "dictionary": added[0].entry.dictionary_id}
    transaction.queue(
        ADD,
        **place,
        terms=[each.term.text for each in added],
        kinds=[int(each.term.kind) for each in added],
        ranks=[rank_of(each.entry.frequency) for each in added],
        entries=[each.entry.id for each in added],
    )
    words = {each.term.text for each in added if each.term.kind in MISTYPED and typos_forgiven(each.term.text)}
    keys = [(key, word) for word in words for key in typo_keys(word)]
    if keys:
        transaction.queue(LEARN, **place, keys=[key for key, _ in keys], terms=[word for _, word in keys])
