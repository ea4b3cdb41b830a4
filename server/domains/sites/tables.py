"""Tables of sites."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.quotas import limited_by_plan
from server.data.search import search_tables
from server.data.tables import global_table, resource_columns, tenant_table, time_column, uuid_column

pages = tenant_table(
    "pages",
    Column("slug", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=text("''")),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("status", SmallInteger, nullable=False),
    Column("settings", JSONB),
    time_column("publish_time", nullable=True),
    uuid_column("parent_id", nullable=True),
    Column("locale", Text, nullable=False, server_default=text("''")),
    uuid_column("original_id", nullable=True),
    Column("version_number", Integer, nullable=False, server_default=text("0")),
    time_column("scheduled_publish_time", nullable=True),
    time_column("scheduled_unpublish_time", nullable=True),
    # No foreign key: a template may go. Its version is what the page was right after it was applied.
    uuid_column("page_template_id", nullable=True),
    uuid_column("template_version_id", nullable=True),
    *(
        ForeignKeyConstraint(["tenant_id", name], ["pages.tenant_id", "pages.id"], ondelete=f"SET NULL ({name})")
        for name in ("parent_id", "original_id")
    ),
    soft_delete=True,
)
pages_search = search_tables(pages)
limited_by_plan(pages, "pages")
_alive = pages.c.delete_time.is_(None)
Index("pages_slug_key", pages.c.tenant_id, pages.c.slug, unique=True, postgresql_where=_alive)
Index("pages_create_time_idx", pages.c.tenant_id, pages.c.create_time, pages.c.id)
Index("pages_update_time_idx", pages.c.tenant_id, pages.c.update_time, pages.c.id)
Index("pages_title_idx", pages.c.tenant_id, pages.c.title, pages.c.id)
Index("pages_parent_id_idx", pages.c.tenant_id, pages.c.parent_id, postgresql_where=pages.c.parent_id.is_not(None))
_is_translation = pages.c.original_id.is_not(None)
Index("pages_original_id_idx", pages.c.tenant_id, pages.c.original_id, postgresql_where=_is_translation)
Index(
    "pages_locale_key",
    *(pages.c.tenant_id, pages.c.original_id, pages.c.locale),
    unique=True,
    postgresql_where=_is_translation & _alive & (pages.c.locale != text("''")),
)
# Across tenants: what is due.
for _name in ("scheduled_publish_time", "scheduled_unpublish_time"):
    Index(f"pages_{_name}_idx", pages.c[_name], postgresql_where=pages.c[_name].is_not(None))

# Deleted and restored with their page.
page_versions = tenant_table(
    "page_versions",
    uuid_column("page_id"),
    Column("number", Integer, nullable=False),
    Column("reason", SmallInteger, nullable=False),
    Column("note", Text, nullable=False, server_default=text("''")),
    Column("title", Text, nullable=False),
    # The keys are columns of pages, sections and page_seo.
    Column("content", JSONB, nullable=False),
    # SHA-256 of `content` as text.
    Column("digest", LargeBinary, nullable=False),
    ForeignKeyConstraint(["tenant_id", "page_id"], ["pages.tenant_id", "pages.id"], ondelete="CASCADE"),
    soft_delete=True,
)
_v = page_versions.c
Index("page_versions_number_key", _v.tenant_id, _v.page_id, _v.number, unique=True)

redirects = tenant_table(
    "redirects",
    Column("path", Text, nullable=False),
    uuid_column("page_id", nullable=True),
    Column("url", Text, nullable=False, server_default=text("''")),
    Column("is_temporary", Boolean, nullable=False, server_default=text("false")),
    Column("note", Text, nullable=False, server_default=text("''")),
    ForeignKeyConstraint(["tenant_id", "page_id"], ["pages.tenant_id", "pages.id"], ondelete="CASCADE"),
)
_r = redirects.c
Index("redirects_path_key", _r.tenant_id, _r.path, unique=True)
Index("redirects_create_time_idx", _r.tenant_id, _r.create_time, _r.id)
Index("redirects_page_id_idx", _r.tenant_id, _r.page_id, postgresql_where=_r.page_id.is_not(None))

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

page_templates = global_table(
    "page_templates",
    uuid_column("id", primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("key", "display_name")),
    *(
        Column(name, Text, nullable=False, server_default=text("''"))
        for name in ("description", "category", "industry", "thumbnail_url", "page_title")
    ),
    Column("is_premium", Boolean, nullable=False, server_default=text("false")),
    Column("page_settings", JSONB),
    Column("sections", JSONB, nullable=False, server_default=text("'[]'")),
    *resource_columns(soft_delete=False),
)
_l = page_templates.c
Index("page_templates_key_key", _l.key, unique=True)
for _name in ("create_time", "display_name"):
    Index(f"page_templates_{_name}_idx", _l[_name], _l.id)

section_types = tenant_table(
    "section_types",
    Column("kind", Text, nullable=False),
    Column("display_name", Text, nullable=False, server_default=text("''")),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("schema", JSONB),
)
_t = section_types.c
Index("section_types_kind_key", _t.tenant_id, _t.kind, unique=True)
Index("section_types_create_time_idx", _t.tenant_id, _t.create_time, _t.id)

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
