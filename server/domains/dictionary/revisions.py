"""Revisions: what entries said before."""

from google.protobuf import json_format
from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry
from sqlalchemy import Integer, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.kernel.ids import new_id

MOST = 200
"""Revisions of an entry that are kept."""
WRITTEN = (
    *("headword", "part_of_speech", "homograph_number", "labels", "pronunciations", "forms", "senses"),
    *("etymology", "hyphenation", "frequency", "source", "licence"),
)
"""The fields of an entry that its authors write."""
_id = UUID(as_uuid=False)
KEEP = Statement(
    text(
        """
WITH gone AS (
    DELETE FROM dictionary_revisions r
     WHERE r.tenant_id = :tenant AND r.dictionary_entry_id = :entry AND r.number <= :number - :most
)
INSERT INTO dictionary_revisions (tenant_id, id, dictionary_entry_id, number, content)
VALUES (:tenant, :id, :entry, :number, :content)"""
    ).bindparams(
        bindparam("tenant", type_=_id),
        bindparam("entry", type_=_id),
        bindparam("id", type_=_id),
        bindparam("number", type_=Integer()),
        bindparam("most", type_=Integer()),
        bindparam("content", type_=JSONB()),
    )
)
"""Takes `tenant`, `entry`, `id`, `number`, `most` and `content`."""


def says_the_same(one: DictionaryEntry, other: DictionaryEntry) -> bool:
    """Whether the authors of two entries wrote the same."""
    return all(getattr(one, name) == getattr(other, name) for name in WRITTEN)


def written(entry: DictionaryEntry) -> DictionaryEntry:
    """What the authors of an entry wrote, and nothing else of it."""
    return filled(DictionaryEntry(), entry)


def filled(entry: DictionaryEntry, content: DictionaryEntry) -> DictionaryEntry:
    """A copy of an entry that says what `content` says."""
    copy = DictionaryEntry()
    copy.CopyFrom(content)
    for field, _ in copy.ListFields():
        if field.name not in WRITTEN:
            copy.ClearField(field.name)
    kept = DictionaryEntry()
    kept.CopyFrom(entry)
    for name in WRITTEN:
        kept.ClearField(name)
    kept.MergeFrom(copy)
    return kept


def keep_revision(transaction: WriteTransaction, tenant_id: str, entry: DictionaryEntry) -> None:
    """Queue the statement that keeps what an entry said."""
    content = json_format.MessageToDict(written(entry), preserving_proto_field_name=True)
    transaction.queue(
        KEEP,
        tenant=tenant_id,
        entry=entry.id,
        id=new_id(),
        number=entry.revision_number + 1,
        most=MOST,
        content=content,
    )
