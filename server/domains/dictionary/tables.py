"""Tables of dictionaries."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.search import SEARCHED
from server.data.tables import IS_PLATFORM, OWN_TENANT, ROW_SECURITY, metadata, tenant_table, time_column, uuid_column

_EMPTY, _NONE = text("''"), text("'[]'")

dictionaries = tenant_table(
    "dictionaries",
    *(Column(name, Text, nullable=False) for name in ("key", "display_name", "language")),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("description", "licence", "source")),
    soft_delete=True,
)
_d = dictionaries.c
Index("dictionaries_key_key", _d.tenant_id, _d.key, unique=True, postgresql_where=_d.delete_time.is_(None))
Index("dictionaries_create_time_idx", _d.tenant_id, _d.create_time, _d.id)
Index("dictionaries_key_idx", _d.tenant_id, _d.key, _d.id)

dictionary_entries = tenant_table(
    "dictionary_entries",
    uuid_column("dictionary_id"),
    *(Column(name, Text, nullable=False) for name in ("language", "headword")),
    Column("part_of_speech", Text, nullable=False, server_default=_EMPTY),
    Column("homograph_number", Integer, nullable=False, server_default=text("0")),
    Column("labels", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    *(Column(name, JSONB, nullable=False, server_default=_NONE) for name in ("pronunciations", "forms", "senses")),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("etymology", "hyphenation")),
    Column("frequency", Double, nullable=False, server_default=text("0")),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("source", "licence")),
    # By code point, so that every node of a cluster sorts alike.
    Column("sort_key", Text(collation="C"), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("return_reason", Text, nullable=False, server_default=_EMPTY),
    Column("revision_number", Integer, nullable=False, server_default=text("0")),
    time_column("publish_time", nullable=True),
    # From 0 to 1, by chance: what entries are chosen by.
    Column("random_key", Double, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "dictionary_id"], ["dictionaries.tenant_id", "dictionaries.id"], ondelete="CASCADE"
    ),
    soft_delete=True,
)
_e = dictionary_entries.c
_is_alive = _e.delete_time.is_(None)
_is_published = (_e.state == text("3")) & _is_alive
Index(
    "dictionary_entries_headword_key",
    *(_e.tenant_id, _e.dictionary_id, _e.headword, _e.part_of_speech, _e.homograph_number),
    unique=True,
    postgresql_where=_is_alive,
)
for _name in ("sort_key", "frequency", "create_time", "update_time"):
    Index(f"dictionary_entries_{_name}_idx", _e.tenant_id, _e[_name], _e.id)
Index("dictionary_entries_of_dictionary_idx", _e.tenant_id, _e.dictionary_id, _e.sort_key, _e.id)
# Those that wait for review, and the few others that are not published.
Index(
    "dictionary_entries_state_idx",
    *(_e.tenant_id, _e.state, _e.sort_key, _e.id),
    postgresql_where=(_e.state != text("3")) & _is_alive,
)
Index(
    "dictionary_entries_random_key_idx",
    *(_e.tenant_id, _e.dictionary_id, _e.random_key),
    postgresql_where=_is_published,
)

# What published entries are found by. `kind` is one of terms.Kind; `rank` is less for more common entries. A trigger
# deletes the terms of rows that are removed.
dictionary_terms = Table(
    "dictionary_terms",
    metadata,
    uuid_column("tenant_id"),
    uuid_column("dictionary_id"),
    Column("term", Text(collation="C"), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("rank", SmallInteger, nullable=False),
    uuid_column("resource_id"),
    PrimaryKeyConstraint("tenant_id", "dictionary_id", "term", "kind", "rank", "resource_id"),
    info={ROW_SECURITY: OWN_TENANT, SEARCHED: "dictionary_entries"},
)
_t = dictionary_terms.c
Index("dictionary_terms_resource_id_idx", _t.tenant_id, _t.resource_id)
# The kinds whose beginnings are looked for.
Index(
    "dictionary_terms_kind_idx",
    *(_t.tenant_id, _t.dictionary_id, _t.kind, _t.term, _t.rank, _t.resource_id),
    postgresql_where=text("kind = ANY (ARRAY[1, 2, 3, 6, 7])"),
)

# The words of headwords and forms, each by itself and by what is left of its beginning without one or two letters.
dictionary_typos = Table(
    "dictionary_typos",
    metadata,
    uuid_column("tenant_id"),
    uuid_column("dictionary_id"),
    *(Column(name, Text(collation="C"), nullable=False) for name in ("key", "term")),
    PrimaryKeyConstraint("tenant_id", "dictionary_id", "key", "term"),
    ForeignKeyConstraint(
        ["tenant_id", "dictionary_id"], ["dictionaries.tenant_id", "dictionaries.id"], ondelete="CASCADE"
    ),
    info={ROW_SECURITY: OWN_TENANT},
)

# What senses name, made anew with each change of their entry.
dictionary_relations = Table(
    "dictionary_relations",
    metadata,
    uuid_column("tenant_id"),
    uuid_column("entry_id"),
    uuid_column("sense_id"),
    Column("type", SmallInteger, nullable=False),
    uuid_column("related_entry_id"),
    uuid_column("related_sense_id", nullable=True),
    Column("place", SmallInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "entry_id", "sense_id", "place"),
    *(
        ForeignKeyConstraint(
            ["tenant_id", name], ["dictionary_entries.tenant_id", "dictionary_entries.id"], ondelete="CASCADE"
        )
        for name in ("entry_id", "related_entry_id")
    ),
    info={ROW_SECURITY: OWN_TENANT},
)
_r = dictionary_relations.c
Index("dictionary_relations_related_entry_id_idx", _r.tenant_id, _r.related_entry_id)

# Deleted and restored with their entry.
dictionary_revisions = tenant_table(
    "dictionary_revisions",
    uuid_column("dictionary_entry_id"),
    Column("number", Integer, nullable=False),
    Column("content", JSONB, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "dictionary_entry_id"],
        ["dictionary_entries.tenant_id", "dictionary_entries.id"],
        ondelete="CASCADE",
    ),
    soft_delete=True,
)
_v = dictionary_revisions.c
Index("dictionary_revisions_number_key", _v.tenant_id, _v.dictionary_entry_id, _v.number, unique=True)

dictionary_proposals = tenant_table(
    "dictionary_proposals",
    uuid_column("user_id"),
    # No foreign key: the entry may be removed.
    *(uuid_column(name, nullable=True) for name in ("dictionary_entry_id", "new_entry_id")),
    uuid_column("dictionary_id"),
    Column("content", JSONB, nullable=False),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("note", "reason")),
    Column("state", SmallInteger, nullable=False),
    Column("revision_number", Integer, nullable=False, server_default=text("0")),
    ForeignKeyConstraint(
        ["tenant_id", "dictionary_id"], ["dictionaries.tenant_id", "dictionaries.id"], ondelete="CASCADE"
    ),
)
_p = dictionary_proposals.c
Index("dictionary_proposals_create_time_idx", _p.tenant_id, _p.create_time, _p.id)
Index("dictionary_proposals_user_id_idx", _p.tenant_id, _p.user_id, _p.create_time, _p.id)
Index("dictionary_proposals_dictionary_id_idx", _p.tenant_id, _p.dictionary_id)
Index("dictionary_proposals_state_idx", _p.tenant_id, _p.state, _p.create_time, _p.id)

# What was searched for and not found, on a day in UTC.
dictionary_misses = Table(
    "dictionary_misses",
    metadata,
    uuid_column("tenant_id"),
    Column("day", Text, nullable=False),
    *(Column(name, Text(collation="C"), nullable=False) for name in ("language", "text")),
    Column("searches", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "day", "language", "text"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    info={ROW_SECURITY: f"{OWN_TENANT} OR {IS_PLATFORM}"},
)
Index("dictionary_misses_day_idx", dictionary_misses.c.day)
