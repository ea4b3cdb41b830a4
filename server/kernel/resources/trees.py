"""Trees: resources of one type that stand below others, such as the pages of a site.

The one above is there, and none stands below itself, not even when two are moved at once. Deleted ones are counted on
the way, since they may come back.
"""

from collections.abc import Callable
from typing import Generic

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Integer, bindparam, func, literal_column, select

from server.data.clauses import AnySelect
from server.data.locks import LOCK
from server.data.statements import Row, Statement
from server.kernel.call import Call
from server.kernel.messages.fields import value_of
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.resources.resource import M, Resource, Tree


class TreeRows(Generic[M]):
    """The rows of one resource, as a tree."""

    def __init__(
        self, resource: Resource[M], tree: Tree, singular: str, siblings: Callable[[], list[ColumnElement[bool]]]
    ) -> None:
        """`singular` is the name of the resource in requests, `siblings` the conditions for those that it may name."""
        self._resource = resource
        self._tree = tree
        self._path = f"{singular}.{tree.field}"
        self._type = resource_type_of(resource.message)
        self._siblings = siblings
        self._line = Statement(self._select_line)
        self._height = Statement(self._select_height)

    def check(self, call: Call, message: M, before: M | None) -> None:
        """Refuse a place that is not there, below the resource itself, or too deep."""
        above = str(value_of(message, self._tree.field)).lower()
        if not above or (before is not None and above == value_of(before, self._tree.field)):
            return
        moved = None if before is None else str(value_of(before, "id"))
        scope = self._scope(call, message)
        turn = (LOCK, {"name": f"tree {self._resource.table.name} {call.tenant_id}"})
        _, found, height = call.writes.run_all(
            [turn, (self._line, scope | {"above": above}), (self._height, scope | {"top": moved})]
        )
        line = [row["id"] for row in found.all()]
        if not line:
            raise not_found(self._type, above)
        if moved in line:
            raise broken_rules([Violation(self._path, "is itself, or stands below it", "tree.cycle")])
        if len(line) + (height.value() or 1) > self._tree.levels:
            fault = f"would make more than {self._tree.levels} levels"
            raise broken_rules([Violation(self._path, fault, "tree.depth")])

    def _scope(self, call: Call, message: Message) -> Row:
        """The parameters of `siblings`."""
        parent = self._resource.parent
        fields = {"parent_id": parent.field if parent else "", "owner": self._resource.owner}
        return {"tenant": call.tenant_id} | {name: value_of(message, field) for name, field in fields.items() if field}

    def _select_line(self) -> AnySelect:
        """The one above that is asked for, and those above it; none if it is not there. Takes `above` as well."""
        table = self._resource.table
        one = literal_column("1", Integer())
        first = (
            select(table.c.id, table.c[self._tree.field].label("next"), one.label("level"))
            .where(*self._siblings(), table.c.id == bindparam("above", type_=table.c.id.type))
            .cte("line", recursive=True)
        )
        tenant = bindparam("tenant", type_=table.c.tenant_id.type)
        line = first.union_all(
            select(table.c.id, table.c[self._tree.field], first.c.level + one)
            .join(first, table.c.id == first.c.next)
            .where(table.c.tenant_id == tenant, first.c.level <= self._most)
        )
        return select(line.c.id)

    def _select_height(self) -> AnySelect:
        """The levels of the one that is moved with those below it; null without one. Takes `top` as well."""
        table = self._resource.table
        one = literal_column("1", Integer())
        tenant = bindparam("tenant", type_=table.c.tenant_id.type)
        first = (
            select(table.c.id, one.label("level"))
            .where(table.c.tenant_id == tenant, table.c.id == bindparam("top", type_=table.c.id.type))
            .cte("below", recursive=True)
        )
        below = first.union_all(
            select(table.c.id, first.c.level + one)
            .join(first, table.c[self._tree.field] == first.c.id)
            .where(table.c.tenant_id == tenant, first.c.level <= self._most)
        )
        return select(func.max(below.c.level))

    @property
    def _most(self) -> ColumnElement[int]:
        return literal_column(str(self._tree.levels), Integer())
