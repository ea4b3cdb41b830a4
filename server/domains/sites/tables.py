"""Tables of sites."""

from sqlalchemy import ARRAY, Boolean, Column, ForeignKeyConstraint, Index, Integer, SmallInteger, Text, text
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

# Its items stand below others, of which it keeps the id of the next one above.
navigation_items = tenant_table(
    "navigation_items",
    Column("title", Text, nullable=False),
    uuid_column("page_id", nullable=True),
    Column("url", Text, nullable=False, server_default=text("''")),
    uuid_column("parent_id", nullable=True),
    Column("open_in_new_tab", Boolean, nullable=False, server_default=text("false")),
    Column("hidden", Boolean, nullable=False, server_default=text("false")),
    Column("place", Integer, nullable=False),
    ForeignKeyConstraint(["tenant_id", "page_id"], ["pages.tenant_id", "pages.id"], ondelete="SET NULL (page_id)"),
    ForeignKeyConstraint(
        ["tenant_id", "parent_id"], ["navigation_items.tenant_id", "navigation_items.id"], ondelete="CASCADE"
    ),
)
_n = navigation_items.c
for _name in ("place", "create_time"):
    Index(f"navigation_items_{_name}_idx", _n.tenant_id, _n[_name], _n.id)
Index("navigation_items_page_id_idx", _n.tenant_id, _n.page_id, postgresql_where=_n.page_id.is_not(None))
Index("navigation_items_parent_id_idx", _n.tenant_id, _n.parent_id, postgresql_where=_n.parent_id.is_not(None))

# One for each page, whose id it has.
page_seo = tenant_table(
    "page_seo",
    uuid_column("page_id"),
    *(Column(name, Text, nullable=False, server_default=text("''")) for name in ("title", "description")),
    Column("keywords", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("canonical_url", Text, nullable=False, server_default=text("''")),
    *(Column(name, Boolean, nullable=False, server_default=text("false")) for name in ("no_index", "no_follow")),
    *(
        Column(name, Text, nullable=False, server_default=text("''"))
        for name in ("social_title", "social_description", "social_image_url")
    ),
    Column("card", SmallInteger, nullable=False, server_default=text("0")),
    Column("structured_data", JSONB),
    ForeignKeyConstraint(["tenant_id", "page_id"], ["pages.tenant_id", "pages.id"], ondelete="CASCADE"),
)
Index("page_seo_page_id_key", page_seo.c.tenant_id, page_seo.c.page_id, unique=True)

site_seo = tenant_table(
    "site_seo",
    *(Column(name, Text, nullable=False, server_default=text("''")) for name in ("site_name", "social_image_url")),
    Column("no_index", Boolean, nullable=False, server_default=text("false")),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("score", "page_count")),
    Column("findings", JSONB, nullable=False, server_default=text("'[]'")),
    time_column("refresh_time", nullable=True),
)
Index("site_seo_tenant_id_key", site_seo.c.tenant_id, unique=True)
