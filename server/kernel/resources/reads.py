"""Reading the rows of one resource: one, several by id, and the conditions of lists.

Rows that are only read, such as those of a log, need neither the columns nor the fields of a resource that is written.
"""

from collections.abc import Sequence
from typing import Generic, Protocol

from google.api import resource_pb2
from google.protobuf.message import Message
from sqlalchemy import ColumnElement, and_, any_, bindparam, select, true
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from typing_extensions import TypeVar

from server.data.clauses import AnyColumn, AnyExpression, AnySelect
from server.data.connections import Result
from server.data.statements import Row, Statement, uuid_text
from server.kernel.call import Call
from server.kernel.messages.sizes import fitting
from server.kernel.problems import not_found
from server.kernel.resources.codecs import Raw
from server.kernel.resources.convert import ConversionPlan
from server.kernel.resources.resource import AnyHooks, M, Resource

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
        self.type: str = resource.message.DESCRIPTOR.GetOptions().Extensions[resource_pb2.resource].type
        self._within = within
        self._has_tenant = "tenant_id" in resource.table.c and not across_tenants
        names = [column.name for column in self.plan.columns]
        self._id_place = 0 if resource.singleton else names.index("id")
        self._get = Statement(lambda: self._alive(self._is_one()))
        self._batch_get = Statement(lambda: self._alive(_is_one_of(resource.table.c.id)))

    def get(self, call: Call, resource_id: str = "", request: Message | None = None) -> M:
        """A row that is not deleted. Raises NotFound. With `within`, the request is needed."""
        result = call.reads.run(self._get, **self._key_id(resource_id), **self.scope(call, request))
        if not result.returned:
            raise not_found(self.type, resource_id)
        return self._present(call, self.plan.message(result.raw(0)))

    def find(self, call: Call, statement: Statement, **parameters: object) -> M | None:
        """The row that a custom statement selects (its columns are `plan.columns`), or None."""
        result = call.reads.run(statement, **parameters, **self._visible(call))
        return self._present(call, self.plan.message(result.raw(0))) if result.returned else None

    def batch_get(self, call: Call, ids: list[str]) -> list[M]:
        """The rows with these ids, in this order: as many from the front as fit into one answer, at least one.

        Raises NotFound, which names the first absent id.
        """
        # Equality of UUIDs ignores case, and PostgreSQL returns lower case.
        ids = [resource_id.lower() for resource_id in ids]
        result = call.reads.run(self._batch_get, ids=ids, **self.scope(call))
        rows = [result.raw(row) for row in range(result.returned)]
        found = {uuid_text(row[self._id_place] or b""): row for row in rows}
        missing = [resource_id for resource_id in ids if resource_id not in found]
        if missing:
            raise not_found(self.type, missing[0])
        messages = fitting(self.plan.message(found[resource_id]) for resource_id in ids)
        self.hooks.present(call, messages)
        return messages

    # What statements need ------------------------------------------------------------------------------------------

    def _alive(self, condition: ColumnElement[bool]) -> AnySelect:
        return select(*self.plan.columns).where(self.in_scope(), condition, *self._is_alive())

    def in_tenant(self) -> ColumnElement[bool]:
        """The condition that a row belongs to the call's tenant, the parameter `key_tenant_id`."""
        if not self._has_tenant:
            return true()
        return self.resource.table.c.tenant_id == bindparam("key_tenant_id", type_=UUID(as_uuid=False))

    def in_scope(self) -> ColumnElement[bool]:
        """The condition that a call may see a row: of its tenant, within the parents it names, visible to it."""
        columns = [self.resource.table.c[name] for name in self._within]
        named = [column == bindparam(f"within_{column.name}", type_=column.type) for column in columns]
        visible = true() if self.resource.visible is None else self.resource.visible
        return and_(self.in_tenant(), *named, visible)

    def scope(self, call: Call, request: Message | None = None) -> Row:
        """The parameters of `in_scope`. With `within`, the request is needed."""
        tenant = {"key_tenant_id": call.tenant_id} if self._has_tenant else {}
        return tenant | self.within(request) | self._visible(call)

    def within(self, request: Message | None) -> dict[str, str]:
        """The parents that a request names."""
        return {f"within_{name}": getattr(request, name) for name in self._within}

    def _is_one(self) -> ColumnElement[bool]:
        if self.resource.singleton:
            return true()
        is_one: ColumnElement[bool] = self.resource.table.c.id == bindparam("key_id", type_=UUID(as_uuid=False))
        return is_one

    def _is_alive(self) -> list[ColumnElement[bool]]:
        return [self.resource.table.c.delete_time.is_(None)] if self.resource.soft_deletes else []

    def _key_id(self, resource_id: str) -> dict[str, str]:
        return {} if self.resource.singleton else {"key_id": resource_id}

    def _visible(self, call: Call) -> Row:
        return {} if self.resource.visible is None else self.hooks.visible_parameters(call)

    def _present(self, call: Call, message: M) -> M:
        self.hooks.present(call, [message])
        return message


def _is_one_of(column: AnyExpression) -> ColumnElement[bool]:
    return column == any_(bindparam("ids", type_=ARRAY(UUID(as_uuid=False))))
