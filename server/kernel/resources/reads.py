"""Reading the rows of one resource: one, several by id, and the conditions of lists.

Rows that are only read, such as those of a log, need neither the columns nor the fields of a resource that is written.
"""

from collections.abc import Sequence
from typing import Generic, Protocol

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, and_, any_, bindparam, exists, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from typing_extensions import TypeVar

from server.data.clauses import AnyColumn, AnyExpression, AnySelect
from server.data.connections import Result
from server.data.statements import Row, Statement, uuid_text
from server.kernel.call import Call
from server.kernel.messages.fields import value_of
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.messages.sizes import fitting
from server.kernel.problems import NotFound, not_found
from server.kernel.resources.codecs import Raw
from server.kernel.resources.convert import ConversionPlan
from server.kernel.resources.ownership import Ownership
from server.kernel.resources.parents import ParentRows
from server.kernel.resources.reach import EVERYTHING, Reach, Reaching, is_seen
from server.kernel.resources.resource import AnyHooks, M, Parent, Resource

M_co = TypeVar("M_co", bound=Message, covariant=True)


class ReadPlan(Protocol[M_co]):
    """The conversion of rows to messages, for rows that ConversionPlan does not fit."""

    columns: tuple[AnyColumn, ...]
    """The columns that a statement must select, in this order."""

    def message(self, raw: Raw) -> M_co:
        """The message in a row."""

    def messages(self, result: Result) -> Sequence[M_co]:
        """The messages in the rows of a result."""


class ReadRows(Generic[M]):
    """The rows of one resource, for reading."""

    def __init__(
        self,
        hooks: AnyHooks,
        resource: Resource[M],
        plan: ReadPlan[M] | None = None,
        *,
        within: tuple[str, ...] = (),
        across_tenants: bool = False,
    ) -> None:
        """`within` names the columns of parents beside the tenant. Each is a field of every request.

        With `across_tenants`, rows of all tenants are read, as far as row-level security allows.
        """
        self.resource = resource
        self.hooks = hooks
        self.plan: ReadPlan[M] = plan or ConversionPlan(
            resource.message, resource.table, resource.hidden, resource.computed
        )
        self.type = resource_type_of(resource.message)
        self._within = within
        self.ownership = Ownership(resource) if resource.owner else None
        self.parents = ParentRows(resource.parent) if resource.parent else None
        self._has_tenant = "tenant_id" in resource.table.c and not across_tenants
        names = [column.name for column in self.plan.columns]
        self._id_place = 0 if resource.is_one_per_tenant else names.index("id")
        self._get = Reaching(lambda reach: self._alive(reach, self._is_one()))
        self._batch_get = Reaching(lambda reach: self._alive(reach, is_one_of(resource.table.c.id)))

    def owner_of_new(self, call: Call) -> str:
        """The caller, as who owns what the call is about. Raises Denied for an API key, if only people own some."""
        if self.ownership is None:
            raise LookupError(f"{self.type} belongs to nobody")
        return self.ownership.owner_of_new(call)

    def get(self, call: Call, resource_id: str = "", request: Message | None = None) -> M:
        """A row that is not deleted. Raises NotFound: that of the parent, where the request names one that is absent.

        With `within`, the request is needed.
        """
        reach, scope = self.reach(call, request)
        result = call.reads.run(self._get.to(reach), **self._key_id(resource_id), **scope)
        if not result.returned:
            raise self.absent(call, resource_id, request)
        return self._present(call, self.plan.message(result.raw(0)))

    def find(self, call: Call, statement: Statement, **parameters: object) -> M | None:
        """The row that a custom statement selects (its columns are `plan.columns`), or None."""
        result = call.reads.run(statement, **parameters)
        return self._present(call, self.plan.message(result.raw(0))) if result.returned else None

    def batch_get(self, call: Call, ids: list[str], request: Message | None = None) -> list[M]:
        """The rows with these ids, in this order: as many from the front as fit into one answer, at least one.

        Raises NotFound, which names the first absent id.
        """
        # Equality of UUIDs ignores case, and PostgreSQL returns lower case.
        ids = [resource_id.lower() for resource_id in ids]
        reach, scope = self.reach(call, request)
        result = call.reads.run(self._batch_get.to(reach), ids=ids, **scope)
        rows = [result.raw(row) for row in range(result.returned)]
        found = {uuid_text(row[self._id_place] or b""): row for row in rows}
        missing = [resource_id for resource_id in ids if resource_id not in found]
        if missing:
            raise self.absent(call, missing[0], request)
        messages = fitting(self.plan.message(found[resource_id]) for resource_id in ids)
        self.hooks.present(call, messages)
        return messages

    # What statements need ------------------------------------------------------------------------------------------

    def _alive(self, reach: Reach, condition: ColumnElement[bool]) -> AnySelect:
        return select(*self.plan.columns).where(self.in_scope(reach), condition, *self._is_alive())

    def in_tenant(self) -> ColumnElement[bool]:
        """The condition that a row belongs to the call's tenant, the parameter `key_tenant_id`."""
        if not self._has_tenant:
            return true()
        return self.resource.table.c.tenant_id == bindparam("key_tenant_id", type_=UUID(as_uuid=False))

    def in_scope(self, reach: Reach = EVERYTHING) -> ColumnElement[bool]:
        """The condition that a call may see a row: of its tenant, within the parents it names, and within its reach."""
        resource, columns = self.resource, self.resource.table.c
        named = {f"within_{name}": columns[name] for name in self._within}
        if reach.of:
            named["of_id"] = columns[resource.owner]
        if reach.inside and resource.parent is not None:
            named["parent_id"] = columns[resource.parent.field]
        conditions = [column == bindparam(name, type_=column.type) for name, column in named.items()]
        return and_(
            self.in_tenant(), *conditions, self._is_seen(reach), true() if resource.where is None else resource.where
        )

    def _is_seen(self, reach: Reach) -> ColumnElement[bool]:
        """The condition that a row, and the parent that it belongs to, are shown to everyone, or the caller's own.

        The owner of an open parent sees what others added to it in every state, and changes none of it.
        """
        seen, parent = is_seen(self.resource, "owner_id", own=reach.own, shown=reach.shown), self.resource.parent
        if parent is None or not reach.above_shown:
            return seen
        if parent.is_open and reach.above_own and reach.shown:
            added = and_(seen, self._has_parent(parent, reach, own=False, shown=True))
            return or_(added, self._has_parent(parent, reach, own=True, shown=False))
        return and_(seen, self._has_parent(parent, reach, own=reach.above_own, shown=True))

    def _has_parent(self, parent: Parent, reach: Reach, *, own: bool, shown: bool) -> ColumnElement[bool]:
        """The condition that there is a parent of this kind: of the request, if it names one, else of the row."""
        above, named = parent.resource, self.resource.table.c[parent.field]
        return exists().where(
            above.table.c.tenant_id == bindparam("key_tenant_id", type_=above.table.c.tenant_id.type),
            above.table.c.id == (bindparam("parent_id", type_=named.type) if reach.inside else named),
            is_seen(above, "above_id", own=own, shown=shown),
        )

    def reach(self, call: Call, request: Message | None = None) -> tuple[Reach, Row]:
        """What a call sees, with the parameters of `in_scope`. With `within`, the request is needed.

        Raises Denied for an API key, which owns nothing, without the permission that shows what users own.
        """
        return self._reach(call, request, self.ownership.owner_seen(call) if self.ownership else None)

    def reach_of_change(self, call: Call, request: Message | None = None) -> tuple[Reach, Row]:
        """The same of what a call may change: of what has an owner, the caller's own, though others may be shown."""
        if self.ownership is None or self.resource.shown is None:
            return self.reach(call, request)
        reach, scope = self._reach(call, request, self.ownership.owner_reached(call))
        return reach._replace(shown=False), scope

    def reach_of_list(self, call: Call, request: Message) -> tuple[Reach, Row]:
        """The same for a list, which shows the caller's own unless its request names another user, or everyone."""
        reach, scope = self._reach(
            call, request, self.ownership.owner_listed(call, request) if self.ownership else None
        )
        named = self.ownership.owner_named(request) if self.ownership else ""
        return (reach._replace(of=True), scope | {"of_id": named}) if named else (reach, scope)

    def _reach(self, call: Call, request: Message | None, owner: str | None) -> tuple[Reach, Row]:
        """`owner` is the user who reaches their own; None for who reaches everything, empty for who owns nothing."""
        scope: Row = {"key_tenant_id": call.tenant_id} if self._has_tenant else {}
        scope |= self.within(request)
        parent_id = self.parent_in(request)
        reach = Reach(bool(owner), bool(parent_id), self.resource.shown is not None and not self.sees_all(call))
        if reach.own:
            scope["owner_id"] = owner
        if reach.inside:
            scope["parent_id"] = parent_id
        return self._below(call, reach, scope)

    def _below(self, call: Call, reach: Reach, scope: Row) -> tuple[Reach, Row]:
        """The same for what belongs to a parent that is shown to everyone in part."""
        parents = self.parents
        if parents is None or not parents.is_shown:
            return reach, scope
        owner = parents.owner_seen(call)
        if owner is None:
            return reach, scope
        above = {"above_id": owner} if owner else {}
        return reach._replace(above_own=bool(owner), above_shown=True), scope | above

    def sees_all(self, call: Call) -> bool:
        """Whether the caller holds the permission that shows what is not for everyone."""
        return call.access is not None and self.resource.seen_by in call.access.permissions

    def parent_in(self, request: Message | None) -> str:
        """The id of the parent that a request names; empty if it names none."""
        if self.parents is None or request is None or self.parents.field not in request.DESCRIPTOR.fields_by_name:
            return ""
        return str(value_of(request, self.parents.field))

    @property
    def naming(self) -> tuple[str, ...]:
        """The fields in which a request names a parent or an owner."""
        own = () if self.ownership is None else (self.ownership.field,)
        return (*self._within, *own, *(() if self.parents is None else (self.parents.field,)))

    def check_parent(self, call: Call, request: Message) -> None:
        """Raise the parent's NotFound if the parent that a request names is not there."""
        if self.parents is not None:
            self.parents.check(call, self.parent_in(request))

    def absent(self, call: Call, resource_id: str, request: Message | None = None) -> NotFound:
        """The problem of a row that is not there. Raises the parent's, if the named parent is not there either."""
        parent_id = self.parent_in(request)
        if self.parents is not None and parent_id:
            self.parents.check(call, parent_id)
        return not_found(self.type, resource_id)

    def within(self, request: Message | None) -> dict[str, str]:
        """The parents that a request names."""
        return {f"within_{name}": getattr(request, name) for name in self._within}

    def _is_one(self) -> ColumnElement[bool]:
        if self.resource.is_one_per_tenant:
            return true()
        is_one: ColumnElement[bool] = self.resource.table.c.id == bindparam("key_id", type_=UUID(as_uuid=False))
        return is_one

    def _is_alive(self) -> list[ColumnElement[bool]]:
        return [self.resource.table.c.delete_time.is_(None)] if self.resource.soft_deletes else []

    def _key_id(self, resource_id: str) -> dict[str, str]:
        return {} if self.resource.is_one_per_tenant else {"key_id": resource_id}

    def _present(self, call: Call, message: M) -> M:
        self.hooks.present(call, [message])
        return message


def is_one_of(column: AnyExpression) -> ColumnElement[bool]:
    """The condition that a column is one of the parameter `ids`."""
    return column == any_(bindparam("ids", type_=ARRAY(UUID(as_uuid=False))))
