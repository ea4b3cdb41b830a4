"""Slugs that pages had before: each leaves a redirect, by which the page is still found."""

from sqlalchemy import ColumnElement, Text, bindparam, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.clauses import AnyColumn
from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.sites.tables import pages, redirects
from server.kernel.ids import new_id

_id = UUID(as_uuid=False)
_r = redirects.c
_left = insert(redirects).values(
    tenant_id=bindparam("tenant", type_=_id),
    id=bindparam("new", type_=_id),
    path=bindparam("path", type_=Text()),
    page_id=bindparam("page", type_=_id),
)
LEAVE = Statement(
    _left.on_conflict_do_update(
        index_elements=[_r.tenant_id, _r.path],
        set_={
            "page_id": _left.excluded.page_id,
            "url": literal_column("''"),
            "is_temporary": literal_column("false"),
            "version": _r.version + text("1"),
            "update_time": func.now(),
        },
    )
)
"""Takes `tenant`, `new`, `path` and `page`."""


def by_former_slug(columns: tuple[AnyColumn, ...]) -> Statement:
    """The statement for the page that had a slug. It takes `tenant` and `slug_asked`."""
    path: ColumnElement[str] = literal_column("'/'") + bindparam("slug_asked", type_=Text())
    return Statement(
        select(*columns)
        .join(redirects, (_r.tenant_id == pages.c.tenant_id) & (_r.page_id == pages.c.id))
        .where(_r.tenant_id == bindparam("tenant", type_=_id), _r.path == path, pages.c.delete_time.is_(None))
    )


def leave_redirect(transaction: WriteTransaction, tenant_id: str | None, slug: str, page_id: str) -> None:
    """Let a slug that a page had lead to it."""
    transaction.queue(LEAVE, tenant=tenant_id, new=new_id(), path=f"/{slug}", page=page_id)
