"""Paths: where pages stand on their site, by the slugs of the pages above them and their own."""

from collections.abc import Collection, Mapping, Sequence

from plinth.sites.v1.page_pb2 import Page
from sqlalchemy import Integer, Text, any_, bindparam, cast, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID, distinct_on

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.sites.tables import pages

LEVELS = 6
HOME = "home"
_id = UUID(as_uuid=False)
_p = pages.c
_tenant = bindparam("tenant", type_=_id)
_alive = (_p.tenant_id == _tenant, _p.delete_time.is_(None))
_one = literal_column("1", Integer())
_first = (
    select(_p.id.label("page_id"), _p.parent_id.label("next"), cast(_p.slug, Text).label("path"), _one.label("level"))
    .where(*_alive, _p.id == any_(bindparam("ids", type_=ARRAY(_id))))
    .cte("line", recursive=True)
)
_line = _first.union_all(
    select(
        _first.c.page_id, _p.parent_id, _p.slug + literal_column("'/'", Text()) + _first.c.path, _first.c.level + _one
    )
    .join(_first, _p.id == _first.c.next)
    .where(*_alive, _first.c.level < literal_column(str(LEVELS), Integer()))
)
PATHS = Statement(
    select(_line.c.page_id, _line.c.path)
    .ext(distinct_on(_line.c.page_id))
    .order_by(_line.c.page_id, _line.c.level.desc())
)
"""Takes `tenant` and `ids`. The slugs of pages that are not deleted and of those above them, joined by slashes."""


def fill_paths(transaction: Transaction, tenant_id: str | None, shown: Collection[Page]) -> None:
    """Set the path of pages, with one statement, or none where all stand at the top."""
    above = sorted({page.parent_id for page in shown if page.parent_id})
    paths = _paths(transaction, tenant_id, above) if above else {}
    for page in shown:
        prefix = paths.get(page.parent_id)
        page.path = f"/{prefix}/{page.slug}" if prefix else top_path(page.slug)


def top_path(slug: str) -> str:
    """The path of a page at the top."""
    return "/" if slug == HOME else f"/{slug}"


def _paths(transaction: Transaction, tenant_id: str | None, ids: Sequence[str]) -> Mapping[str, str]:
    rows = transaction.run(PATHS, tenant=tenant_id, ids=ids).all()
    return {row["page_id"]: row["path"] for row in rows}
