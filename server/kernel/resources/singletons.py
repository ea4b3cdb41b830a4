"""Rows of which a tenant, every user of a tenant, or every parent has exactly one, such as settings and preferences.

Their id is that of the tenant, the user or the parent. A row is stored at its first change. Until then it reads as what
`prepare` makes of an empty one, with version 0 in its ETag, so that two first changes cannot overwrite each other.
"""

from abc import abstractmethod

import psycopg
from google.protobuf.message import Message
from sqlalchemy import ForeignKeyConstraint, bindparam, func, select
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.clauses import AnySelect
from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.messages.etags import etag_of
from server.kernel.messages.fields import value_of
from server.kernel.problems import not_found
from server.kernel.resources.convert import ETAG, ID, VERSION
from server.kernel.resources.ownership import Ownership
from server.kernel.resources.parents import ParentRows
from server.kernel.resources.reach import EVERYTHING
from server.kernel.resources.resource import Hooks, M, Resource
from server.kernel.resources.rows import ResourceRows, check_etag

USER_TYPE = "plinth.dev/User"
TENANT_TYPE = "plinth.dev/Tenant"
TENANT_ID = "tenant_id"
TENANT_KEY = {"tenants.id"}
MEMBER_KEY = {"memberships.tenant_id", "memberships.user_id"}
_id = UUID(as_uuid=False)


class SingletonRows(ResourceRows[M]):
    """The rows of `Resource(singleton=True)`. Requests name no id."""

    holder_type: str
    """The type of whom a row belongs to."""

    def get(self, call: Call, resource_id: str = "", request: Message | None = None) -> M:
        """The row of the holder whom the request names. Raises Denied.

        Raises NotFound for an absent holder, if the table refers to holders.
        """
        del resource_id
        holder = self._holder(call, request)
        result = call.reads.run(self._get.to(EVERYTHING), **self._key(call, holder))
        if result.returned:
            return self._present(call, self.plan.message(result.raw(0)))
        self._expect_holder(call, holder)
        return self._present(call, self._unset(call, holder))

    def lock(
        self,
        call: Call,
        resource_id: str = "",
        *,
        etag: str = "",
        deleted: bool = False,
        request: Message | None = None,
        header: bool = True,
    ) -> M:
        """The same row, locked until the call ends. It is stored if it was not. Raises Denied, EtagMismatch.

        Raises NotFound for an absent holder, if the table refers to holders.
        """
        del resource_id, deleted
        holder = self._holder(call, request)
        key = self._key(call, holder)
        result = call.writes.run(self._lock.to(EVERYTHING), **key)
        if not result.returned:
            self._store_unset(call, holder)
            result = call.writes.run(self._lock.to(EVERYTHING), **key)
        message = self.plan.message(result.raw(0))
        check_etag(call, message, etag, header=header)
        self.note_readers(call, message)
        return message

    @abstractmethod
    def _holder(self, call: Call, request: Message | None) -> str:
        """Whose row a call is about."""

    @abstractmethod
    def _expect_holder(self, call: Call, holder: str) -> None:
        """Raise NotFound for a holder who is absent."""

    def _name_holder(self, message: M, holder: str) -> None:
        """Write into a message to whom it belongs, beside the id."""

    def _compile(self) -> None:
        super()._compile()
        table = self.resource.table
        names = (*self._writable_names, *self.resource.hidden, "id", "tenant_id", VERSION)
        self._insert_unset = Statement(
            lambda: (
                insert(table)
                .values({name: bindparam(name, type_=table.c[name].type) for name in names})
                .values(create_time=func.now(), update_time=func.now())
                # Of two first changes, the second one waits here for the first.
                .on_conflict_do_nothing()
            )
        )

    def _unset(self, call: Call, holder: str) -> M:
        """What it is before its first change."""
        message = self.resource.message()
        self._name_holder(message, holder)
        self.hooks.prepare(call, message, None)
        setattr(message, ID, holder)
        setattr(message, ETAG, etag_of(holder, 0))
        return message

    def _store_unset(self, call: Call, holder: str) -> None:
        values = self._writable(call, self._unset(call, holder), None).columns
        try:
            call.writes.run(self._insert_unset, **values, tenant_id=call.tenant_id, version=0)
        except psycopg.errors.ForeignKeyViolation as error:
            raise not_found(self.holder_type, holder) from error


class KeyedRows(SingletonRows[M]):
    """Those whose holders are known by a foreign key of the table. A table may lack it."""

    holder_key: set[str]
    """The columns to which it refers. By it, a row ends with its holder."""

    @abstractmethod
    def _is_holder(self, key: ForeignKeyConstraint) -> AnySelect:
        """A row for a holder who exists: `holder`, of the tenant `key_tenant_id`."""

    def _expect_holder(self, call: Call, holder: str) -> None:
        known = {"key_tenant_id": call.tenant_id, "holder": holder}
        if self._holders is not None and not call.reads.run(self._holders, **known).returned:
            raise not_found(self.holder_type, holder)

    def _compile(self) -> None:
        super()._compile()
        keys = [key for key in self.resource.table.foreign_key_constraints if _refers_to(key) == self.holder_key]
        self._holders = Statement(lambda: self._is_holder(keys[0])) if keys else None


class OnePerTenantRows(KeyedRows[M]):
    """The rows of `Resource(singleton=True)`: that of the tenant of the call."""

    holder_type = TENANT_TYPE
    holder_key = TENANT_KEY

    def _holder(self, call: Call, request: Message | None) -> str:
        del request
        return call.tenant_id or ""

    def _is_holder(self, key: ForeignKeyConstraint) -> AnySelect:
        tenants = key.referred_table
        return select(tenants.c.id).where(
            tenants.c.id == bindparam("holder", type_=_id),
            tenants.c.id == bindparam("key_tenant_id", type_=_id),
            tenants.c.delete_time.is_(None),
        )

    def _name_holder(self, message: M, holder: str) -> None:
        setattr(message, TENANT_ID, holder)


class OnePerUserRows(KeyedRows[M]):
    """The rows of `Resource(singleton=True, owner=...)`. Requests may name a user as the owner."""

    holder_type = USER_TYPE
    holder_key = MEMBER_KEY

    def __init__(self, hooks: Hooks[M], resource: Resource[M], clock: Clock = utc_now) -> None:
        super().__init__(hooks, resource, clock)
        self._owners = Ownership(resource)

    def _holder(self, call: Call, request: Message | None) -> str:
        """The user whom a request names, or the caller.

        Raises NotFound for somebody else without the permission, and Denied for an API key without it.
        """
        field = self._owners.field
        is_named = request is not None and field in request.DESCRIPTOR.fields_by_name
        named = str(value_of(request, field)).lower() if request is not None and is_named else ""
        if not named:
            return self._owners.owner_of_new(call)
        if self._owners.owner_reached(call) not in (None, named):
            raise not_found(USER_TYPE, named)
        return named

    def _is_holder(self, key: ForeignKeyConstraint) -> AnySelect:
        members = key.referred_table
        return select(members.c.user_id).where(
            members.c.tenant_id == bindparam("key_tenant_id", type_=_id),
            members.c.user_id == bindparam("holder", type_=_id),
        )

    def _name_holder(self, message: M, holder: str) -> None:
        setattr(message, self.resource.owner, holder)


class OnePerParentRows(SingletonRows[M]):
    """The rows of `Resource(singleton=True, parent=...)`. Requests name the parent.

    A row stays when its parent is deleted softly, and is out of reach until that is restored.
    """

    def __init__(self, hooks: Hooks[M], resource: Resource[M], clock: Clock = utc_now) -> None:
        if resource.parent is None:
            raise TypeError(f"{resource.message.DESCRIPTOR.full_name} has no parent")
        self._holding = ParentRows(resource.parent)
        self.holder_type = self._holding.type
        super().__init__(hooks, resource, clock)

    def get(self, call: Call, resource_id: str = "", request: Message | None = None) -> M:
        """The row of the parent that the request names. Raises the parent's NotFound."""
        self._holding.check(call, self._holder(call, request))
        return super().get(call, resource_id, request)

    def lock(
        self,
        call: Call,
        resource_id: str = "",
        *,
        etag: str = "",
        deleted: bool = False,
        request: Message | None = None,
        header: bool = True,
    ) -> M:
        """The same row, locked with its parent until the call ends. Raises the parent's NotFound, and EtagMismatch."""
        holder = self._holder(call, request)
        statement, parameters = self._holding.locking(call, holder, excluding=False)
        self._holding.expect(call.writes.run(statement, **parameters), holder)
        return super().lock(call, resource_id, etag=etag, deleted=deleted, request=request, header=header)

    def _holder(self, call: Call, request: Message | None) -> str:
        del call
        return str(value_of(request, self._holding.field)).lower() if request is not None else ""

    def _expect_holder(self, call: Call, holder: str) -> None:
        """`get` and `lock` have found it."""

    def _unset(self, call: Call, holder: str) -> M:
        message = super()._unset(call, holder)
        setattr(message, TENANT_ID, call.tenant_id)
        return message

    def _name_holder(self, message: M, holder: str) -> None:
        setattr(message, self._holding.field, holder)


def _refers_to(key: ForeignKeyConstraint) -> set[str]:
    return {element.target_fullname for element in key.elements}
