"""What templates make of pages."""

from typing import NamedTuple

from plinth.sites.v1.page_version_pb2 import PageVersion
from sqlalchemy import Integer, Text, bindparam, cast, column, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID, insert

from server.data.clauses import AnyExpression
from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.sites.drafts import keep_draft
from server.domains.sites.tables import page_templates, pages, sections
from server.json_values import JsonObject
from server.kernel.ids import new_id
from server.kernel.problems import not_found

TEMPLATE_TYPE = "plinth.dev/PageTemplate"
MOST_SECTIONS = 100
"""Of a template, as its message says."""
_id = UUID(as_uuid=False)
_s, _l = sections.c, page_templates.c
_tenant, _page = bindparam("tenant", type_=_id), bindparam("page", type_=_id)
_is_template = _l.id == bindparam("template", type_=_id)
TEMPLATE = Statement(select(_l.page_title, _l.page_settings).where(_is_template))
"""Takes `template`. What it says, but for its sections."""
_each = (
    func.jsonb_array_elements(select(_l.sections).where(_is_template).scalar_subquery())
    .table_valued(column("value", JSONB), with_ordinality="place", name="each")
    .render_derived()
)
_new = (
    func.unnest(bindparam("ids", type_=ARRAY(_id)))
    .table_valued(column("id", _id), with_ordinality="place", name="new")
    .render_derived()
)


def _text(name: str) -> AnyExpression:
    return func.coalesce(_each.c.value.op("->>")(literal_column(f"'{name}'")), literal_column("''"), type_=Text())


def _json(name: str) -> AnyExpression:
    return func.nullif(_each.c.value.op("->")(literal_column(f"'{name}'")), text("'null'::jsonb"))


FILL = Statement(
    insert(sections).from_select(
        ["tenant_id", "id", "page_id", "kind", "title", "content", "style", "place"],
        select(
            *(_tenant, _new.c.id, _page, _text("kind"), _text("title"), _json("content"), _json("style")),
            cast(_each.c.place, Integer),
        ).select_from(_each.join(_new, _new.c.place == _each.c.place)),
    )
)
"""Takes `tenant`, `page`, `template` and at least as many `ids`. Gives a page the sections of a template."""
CLEAR = Statement(
    update(sections)
    .where(_s.tenant_id == _tenant, _s.page_id == _page, _s.delete_time.is_(None))
    .values(delete_time=func.now(), update_time=func.now(), version=_s.version + text("1"))
)
"""Takes `tenant` and `page`. Deletes the sections of a page."""
NOTE = Statement(
    update(pages)
    .where(pages.c.tenant_id == _tenant, pages.c.id == _page)
    .values(template_version_id=bindparam("kept", type_=_id))
)
"""Takes `tenant`, `page` and `kept`, the version that a reset leads to."""
NOTED = Statement(
    select(pages.c.template_version_id).where(
        pages.c.tenant_id == _tenant, pages.c.id == _page, pages.c.delete_time.is_(None)
    )
)
"""Takes `tenant` and `page`. The version that a reset leads to."""


class Template(NamedTuple):
    """What a template makes of a page, but for its sections."""

    page_title: str
    page_settings: JsonObject | None


def template_with(transaction: WriteTransaction, template_id: str) -> Template:
    """A template. Raises NotFound."""
    row = transaction.run(TEMPLATE, template=template_id).first()
    if row is None:
        raise not_found(TEMPLATE_TYPE, template_id)
    return Template(**row)


def fill_page(transaction: WriteTransaction, tenant_id: str | None, page_id: str, template_id: str) -> None:
    """Replace the sections of a page that is locked, or new, by those of a template, and keep what that makes of it."""
    key = {"tenant": tenant_id, "page": page_id}
    transaction.queue(CLEAR, **key)
    transaction.queue(FILL, **key, template=template_id, ids=[new_id() for _ in range(MOST_SECTIONS)])
    kept = keep_draft(transaction, tenant_id, page_id, PageVersion.REASON_TEMPLATE)
    transaction.queue(NOTE, **key, kept=kept.id)
