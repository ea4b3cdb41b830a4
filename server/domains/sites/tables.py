"""Tables of sites."""

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Index, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from server.data.quotas import limited_by_plan
from server.data.search import search_tables
from server.data.tables import tenant_table, time_column, uuid_column

pages = tenant_table(
    "pages",
    Column("slug", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=text("''")),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("status", SmallInteger, nullable=False),
    Column("settings", JSONB),
    time_column("publish_time", nullable=True),
    soft_delete=True,
)
pages_search = search_tables(pages)
limited_by_plan(pages, "pages")
_alive = pages.c.delete_time.is_(None)
Index("pages_slug_key", pages.c.tenant_id, pages.c.slug, unique=True, postgresql_where=_alive)
Index("pages_create_time_idx", pages.c.tenant_id, pages.c.create_time, pages.c.id)
Index("pages_update_time_idx", pages.c.tenant_id, pages.c.update_time, pages.c.id)
Index("pages_title_idx", pages.c.tenant_id, pages.c.title, pages.c.id)

sections = tenant_table(
    "sections",
    uuid_column("page_id"),
    Column("kind", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=text("''")),
    Column("content", JSONB),
    Column("style", JSONB),
    Column("hidden", Boolean, nullable=False, server_default=text("false")),
    Column("place", Integer, nullable=False),
    ForeignKeyConstraint(["tenant_id", "page_id"], ["pages.tenant_id", "pages.id"], ondelete="CASCADE"),
    soft_delete=True,
)
for _name in ("place", "create_time"):
    Index(f"sections_{_name}_idx", sections.c.tenant_id, sections.c.page_id, sections.c[_name], sections.c.id)
