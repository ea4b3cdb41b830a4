"""Drafts: what a page, its sections and its SEO metadata say together, kept as versions and made from them.

Versions are made and restored by PostgreSQL alone, so that content does not pass through the server.
"""

from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy
from google.protobuf import json_format
from plinth.sites.v1.page_version_pb2 import PageContent, PageVersion
from sqlalchemy import (
    Boolean,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    null,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID, aggregate_order_by, insert

from server.data.clauses import AnyExpression
from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.sites.tables import page_seo, page_versions, pages, sections
from server.json_values import JsonValue
from server.kernel.ids import new_id
from server.kernel.problems import limit_reached

MOST_BYTES = 2 * 1024 * 1024
MOST_VERSIONS = 100
"""Versions of a page that are kept."""
SAID_BY_PAGE = ("title", "description", "settings")
SAID_BY_SECTION = ("kind", "title", "content", "style", "hidden")
SAID_BY_SEO = (
    *("title", "description", "keywords", "canonical_url", "no_index", "no_follow", "social_title"),
    *("social_description", "social_image_url", "card", "structured_data"),
)
Draft = Mapping[str, JsonValue]
"""What a page says: the columns of pages, `sections` and `seo`."""

_id = UUID(as_uuid=False)
_p, _s, _o, _v = pages.c, sections.c, page_seo.c, page_versions.c
_tenant = bindparam("tenant", type_=_id)
_page = bindparam("page", type_=_id)


def _object(table: Table, names: tuple[str, ...], **more: AnyExpression) -> AnyExpression:
    """A JSON object of columns, and more."""
    values = {name: table.c[name] for name in names} | more
    parts: list[AnyExpression] = []
    for name, value in values.items():
        parts += (literal_column(f"'{name}'"), value)
    return func.jsonb_build_object(*parts, type_=JSONB())


def content_of(tenant: AnyExpression, page: AnyExpression) -> AnyExpression:
    """What the draft of a page says, in a statement that reads `pages`."""
    own_sections = (
        select(
            func.coalesce(
                func.jsonb_agg(aggregate_order_by(_object(sections, ("id", *SAID_BY_SECTION)), _s.place, _s.id)),
                text("'[]'::jsonb"),
            )
        )
        .where(_s.tenant_id == tenant, _s.page_id == page, _s.delete_time.is_(None))
        .scalar_subquery()
    )
    own_seo = select(_object(page_seo, SAID_BY_SEO)).where(_o.tenant_id == tenant, _o.id == page).scalar_subquery()
    return _object(pages, SAID_BY_PAGE, sections=own_sections, seo=own_seo)


_content = content_of(_tenant, _page)
_is_page = (_p.tenant_id == _tenant, _p.id == _page)
DRAFT = Statement(select(_content.label("content")).where(*_is_page))
"""Takes `tenant` and `page`. What the draft says."""

_snapshot = select(_p.title, _content.label("content")).where(*_is_page).cte("snapshot")
_text = cast(_snapshot.c.content, Text)
_measured = select(
    _snapshot.c.title,
    _snapshot.c.content,
    func.octet_length(_text, type_=Integer()).label("size"),
    func.sha256(func.convert_to(_text, literal_column("'UTF8'")), type_=LargeBinary()).label("digest"),
).cte("measured")
_newest = (
    select(_v.id, _v.number, _v.digest)
    .where(_v.tenant_id == _tenant, _v.page_id == _page)
    .order_by(_v.number.desc())
    .limit(literal_column("1"))
    .cte("newest")
)
_made = (
    insert(page_versions)
    .from_select(
        ["tenant_id", "id", "page_id", "number", "reason", "note", "title", "content", "digest"],
        select(
            *(_tenant, bindparam("new", type_=_id), _page),
            func.coalesce(_newest.c.number, literal_column("0")) + literal_column("1"),
            *(bindparam("reason", type_=SmallInteger()), bindparam("note", type_=Text())),
            *(_measured.c.title, _measured.c.content, _measured.c.digest),
        )
        .select_from(_measured.outerjoin(_newest, true()))
        .where(
            _measured.c.size <= literal_column(str(MOST_BYTES)),
            _newest.c.digest.is_distinct_from(_measured.c.digest),
        ),
    )
    .returning(_v.id, _v.number)
    .cte("made")
)
KEEP = Statement(
    select(
        _measured.c.size,
        _newest.c.id.label("known_id"),
        _newest.c.number.label("known"),
        _made.c.number.label("made"),
    ).select_from(_measured.outerjoin(_newest, true()).outerjoin(_made, true()))
)
"""Takes `tenant`, `page`, `new`, `reason` and `note`. Makes a version, unless the newest says the same."""
PRUNE = Statement(
    delete(page_versions).where(
        _v.tenant_id == _tenant,
        _v.page_id == _page,
        _v.number <= bindparam("number", type_=Integer()) - literal_column(str(MOST_VERSIONS)),
        _v.number != select(_p.version_number).where(*_is_page).scalar_subquery(),
        _v.id.is_distinct_from(select(_p.template_version_id).where(*_is_page).scalar_subquery()),
    )
)
"""Takes `tenant`, `page` and the newest `number`. What visitors see stays, and what a reset to the template needs."""

_is_kept = (_v.tenant_id == _tenant, _v.page_id == _page, _v.id == bindparam("kept", type_=_id))
VERSION = Statement(select(_v.content).where(*_is_kept, _v.delete_time.is_(None)))
"""Takes `tenant`, `page` and `kept`. What a version says."""
_kept = select(_v.content).where(*_is_kept).scalar_subquery()
_each = (
    func.jsonb_array_elements(_kept.op("->")(literal_column("'sections'")))
    .table_valued(column("value", JSONB), with_ordinality="place", name="each")
    .render_derived()
)


def _value(name: str) -> AnyExpression:
    """A column of a section in a version."""
    kind = _s[name].type
    if isinstance(kind, JSONB):
        return func.nullif(_each.c.value.op("->")(literal_column(f"'{name}'")), text("'null'::jsonb"))
    return cast(_each.c.value.op("->>")(literal_column(f"'{name}'")), kind)


_restored = insert(sections).from_select(
    ["tenant_id", "id", "page_id", *SAID_BY_SECTION, "place"],
    select(
        _tenant, _value("id"), _page, *(_value(name) for name in SAID_BY_SECTION), cast(_each.c.place, Integer)
    ).select_from(_each),
)
RESTORE_SECTIONS = Statement(
    _restored.on_conflict_do_update(
        index_elements=[_s.tenant_id, _s.id],
        set_={
            **{name: _restored.excluded[name] for name in (*SAID_BY_SECTION, "place")},
            "delete_time": null(),
            "version": _s.version + text("1"),
            "update_time": func.now(),
        },
        where=_s.page_id == _page,
    )
)
"""Takes `tenant`, `page` and `kept`. Makes the sections what a version has."""
DROP_SECTIONS = Statement(
    update(sections)
    .values(delete_time=func.now(), update_time=func.now(), version=_s.version + text("1"))
    .where(
        *(_s.tenant_id == _tenant, _s.page_id == _page, _s.delete_time.is_(None)),
        _s.id.not_in(select(_value("id")).select_from(_each)),
    )
)
"""Takes `tenant`, `page` and `kept`. Deletes the sections that a version does not have."""
_of_seo = _kept.op("->")(literal_column("'seo'"))


def _seo_value(name: str) -> AnyExpression:
    kind = _o[name].type
    held = _of_seo.op("->")(literal_column(f"'{name}'"))
    if isinstance(kind, JSONB):
        return func.nullif(held, text("'null'::jsonb"))
    if isinstance(kind, sqlalchemy.ARRAY):
        texts = func.jsonb_array_elements_text(func.nullif(held, text("'null'::jsonb"))).column_valued("each")
        return func.coalesce(select(func.array_agg(texts)).scalar_subquery(), text("'{}'::text[]"))
    empty = {SmallInteger: "0", Boolean: "false"}.get(type(kind), "''")
    return func.coalesce(cast(_of_seo.op("->>")(literal_column(f"'{name}'")), kind), literal_column(empty))


_seo_restored = insert(page_seo).from_select(
    ["tenant_id", "id", "page_id", *SAID_BY_SEO], select(_tenant, _page, _page, *map(_seo_value, SAID_BY_SEO))
)
RESTORE_SEO = Statement(
    _seo_restored.on_conflict_do_update(
        index_elements=[_o.tenant_id, _o.id],
        set_={name: _seo_restored.excluded[name] for name in SAID_BY_SEO}
        | {"version": _o.version + text("1"), "update_time": func.now()},
    )
)
"""Takes `tenant`, `page` and `kept`. Makes the SEO metadata what a version has."""

_renamed = (
    func.unnest(bindparam("ids", type_=ARRAY(_id)), bindparam("new_ids", type_=ARRAY(_id)))
    .table_valued(column("id", _id), column("new_id", _id))
    .render_derived(name="renamed")
)
SECTION_IDS = Statement(select(_s.id).where(_s.tenant_id == _tenant, _s.page_id == _page, _s.delete_time.is_(None)))
"""Takes `tenant` and `page`."""
COPY_SECTIONS = Statement(
    insert(sections).from_select(
        ["tenant_id", "id", "page_id", *SAID_BY_SECTION, "place"],
        select(
            _tenant, _renamed.c.new_id, bindparam("copy", type_=_id), *(_s[name] for name in SAID_BY_SECTION), _s.place
        ).select_from(_renamed.join(sections, and_(_s.tenant_id == _tenant, _s.id == _renamed.c.id))),
    )
)
"""Takes `tenant`, `copy`, `ids` and `new_ids`."""
_copied_seo = tuple(name for name in SAID_BY_SEO if name != "canonical_url")
COPY_SEO = Statement(
    insert(page_seo).from_select(
        ["tenant_id", "id", "page_id", *_copied_seo],
        select(
            _tenant, bindparam("copy", type_=_id), bindparam("copy", type_=_id), *(_o[name] for name in _copied_seo)
        ).where(_o.tenant_id == _tenant, _o.id == _page),
    )
)
"""Takes `tenant`, `copy` and `page`."""


class Kept(NamedTuple):
    """The newest version of a page."""

    id: str
    number: int
    is_new: bool
    """Whether it was not there before."""


def keep_draft(
    transaction: WriteTransaction, tenant_id: str | None, page_id: str, reason: "PageVersion.Reason", note: str = ""
) -> Kept:
    """Make a version of the draft of a page that is locked, unless the newest version says the same.

    Raises StateForbids if it is too large.
    """
    key = {"tenant": tenant_id, "page": page_id}
    made = new_id()
    row = transaction.run(KEEP, **key, new=made, reason=int(reason), note=note).one()
    if row["size"] > MOST_BYTES:
        raise limit_reached("The page with its sections is larger than 2 MB.", MOST_BYTES, "plinth.dev/Page")
    if row["made"] is None:
        return Kept(row["known_id"], row["known"], is_new=False)
    # What replaces the draft may be the oldest version.
    if row["made"] > MOST_VERSIONS and reason != PageVersion.REASON_REPLACED:
        transaction.queue(PRUNE, **key, number=row["made"])
    return Kept(made, row["made"], is_new=True)


def restore_draft(transaction: WriteTransaction, tenant_id: str | None, page_id: str, version_id: str) -> None:
    """Make the sections and the SEO metadata of a page that is locked what a version has."""
    for statement in (DROP_SECTIONS, RESTORE_SECTIONS, RESTORE_SEO):
        transaction.queue(statement, tenant=tenant_id, page=page_id, kept=version_id)


def copy_draft(transaction: WriteTransaction, tenant_id: str | None, page_id: str, copy_id: str) -> None:
    """Give a new page the sections and the SEO metadata of another one."""
    ids = [row["id"] for row in transaction.run(SECTION_IDS, tenant=tenant_id, page=page_id).all()]
    new_ids = [new_id() for _ in ids]
    transaction.queue(COPY_SECTIONS, tenant=tenant_id, copy=copy_id, ids=ids, new_ids=new_ids)
    transaction.queue(COPY_SEO, tenant=tenant_id, copy=copy_id, page=page_id)


def shown_content(draft: Draft) -> PageContent:
    """A draft as a message."""
    held = {name: value for name, value in draft.items() if value is not None}
    return json_format.ParseDict(held, PageContent(), ignore_unknown_fields=True)
