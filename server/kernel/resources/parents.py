"""Parents: a resource that belongs to another one, such as a section to its page.

A new child needs a parent that the caller reaches and that is not deleted. The parent's row is locked until the call
ends, so that it cannot be deleted meanwhile.
"""

from sqlalchemy import ColumnElement, bindparam, select, true

from server.data.clauses import AnySelect
from server.data.connections import Result
from server.data.statements import Row, Statement
from server.kernel.call import Call
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.problems import NotFound, not_found
from server.kernel.resources.ownership import Ownership
from server.kernel.resources.reach import Reach, Reaching, is_seen
from server.kernel.resources.resource import Parent


class ParentRows:
    """The rows of the parents of one resource."""

    def __init__(self, parent: Parent) -> None:
        resource = parent.resource
        self.field = parent.field
        self.type = resource_type_of(resource.message)
        self._resource = resource
        self.ownership = Ownership(resource) if resource.owner else None
        self.is_open = parent.is_open
        self.is_shown = resource.shown is not None
        """Whether a parent is shown to everyone in part, so that what belongs to it is seen only with it."""
        self._found = Reaching(self._select)
        # Sharing keeps the parent from being deleted; excluding makes siblings take their turns as well.
        self._shared = Reaching(lambda reach: self._select(reach).with_for_update(read=True))
        self._excluding = Reaching(lambda reach: self._select(reach).with_for_update(key_share=True))

    def check(self, call: Call, parent_id: str) -> None:
        """Raise the parent's NotFound if the caller reaches no such parent, or it is deleted."""
        reach, parameters = self._reach(call, parent_id, sees=True)
        self.expect(call.reads.run(self._found.to(reach), **parameters), parent_id)

    def locking(self, call: Call, parent_id: str, *, excluding: bool) -> tuple[Statement, Row]:
        """The statement that locks a parent, with its parameters. `excluding`: other calls that ask so wait for it."""
        reach, parameters = self._reach(call, parent_id, sees=self.is_open)
        return (self._excluding if excluding else self._shared).to(reach), parameters

    def expect(self, result: Result, parent_id: str) -> Row:
        """The `id` and `owner` of the parent that was found. Raises the parent's NotFound."""
        row = result.first()
        if row is None:
            raise self.absent(parent_id)
        return row

    def absent(self, parent_id: str) -> NotFound:
        """The problem of a parent that is not there."""
        return not_found(self.type, parent_id)

    def owner_seen(self, call: Call) -> str | None:
        """The user who sees their own parents beside those that are shown; None for who sees all, empty for nobody."""
        if self.ownership is not None:
            return self.ownership.owner_seen(call)
        return None if call.access is not None and self._resource.seen_by in call.access.permissions else ""

    def _reach(self, call: Call, parent_id: str, *, sees: bool) -> tuple[Reach, Row]:
        """`sees`: also what the caller sees and may not change, because somebody else owns it."""
        parameters: Row = {"tenant": call.tenant_id, "parent_id": parent_id}
        if self.is_shown and (sees or self.ownership is None):
            owner = self.owner_seen(call)
            reach = Reach(own=bool(owner), shown=owner is not None)
        else:
            owner = self.ownership.owner_reached(call) if self.ownership else None
            reach = Reach(own=owner is not None)
        return reach, parameters | ({"owner_id": owner} if reach.own else {})

    def _select(self, reach: Reach) -> AnySelect:
        table, resource = self._resource.table, self._resource
        owner = table.c[resource.owner] if resource.owner else table.c.id
        conditions: list[ColumnElement[bool]] = [
            table.c.tenant_id == bindparam("tenant", type_=table.c.tenant_id.type),
            table.c.id == bindparam("parent_id", type_=table.c.id.type),
            true() if resource.where is None else resource.where,
        ]
        if resource.soft_deletes:
            conditions.append(table.c.delete_time.is_(None))
        conditions.append(is_seen(resource, "owner_id", own=reach.own, shown=reach.shown))
        return select(table.c.id, owner.label("owner")).where(*conditions)
