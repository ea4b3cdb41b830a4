"""What an archive holds of a site, as it is read from the tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.site_archive_pb2 import (
    ArchivedContent,
    ArchivedNavigationItem,
    ArchivedPage,
    ArchivedRedirect,
    ArchivedSectionType,
    ArchivedSiteSeo,
)
from sqlalchemy import and_, any_, bindparam, literal_column, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.connections import Result
from server.data.statements import Row, Statement
from server.domains.sites.drafts import content_of
from server.domains.sites.tables import navigation_items, page_versions, pages, redirects, section_types, site_seo
from server.kernel.problems import limit_reached

M = TypeVar("M", bound=Message)
Run = Callable[..., Result]
MOST_PAGES = 10_000
BATCH = 10
"""Pages whose content is read at once: 40 MB if each has the most that it may, as draft and as published."""
_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
_p, _v, _n, _r, _t, _o = pages.c, page_versions.c, navigation_items.c, redirects.c, section_types.c, site_seo.c
_is_alive = and_(_p.tenant_id == _tenant, _p.delete_time.is_(None))
PAGES = Statement(
    select(_p.id, _p.slug, _p.parent_id).where(_is_alive).order_by(_p.create_time, _p.id).limit(MOST_PAGES + 1)
)
"""Takes `tenant`. Pages, the oldest first."""
_shown = (
    select(_v.content)
    .where(_v.tenant_id == _tenant, _v.page_id == _p.id, _v.number == _p.version_number)
    .scalar_subquery()
)
CONTENTS = Statement(
    select(
        *(_p.id, _p.slug, _p.parent_id, _p.original_id, _p.locale, _p.status),
        *(_p.scheduled_publish_time, _p.scheduled_unpublish_time),
        content_of(_tenant, _p.id).label("draft"),
        _shown.label("published"),
    ).where(_is_alive, _p.id == any_(bindparam("ids", type_=ARRAY(_id))))
)
"""Takes `tenant` and `ids`."""
NAVIGATION = Statement(
    select(_n.id, _n.parent_id, _n.page_id, _n.title, _n.url, _n.open_in_new_tab, _n.hidden)
    .where(_n.tenant_id == _tenant)
    .order_by(_n.place, _n.id)
)
REDIRECTS = Statement(
    select(_r.path, _r.page_id, _r.url, _r.is_temporary, _r.note).where(_r.tenant_id == _tenant).order_by(_r.path)
)
SECTION_TYPES = Statement(
    select(_t.kind, _t.display_name, _t.description, _t.schema).where(_t.tenant_id == _tenant).order_by(_t.kind)
)
SEO = Statement(select(_o.site_name, _o.social_image_url, _o.no_index).where(_o.tenant_id == _tenant))
_parts = (
    _is_alive,
    *(table.c.tenant_id == _tenant for table in (navigation_items, redirects, section_types)),
)
IS_THERE = Statement(
    select(or_(*(select(literal_column("1")).where(part).exists() for part in _parts)).label("is_there"))
)
"""These take `tenant`. The last one says whether it has a site."""


class Place(NamedTuple):
    """A page and where it stands."""

    id: str
    slug: str


class SiteReader:
    """Reads the site of a tenant, page by page."""

    def __init__(self, run: Run, tenant_id: str) -> None:
        """`run` runs a statement. Raises StateForbids if there are too many pages."""
        self._run, self._tenant_id = run, tenant_id
        rows = self._rows(PAGES)
        if len(rows) > MOST_PAGES:
            raise limit_reached(f"An archive has at most {MOST_PAGES:,} pages.", MOST_PAGES, "plinth.dev/Page")
        self.places = [Place(row["id"], row["slug"]) for row in _behind_their_parents(rows)]
        """The pages, each behind the one above it."""
        self._slugs = {place.id: place.slug for place in self.places}

    def pages(self) -> Iterator[ArchivedPage]:
        """What they say. Those that are deleted meanwhile are left out."""
        for start in range(0, len(self.places), BATCH):
            ids = [place.id for place in self.places[start : start + BATCH]]
            found = {row["id"]: row for row in self._rows(CONTENTS, ids=ids)}
            yield from (self._page(found[page_id]) for page_id in ids if page_id in found)

    def navigation(self) -> list[ArchivedNavigationItem]:
        """The first level, with what is below."""
        rows = self._rows(NAVIGATION)
        below: dict[str | None, list[Row]] = {}
        for row in rows:
            below.setdefault(row["parent_id"], []).append(row)

        def items(parent_id: str | None) -> list[ArchivedNavigationItem]:
            return [self._item(row, items(row["id"])) for row in below.get(parent_id, ())]

        return items(None)

    def redirects(self) -> list[ArchivedRedirect]:
        """The redirects to pages that are there, and to addresses."""
        rows = (row for row in self._rows(REDIRECTS) if row["page_id"] is None or row["page_id"] in self._slugs)
        return [ArchivedRedirect(page=self._slug(row["page_id"]), **_without(row, "page_id")) for row in rows]

    def section_types(self) -> list[ArchivedSectionType]:
        """The types of sections, by kind."""
        return [_parsed(row, ArchivedSectionType()) for row in self._rows(SECTION_TYPES)]

    def seo(self) -> ArchivedSiteSeo:
        """SEO of the site."""
        return ArchivedSiteSeo(**next(iter(self._rows(SEO)), {}))

    def _rows(self, statement: Statement, **parameters: object) -> Sequence[Row]:
        return self._run(statement, tenant=self._tenant_id, **parameters).all()

    def _slug(self, page_id: str | None) -> str:
        """Empty for none, and for one that is deleted."""
        return self._slugs.get(page_id or "", "")

    def _item(self, row: Row, items: list[ArchivedNavigationItem]) -> ArchivedNavigationItem:
        return ArchivedNavigationItem(
            page=self._slug(row["page_id"]), items=items, **_without(row, "id", "parent_id", "page_id")
        )

    def _page(self, row: Row) -> ArchivedPage:
        page = ArchivedPage(
            slug=row["slug"],
            parent=self._slug(row["parent_id"]),
            original=self._slug(row["original_id"]),
            locale=row["locale"],
            is_published=row["status"] == Page.STATUS_PUBLISHED,
            draft=_content(row["draft"]),
        )
        if page.is_published and row["published"] is not None:
            published = _content(row["published"])
            if published != page.draft:
                page.published.CopyFrom(published)
        for name in ("scheduled_publish_time", "scheduled_unpublish_time"):
            if row[name] is not None:
                getattr(page, name).FromDatetime(row[name])
        return page


def _behind_their_parents(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows in their order, but each behind its parent. Applied to what it has yielded, it changes nothing."""
    by_id = {row["id"]: row for row in rows}
    seen: set[str] = set()
    for row in rows:
        line = [row]
        while (parent := by_id.get(line[-1]["parent_id"] or "")) is not None and parent["id"] not in seen:
            line.append(parent)
        for each in reversed(line):
            if each["id"] not in seen:
                seen.add(each["id"])
                yield each


def _content(said: Mapping[str, object]) -> ArchivedContent:
    """The content of a draft or a version. Empty SEO metadata is left out."""
    content = _parsed(said, ArchivedContent())
    if not content.seo.ByteSize():
        content.ClearField("seo")
    return content


def _parsed(said: Mapping[str, object], message: M) -> M:
    known = {name: value for name, value in said.items() if value is not None}
    return json_format.ParseDict(known, message, ignore_unknown_fields=True)


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
