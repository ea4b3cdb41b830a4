"""Cascade: what belongs to a resource is deleted with it, and restored with it.

Deletion gives them the same `delete_time`, by which restoring leaves out what was deleted before. Their events are that
of the parent: a consumer that keeps sections of a page drops them at `page.deleted`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Self

from sqlalchemy import ColumnElement, Table, Update, any_, bindparam, func, null, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.clauses import AnySelect
from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.resources.resource import AnyResource

TENANT = "{tenant_id}"


class CascadeFault(Exception):
    """A child could stay when its parent is deleted, and the server must not start."""


class Descendants:
    """All that belongs to the rows of one resource, directly or through others."""

    def __init__(self, resource: AnyResource, resources: Iterable[AnyResource]) -> None:
        """`resources` are all that there are. Raises CascadeFault for a child that could not be restored."""
        found = list(_below(resource, tuple(resources)))
        self.resources = [child for child, _ in found]
        self._tags: tuple[str, ...] = ()
        self._statements = [
            (Statement(_deleting(child.table, condition)), Statement(_restoring(child.table, condition)))
            for child, condition in found
        ]

    def with_tags(self, tags: Iterable[str]) -> Self:
        """Let it invalidate what is cached under these tags.

        Raises CascadeFault for a tag that names more than the tenant, and would not be known here.
        """
        self._tags = tuple(sorted(tags))
        for tag in self._tags:
            if "{" in tag.replace(TENANT, ""):
                raise CascadeFault(f"the tag `{tag}` of what belongs to another resource names more than the tenant")
        return self

    def delete(self, call: Call, ids: Sequence[str]) -> None:
        """Delete what belongs to resources that the call deletes."""
        for deleting, _ in self._statements:
            call.writes.queue(deleting, tenant=call.tenant_id, ids=list(ids))
        self._invalidate(call)

    def restore(self, call: Call, resource_id: str, moment: datetime) -> None:
        """Restore what was deleted with a resource at this moment."""
        for _, restoring in self._statements:
            call.writes.queue(restoring, tenant=call.tenant_id, ids=[resource_id], moment=moment)
        self._invalidate(call)

    def _invalidate(self, call: Call) -> None:
        for tag in self._tags:
            call.invalidate(tag.replace(TENANT, call.tenant_id or ""))


def _below(
    resource: AnyResource, resources: Sequence[AnyResource], ids: AnySelect | None = None
) -> Iterator[tuple[AnyResource, ColumnElement[bool]]]:
    """Each descendant, with the condition for those that belong to the parameter `ids`."""
    for child in resources:
        if child.parent is None or child.parent.resource is not resource or not resource.soft_deletes:
            continue
        if child.singleton:
            # It is out of reach as long as its parent is.
            continue
        if not child.soft_deletes:
            raise CascadeFault(f"{child.table.name} is not deleted softly, and {resource.table.name}, its parent, is")
        table, parent_id = child.table, child.table.c[child.parent.field]
        in_tenant = table.c.tenant_id == bindparam("tenant", type_=table.c.tenant_id.type)
        named = bindparam("ids", type_=ARRAY(UUID(as_uuid=False)))
        condition = in_tenant & (parent_id == any_(named) if ids is None else parent_id.in_(ids))
        yield child, condition
        yield from _below(child, resources, select(table.c.id).where(condition))


def _touching(table: Table) -> Update:
    return update(table).values(version=table.c.version + text("1"), update_time=func.now())


def _deleting(table: Table, condition: ColumnElement[bool]) -> Update:
    return _touching(table).where(condition, table.c.delete_time.is_(None)).values(delete_time=func.now())


def _restoring(table: Table, condition: ColumnElement[bool]) -> Update:
    moment = bindparam("moment", type_=table.c.delete_time.type)
    return _touching(table).where(condition, table.c.delete_time == moment).values(delete_time=null())
