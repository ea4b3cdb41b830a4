"""Rows of which every user of a tenant has exactly one, such as preferences. Their id is that of the user.

A row is stored at its first change. Until then it reads as what `prepare` makes of an empty one, with version 0 in its
ETag, so that two first changes cannot overwrite each other.
"""

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
from server.kernel.resources.reach import EVERYTHING
from server.kernel.resources.resource import Hooks, M, Resource
from server.kernel.resources.rows import ResourceRows, check_etag

USER_TYPE = "plinth.dev/User"
MEMBER_KEY = {"memberships.tenant_id", "memberships.user_id"}


class OnePerUserRows(ResourceRows[M]):
    """The rows of `Resource(singleton=True, owner=...)`. Requests name no id; they may name a user as the owner."""

    def __init__(self, hooks: Hooks[M], resource: Resource[M], clock: Clock = utc_now) -> None:
        super().__init__(hooks, resource, clock)
        self._owners = Ownership(resource)

    def get(self, call: Call, resource_id: str = "", request: Message | None = None) -> M:
        """The row of the user whom the request names, or else of the caller. Raises Denied.

        Raises NotFound for a user who is not a member of the tenant, if the table refers to memberships.
        """
        del resource_id
        user_id = self._user_of(call, request)
        result = call.reads.run(self._get.to(EVERYTHING), **self._key(call, user_id))
        if result.returned:
            return self._present(call, self.plan.message(result.raw(0)))
        if self._members is not None and not call.reads.run(self._members, **self._key(call, user_id)).returned:
            raise not_found(USER_TYPE, user_id)
        return self._present(call, self._unset(call, user_id))

    def lock(
        self,
        call: Call,
        resource_id: str = "",
        *,
        etag: str = "",
        deleted: bool = False,
        request: Message | None = None,
    ) -> M:
        """The same row, locked until the call ends. It is stored if it was not. Raises Denied, EtagMismatch.

        Raises NotFound for a user who is not a member of the tenant, if the table refers to memberships.
        """
        del resource_id, deleted
        user_id = self._user_of(call, request)
        key = self._key(call, user_id)
        result = call.writes.run(self._lock.to(EVERYTHING), **key)
        if not result.returned:
            self._store_unset(call, user_id)
            result = call.writes.run(self._lock.to(EVERYTHING), **key)
        message = self.plan.message(result.raw(0))
        check_etag(call, message, etag)
        self._note_owner(call, message)
        return message

    def _compile(self) -> None:
        super()._compile()
        table = self.resource.table
        refers = any(_is_of_member(key) for key in table.foreign_key_constraints)
        self._members = Statement(self._is_member) if refers else None
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

    def _user_of(self, call: Call, request: Message | None) -> str:
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

    def _is_member(self) -> AnySelect:
        """Whether a user is a member of the tenant, where the table refers to memberships."""
        members = next(key.referred_table for key in self.resource.table.foreign_key_constraints if _is_of_member(key))
        return select(members.c.user_id).where(
            members.c.tenant_id == bindparam("key_tenant_id", type_=UUID(as_uuid=False)),
            members.c.user_id == bindparam("key_id", type_=UUID(as_uuid=False)),
        )

    def _unset(self, call: Call, user_id: str) -> M:
        """What it is before its first change."""
        message = self.resource.message()
        setattr(message, self.resource.owner, user_id)
        self.hooks.prepare(call, message, None)
        setattr(message, ID, user_id)
        setattr(message, ETAG, etag_of(user_id, 0))
        return message

    def _store_unset(self, call: Call, user_id: str) -> None:
        values = self._writable(call, self._unset(call, user_id), None).columns
        try:
            call.writes.run(self._insert_unset, **values, tenant_id=call.tenant_id, version=0)
        except psycopg.errors.ForeignKeyViolation as error:
            raise not_found(USER_TYPE, user_id) from error


def _is_of_member(key: ForeignKeyConstraint) -> bool:
    return {element.target_fullname for element in key.elements} == MEMBER_KEY
