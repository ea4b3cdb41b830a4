"""The words of pages, for their search. A worker makes those of the pages that are there (server/workers/search.py)."""

from alembic import op
from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
)
from sqlalchemy.dialects.postgresql import UUID

from server.data.tables import OWN_TENANT
from server.data.walls import wall

revision = "0021"
down_revision = "0020_d391b805"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pages_words",
        Column("tenant_id", UUID(as_uuid=False), nullable=False),
        Column("resource_id", UUID(as_uuid=False), nullable=False),
        Column("word", Text(collation="C"), nullable=False),
        Column("weight", SmallInteger, nullable=False),
        PrimaryKeyConstraint("tenant_id", "resource_id", "word", name="pages_words_pkey"),
        ForeignKeyConstraint(
            ["tenant_id", "resource_id"],
            ["pages.tenant_id", "pages.id"],
            name="pages_words_resource_fkey",
            ondelete="CASCADE",
        ),
    )
    op.create_index("pages_words_word_idx", "pages_words", ["tenant_id", "word", "weight", "resource_id"])
    op.create_table(
        "pages_typos",
        Column("tenant_id", UUID(as_uuid=False), nullable=False),
        Column("key", Text(collation="C"), nullable=False),
        Column("word", Text(collation="C"), nullable=False),
        Column("resource_id", UUID(as_uuid=False), nullable=False),
        PrimaryKeyConstraint("tenant_id", "key", "word", "resource_id", name="pages_typos_pkey"),
        ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="pages_typos_tenant_id_fkey", ondelete="CASCADE"),
    )
    for table in ("pages_words", "pages_typos"):
        wall(table, OWN_TENANT)
