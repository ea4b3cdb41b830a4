"""Rows of which every user of a tenant has exactly one, such as preferences. Their id is that of the user.

A row is stored at its first change. Until then it reads as what `prepare` makes of an empty one, with version 0 in its
ETag, so that two first changes cannot overwrite each other.
"""

import psycopg
from google.protobuf.message import Message
from sqlalchemy import bindparam, func
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.messages.etags import etag_of
from server.kernel.problems import not_found
from server.kernel.resources.convert import ETAG, ID, VERSION
from server.kernel.resources.ownership import Ownership
from server.kernel.resources.reach import EVERYTHING
from server.kernel.resources.resource import Hooks, M, Resource
from server.kernel.resources.rows import ResourceRows, check_etag

USER_TYPE = "plinth.dev/User"


class OnePerUserRows(ResourceRows[M]):
    """The rows of `Resource(singleton=True, owner=...)`. Requests name no id; they may name a user as the owner."""

    def __init__(self, hooks: Hooks[M], resource: Resource[M], clock: Clock = utc_now) -> None:
        super().__init__(hooks, resource, clock)
        self._owners = Ownership(resource)

    def get(self, call: Call, resource_id: str = "", request: Message | None = None) -> M:
        """The row of the user whom the request names, or else of the caller. Raises Denied."""
        del resource_id
        user_id = self._user_of(call, request)
        result = call.reads.run(self._get.to(EVERYTHING), **self._key(call, user_id))
        found = self.plan.message(result.raw(0)) if result.returned else self._unset(call, user_id)
        return self._present(call, found)

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
        named = self._owners.owner_listed(call, request) if request is not None else None
        return named or self._owners.owner_of_new(call)

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
