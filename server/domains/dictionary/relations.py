"""Relations between senses, which are found from both ends."""

from collections.abc import Iterator, Mapping, Sequence

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry, RelatedEntry, Relation
from sqlalchemy import ARRAY, Boolean, Integer, SmallInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.data.transactions import Transaction, WriteTransaction
from server.kernel.problems import Violation

MOST = 500
INVERSE: Mapping[int, Relation.Type] = {
    Relation.TYPE_SYNONYM: Relation.TYPE_SYNONYM,
    Relation.TYPE_ANTONYM: Relation.TYPE_ANTONYM,
    Relation.TYPE_HYPERNYM: Relation.TYPE_HYPONYM,
    Relation.TYPE_HYPONYM: Relation.TYPE_HYPERNYM,
    Relation.TYPE_HOLONYM: Relation.TYPE_MERONYM,
    Relation.TYPE_MERONYM: Relation.TYPE_HOLONYM,
    Relation.TYPE_DERIVED: Relation.TYPE_ORIGIN,
    Relation.TYPE_ORIGIN: Relation.TYPE_DERIVED,
    Relation.TYPE_SEE_ALSO: Relation.TYPE_SEE_ALSO,
}
"""What a sense is to another one that is this to it."""
_id = UUID(as_uuid=False)
_ids, _numbers = ARRAY(_id), ARRAY(Integer())
_tenant = bindparam("tenant", type_=_id)
KNOWN = Statement(
    text(
        """
SELECT e.id, ARRAY(SELECT s ->> 'id' FROM jsonb_array_elements(e.senses) AS s) AS senses
  FROM dictionary_entries e WHERE e.tenant_id = :tenant AND e.id = ANY (:ids) AND e.delete_time IS NULL"""
    )
    .bindparams(_tenant, bindparam("ids", type_=_ids))
    .columns(id=_id, senses=ARRAY(Text()))
)
"""Takes `tenant` and `ids`."""
REMOVE = Statement(
    text("DELETE FROM dictionary_relations r WHERE r.tenant_id = :tenant AND r.entry_id = ANY (:entries)").bindparams(
        _tenant, bindparam("entries", type_=_ids)
    )
)
"""Takes `tenant` and `entries`."""
ADD = Statement(
    text(
        """
INSERT INTO dictionary_relations (tenant_id, entry_id, sense_id, place, type, related_entry_id, related_sense_id)
SELECT :tenant, n.entry_id, n.sense_id, n.place, n.type, n.related_entry_id, nullif(n.related_sense_id, '')::uuid
  FROM unnest(:entries, :senses, :places, :types, :related, :related_senses)
       AS n (entry_id, sense_id, place, type, related_entry_id, related_sense_id)"""
    ).bindparams(
        _tenant,
        *(bindparam(name, type_=_ids) for name in ("entries", "senses", "related")),
        bindparam("related_senses", type_=ARRAY(Text())),
        *(bindparam(name, type_=_numbers) for name in ("places", "types")),
    )
)
"""Takes `tenant`, and six lists of equal length."""
RELATED = Statement(
    text(
        """
SELECT r.type, r.sense_id, r.related_entry_id AS entry_id, r.related_sense_id, true AS outgoing, e.headword,
       e.part_of_speech
  FROM dictionary_relations r JOIN dictionary_entries e ON e.tenant_id = r.tenant_id AND e.id = r.related_entry_id
 WHERE r.tenant_id = :tenant AND r.entry_id = :entry AND e.delete_time IS NULL AND (e.state = 3 OR NOT :published_only)
UNION ALL
SELECT r.type, r.related_sense_id, r.entry_id, r.sense_id, false, e.headword, e.part_of_speech
  FROM dictionary_relations r JOIN dictionary_entries e ON e.tenant_id = r.tenant_id AND e.id = r.entry_id
 WHERE r.tenant_id = :tenant AND r.related_entry_id = :entry AND e.delete_time IS NULL
   AND (e.state = 3 OR NOT :published_only)
 ORDER BY type, headword, entry_id LIMIT :most"""
    )
    .bindparams(
        _tenant,
        bindparam("entry", type_=_id),
        bindparam("published_only", type_=Boolean()),
        bindparam("most", type_=Integer()),
    )
    .columns(
        type=SmallInteger(),
        sense_id=_id,
        entry_id=_id,
        related_sense_id=_id,
        outgoing=Boolean(),
        headword=Text(),
        part_of_speech=Text(),
    )
)
"""Takes `tenant`, `entry`, `published_only` and `most`."""


def named_by(entry: DictionaryEntry) -> Iterator[tuple[str, str, int, Relation]]:
    """The relations of an entry to other entries: place in the entry, id of the sense, number, and the relation."""
    for place, sense in enumerate(entry.senses):
        for number, relation in enumerate(sense.relations):
            if relation.related_entry_id:
                yield f"senses[{place}].relations[{number}]", sense.id, number, relation


def unknown_relations(reads: Transaction, tenant_id: str, entry: DictionaryEntry) -> list[Violation]:
    """The relations to entries, or senses, that are not there."""
    known = senses_named_by(reads, tenant_id, [entry])
    return [
        Violation(f"dictionary_entry.{place}", "names an entry or a sense that is absent", "relation.exists")
        for place, _, _, relation in named_by(entry)
        if not is_known(relation, known)
    ]


def senses_named_by(
    reads: Transaction, tenant_id: str, entries: Sequence[DictionaryEntry]
) -> Mapping[str, Sequence[str]]:
    """The senses of the entries that are there, of those that these entries name, by the ids of the entries."""
    ids = sorted({each[-1].related_entry_id.lower() for entry in entries for each in named_by(entry)})
    rows = reads.run(KNOWN, tenant=tenant_id, ids=ids).all() if ids else []
    # An entry may name its own senses.
    own = {entry.id: [sense.id for sense in entry.senses] for entry in entries if entry.id}
    return {row["id"]: row["senses"] for row in rows} | own


def is_known(relation: Relation, senses: Mapping[str, Sequence[str]]) -> bool:
    """Whether what a relation names is there."""
    found = senses.get(relation.related_entry_id.lower())
    return found is not None and (not relation.related_sense_id or relation.related_sense_id.lower() in found)


def keep_relations(transaction: WriteTransaction, tenant_id: str, entries: Sequence[DictionaryEntry]) -> None:
    """Queue the statements that replace the relations of entries."""
    transaction.queue(REMOVE, tenant=tenant_id, entries=[entry.id for entry in entries])
    named = [(entry.id, *each[1:]) for entry in entries for each in named_by(entry)]
    if named:
        transaction.queue(
            ADD,
            tenant=tenant_id,
            entries=[entry_id for entry_id, _, _, _ in named],
            senses=[sense_id for _, sense_id, _, _ in named],
            places=[number for _, _, number, _ in named],
            types=[relation.type for _, _, _, relation in named],
            related=[relation.related_entry_id for _, _, _, relation in named],
            related_senses=[relation.related_sense_id for _, _, _, relation in named],
        )


def related_to(
    reads: Transaction, tenant_id: str, entry: DictionaryEntry, *, published_only: bool
) -> list[RelatedEntry]:
    """What an entry is related to, in both directions, by type and headword."""
    rows = reads.run(RELATED, tenant=tenant_id, entry=entry.id, published_only=published_only, most=MOST).all()
    words = [
        RelatedEntry(type=relation.type, sense_id=sense.id, headword=relation.text, is_outgoing=True)
        for sense in entry.senses
        for relation in sense.relations
        if relation.text
    ]
    found = [*map(_shown, rows), *words]
    return sorted(found, key=lambda each: (each.type, each.headword, each.related_entry_id))[:MOST]


def _shown(row: Row) -> RelatedEntry:
    return RelatedEntry(
        type=row["type"] if row["outgoing"] else INVERSE[row["type"]],
        sense_id=row["sense_id"] or "",
        related_entry_id=row["entry_id"],
        related_sense_id=row["related_sense_id"] or "",
        headword=row["headword"],
        part_of_speech=row["part_of_speech"],
        is_outgoing=row["outgoing"],
    )
