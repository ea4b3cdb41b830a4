"""What is published of a site: pages by their paths, with what is shown beside them."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, cast

from plinth.sites.v1.page_pb2 import Page
from sqlalchemy import Text, and_, any_, bindparam, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Row, Statement
from server.data.transactions import Transaction
from server.domains.sites.drafts import DRAFT, Draft
from server.domains.sites.page_paths import HOME, fill_paths
from server.domains.sites.tables import navigation_items, page_seo, page_versions, pages, redirects, site_seo
from server.json_values import JsonObject, JsonValue

MOST_LISTED = 10_000
MOST_TRANSLATIONS = 100
MOST_ITEMS = 500
_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
_p, _v, _r, _n = pages.c, page_versions.c, redirects.c, navigation_items.c
_is_public = (
    _p.tenant_id == _tenant,
    _p.delete_time.is_(None),
    _p.status == literal_column(str(int(Page.STATUS_PUBLISHED))),
)
_of_page = and_(_v.tenant_id == _p.tenant_id, _v.page_id == _p.id, _v.number == _p.version_number)
_placed = (_p.id, _p.slug, _p.parent_id, _p.locale)
PAGE = Statement(
    select(*_placed, _p.original_id, _p.publish_time, _v.content)
    .select_from(pages.outerjoin(page_versions, _of_page))
    .where(*_is_public, _p.slug == bindparam("slug", type_=Text()))
)
"""Takes `tenant` and `slug`. A page with what its version says; null for one from before there were versions."""
REDIRECT = Statement(
    select(_r.path, _r.url, _r.is_temporary, _r.page_id, *_placed)
    .select_from(redirects.outerjoin(pages, and_(_p.tenant_id == _r.tenant_id, _p.id == _r.page_id, *_is_public[1:])))
    .where(_r.tenant_id == _tenant, _r.path == any_(bindparam("paths", type_=ARRAY(Text()))))
)
"""Takes `tenant` and `paths`. Redirects of these addresses, with the pages that they lead to."""
_original = bindparam("original", type_=_id)
TRANSLATIONS = Statement(
    select(*_placed)
    .where(*_is_public, or_(_p.id == _original, _p.original_id == _original))
    .order_by(_p.locale, _p.id)
    .limit(MOST_TRANSLATIONS)
)
"""Takes `tenant` and `original`. A page and its translations."""
ITEMS = Statement(
    select(_n.id, _n.title, _n.url, _n.open_in_new_tab, _n.parent_id.label("above"), _n.page_id, *_placed[1:])
    .select_from(
        navigation_items.outerjoin(pages, and_(_p.tenant_id == _n.tenant_id, _p.id == _n.page_id, *_is_public[1:]))
    )
    .where(_n.tenant_id == _tenant, _n.hidden.is_(False))
    .order_by(_n.place, _n.id)
    .limit(MOST_ITEMS)
)
"""Takes `tenant`. The items of the navigation that are shown, with the pages that they lead to."""
SEO = Statement(
    select(site_seo.c.site_name, site_seo.c.social_image_url, site_seo.c.no_index).where(
        site_seo.c.tenant_id == _tenant
    )
)
"""Takes `tenant`."""
LISTED = Statement(
    select(*_placed, _p.publish_time)
    .select_from(pages.outerjoin(page_seo, and_(page_seo.c.tenant_id == _p.tenant_id, page_seo.c.id == _p.id)))
    .where(*_is_public, func.coalesce(page_seo.c.no_index, literal_column("false")).is_(False))
    .order_by(_p.create_time, _p.id)
    .limit(MOST_LISTED)
)
"""Takes `tenant`. The pages that search engines may list."""


class Published(NamedTuple):
    """A page that is published."""

    id: str
    path: str
    locale: str
    original_id: str
    publish_time: datetime
    draft: Draft


class Moved(NamedTuple):
    """An address that leads to another one."""

    url: str
    is_temporary: bool


def find_page(transaction: Transaction, tenant_id: str, path: str) -> Published | Moved | None:
    """What is at a path: a page, an address that leads elsewhere, or nothing."""
    path = f"/{path.strip('/')}"
    slug = path.rpartition("/")[2] or HOME
    row = transaction.run(PAGE, tenant=tenant_id, slug=slug).first()
    if row is None:
        return _moved(transaction, tenant_id, path, slug)
    [own] = paths_of(transaction, tenant_id, [row]).values()
    if own != path:
        return Moved(own, is_temporary=False)
    content = row["content"]
    if content is None:
        content = transaction.run(DRAFT, tenant=tenant_id, page=row["id"]).value()
    return Published(row["id"], own, row["locale"], row["original_id"] or row["id"], row["publish_time"], content)


def translations_of(transaction: Transaction, tenant_id: str, page: Published) -> list[tuple[str, str]]:
    """The locale and path of a page and its translations, if there are any with a locale."""
    found = transaction.run(TRANSLATIONS, tenant=tenant_id, original=page.original_id).all()
    paths = paths_of(transaction, tenant_id, found)
    named = [(row["locale"], paths[row["id"]]) for row in found if row["locale"]]
    return named if len(found) > 1 else []


def navigation_of(transaction: Transaction, tenant_id: str) -> list[JsonObject]:
    """The items at the top, each with those below it, but for those that lead to pages that are not published."""
    rows = transaction.run(ITEMS, tenant=tenant_id).all()
    placed = {row["page_id"]: row | {"id": row["page_id"]} for row in rows if row["slug"] is not None}
    paths = paths_of(transaction, tenant_id, list(placed.values()))
    below: dict[str | None, list[JsonValue]] = defaultdict(list)
    for row in rows:
        if row["page_id"] is None or row["page_id"] in paths:
            item: JsonObject = {
                "title": row["title"],
                "url": paths.get(row["page_id"], row["url"]),
                "open_in_new_tab": row["open_in_new_tab"],
                "below": below[row["id"]],
            }
            below[row["above"]].append(item)
    return cast("list[JsonObject]", below[None])


def site_settings(transaction: Transaction, tenant_id: str) -> Row:
    """The SEO settings of a site: `site_name`, `social_image_url` and `no_index`."""
    unset: Row = {"site_name": "", "social_image_url": "", "no_index": False}
    return transaction.run(SEO, tenant=tenant_id).first() or unset


def listed_pages(transaction: Transaction, tenant_id: str) -> list[tuple[str, datetime]]:
    """The path and the time of publishing of the pages that search engines may list."""
    found = transaction.run(LISTED, tenant=tenant_id).all()
    paths = paths_of(transaction, tenant_id, found)
    return [(paths[row["id"]], cast("datetime", row["publish_time"])) for row in found]


def paths_of(transaction: Transaction, tenant_id: str, rows: list[Row]) -> Mapping[str, str]:
    """The paths of pages, by id."""
    shown = [Page(id=row["id"], slug=row["slug"], parent_id=row["parent_id"] or "") for row in rows]
    fill_paths(transaction, tenant_id, shown)
    return {page.id: page.path for page in shown}


def _moved(transaction: Transaction, tenant_id: str, path: str, slug: str) -> Moved | None:
    """Where a redirect leads: one of the whole path before one of its last part, which a page may have had as slug."""
    rows = transaction.run(REDIRECT, tenant=tenant_id, paths=[path, f"/{slug}"]).all()
    for row in sorted(rows, key=lambda row: row["path"] != path):
        url = row["url"] or "/"
        if row["page_id"] is not None:
            # Empty, where the page is not published.
            url = next(iter(paths_of(transaction, tenant_id, [row] if row["id"] else []).values()), "")
        if url not in {"", path}:
            return Moved(url, row["is_temporary"])
    return None
