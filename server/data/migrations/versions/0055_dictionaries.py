"""Dictionaries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.search_trigger import add_words_trigger
from server.data.walls import wall

revision = "0055_9fc78498"
down_revision = "0054_a604da13"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dictionary_terms",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("dictionary_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("term", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("resource_id", sa.UUID(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "dictionary_id", "term", "kind", "rank", "resource_id", name=op.f("dictionary_terms_pkey")
        ),
    )
    op.create_index(
        "dictionary_terms_kind_idx",
        "dictionary_terms",
        ["tenant_id", "dictionary_id", "kind", "term", "rank", "resource_id"],
        unique=False,
        postgresql_where=sa.text("kind = ANY (ARRAY[1, 2, 3, 6, 7])"),
    )
    op.create_index("dictionary_terms_resource_id_idx", "dictionary_terms", ["tenant_id", "resource_id"], unique=False)
    op.create_table(
        "dictionaries",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("licence", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("source", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("dictionaries_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("dictionaries_pkey")),
    )
    op.create_index("dictionaries_create_time_idx", "dictionaries", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "dictionaries_delete_time_idx",
        "dictionaries",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index("dictionaries_key_idx", "dictionaries", ["tenant_id", "key", "id"], unique=False)
    op.create_index(
        "dictionaries_key_key",
        "dictionaries",
        ["tenant_id", "key"],
        unique=True,
        postgresql_where=sa.text("delete_time IS NULL"),
    )
    op.create_table(
        "dictionary_misses",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(collation="C"), nullable=False),
        sa.Column("text", sa.Text(collation="C"), nullable=False),
        sa.Column("searches", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("dictionary_misses_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "day", "language", "text", name=op.f("dictionary_misses_pkey")),
    )
    op.create_index("dictionary_misses_day_idx", "dictionary_misses", ["day"], unique=False)
    op.create_table(
        "dictionary_entries",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("dictionary_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("headword", sa.Text(), nullable=False),
        sa.Column("part_of_speech", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("homograph_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("labels", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "pronunciations", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False
        ),
        sa.Column("forms", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("senses", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("etymology", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("hyphenation", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("frequency", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("source", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("licence", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sort_key", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("return_reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("revision_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("publish_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("random_key", sa.Double(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "dictionary_id"],
            ["dictionaries.tenant_id", "dictionaries.id"],
            name=op.f("dictionary_entries_tenant_id_dictionary_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("dictionary_entries_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("dictionary_entries_pkey")),
    )
    op.create_index(
        "dictionary_entries_create_time_idx", "dictionary_entries", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "dictionary_entries_delete_time_idx",
        "dictionary_entries",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index(
        "dictionary_entries_frequency_idx", "dictionary_entries", ["tenant_id", "frequency", "id"], unique=False
    )
    op.create_index(
        "dictionary_entries_headword_key",
        "dictionary_entries",
        ["tenant_id", "dictionary_id", "headword", "part_of_speech", "homograph_number"],
        unique=True,
        postgresql_where=sa.text("delete_time IS NULL"),
    )
    op.create_index(
        "dictionary_entries_of_dictionary_idx",
        "dictionary_entries",
        ["tenant_id", "dictionary_id", "sort_key", "id"],
        unique=False,
    )
    op.create_index(
        "dictionary_entries_random_key_idx",
        "dictionary_entries",
        ["tenant_id", "dictionary_id", "random_key"],
        unique=False,
        postgresql_where=sa.text("state = 3 AND delete_time IS NULL"),
    )
    op.create_index(
        "dictionary_entries_sort_key_idx", "dictionary_entries", ["tenant_id", "sort_key", "id"], unique=False
    )
    op.create_index(
        "dictionary_entries_state_idx",
        "dictionary_entries",
        ["tenant_id", "state", "sort_key", "id"],
        unique=False,
        postgresql_where=sa.text("state != 3 AND delete_time IS NULL"),
    )
    op.create_index(
        "dictionary_entries_update_time_idx", "dictionary_entries", ["tenant_id", "update_time", "id"], unique=False
    )
    op.create_table(
        "dictionary_proposals",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("dictionary_entry_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("new_entry_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("dictionary_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("revision_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "dictionary_id"],
            ["dictionaries.tenant_id", "dictionaries.id"],
            name=op.f("dictionary_proposals_tenant_id_dictionary_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("dictionary_proposals_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("dictionary_proposals_pkey")),
    )
    op.create_index(
        "dictionary_proposals_create_time_idx", "dictionary_proposals", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "dictionary_proposals_dictionary_id_idx", "dictionary_proposals", ["tenant_id", "dictionary_id"], unique=False
    )
    op.create_index(
        "dictionary_proposals_state_idx",
        "dictionary_proposals",
        ["tenant_id", "state", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "dictionary_proposals_user_id_idx",
        "dictionary_proposals",
        ["tenant_id", "user_id", "create_time", "id"],
        unique=False,
    )
    op.create_table(
        "dictionary_typos",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("dictionary_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("term", sa.Text(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "dictionary_id"],
            ["dictionaries.tenant_id", "dictionaries.id"],
            name=op.f("dictionary_typos_tenant_id_dictionary_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "dictionary_id", "key", "term", name=op.f("dictionary_typos_pkey")),
    )
    op.create_table(
        "dictionary_relations",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("entry_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("sense_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("related_entry_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("related_sense_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("place", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "entry_id"],
            ["dictionary_entries.tenant_id", "dictionary_entries.id"],
            name=op.f("dictionary_relations_tenant_id_entry_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "related_entry_id"],
            ["dictionary_entries.tenant_id", "dictionary_entries.id"],
            name=op.f("dictionary_relations_tenant_id_related_entry_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "entry_id", "sense_id", "place", name=op.f("dictionary_relations_pkey")),
    )
    op.create_index(
        "dictionary_relations_related_entry_id_idx",
        "dictionary_relations",
        ["tenant_id", "related_entry_id"],
        unique=False,
    )
    op.create_table(
        "dictionary_revisions",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("dictionary_entry_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "dictionary_entry_id"],
            ["dictionary_entries.tenant_id", "dictionary_entries.id"],
            name=op.f("dictionary_revisions_tenant_id_dictionary_entry_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("dictionary_revisions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("dictionary_revisions_pkey")),
    )
    op.create_index(
        "dictionary_revisions_delete_time_idx",
        "dictionary_revisions",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index(
        "dictionary_revisions_number_key",
        "dictionary_revisions",
        ["tenant_id", "dictionary_entry_id", "number"],
        unique=True,
    )
    wall("dictionary_terms", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("dictionaries", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall(
        "dictionary_misses",
        "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
        " OR (SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')",
    )
    wall("dictionary_entries", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("dictionary_proposals", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("dictionary_typos", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("dictionary_relations", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("dictionary_revisions", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    add_words_trigger("dictionary_terms", "dictionary_entries")
