"""The rows of one resource: loading, inserting, updating and deleting them, with the hooks of its service around.

Statements are compiled when the service is composed. Standard methods are made of these; custom methods use them too.
"""

import re
from typing import Any

import psycopg
from google.api import field_behavior_pb2, resource_pb2
from sqlalchemy import (
    ColumnElement,
    Update,
    and_,
    any_,
    bindparam,
    delete,
    func,
    insert,
    null,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.convert import VERSION, ConversionPlan
from server.kernel.etags import lists
from server.kernel.ids import new_id
from server.kernel.problems import EtagMismatch, Problem, StateForbids, Violation, not_found, taken
from server.kernel.resource import Hooks, Resource
from server.kernel.steps.validate import broken_rules

# As json.dumps writes it: behind an even number of backslashes.
NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
KEPT_BY_KERNEL = ("id", "tenant_id", VERSION, "create_time", "update_time", "delete_time")


class ResourceRows:
    """The rows of one resource."""

    def __init__(self, hooks: Hooks, resource: Resource) -> None:
        self.resource = resource
        self.hooks = hooks
        self.plan = ConversionPlan(resource.message, resource.table)
        descriptor = resource.message.DESCRIPTOR
        named = descriptor.GetOptions().Extensions[resource_pb2.resource]
        self.type: str = named.type
        self._field = re.sub(r"(?<!^)(?=[A-Z])", "_", named.singular).lower()
        self.output_only = fields_that_are(descriptor.fields, field_behavior_pb2.OUTPUT_ONLY)
        self.required = fields_that_are(descriptor.fields, field_behavior_pb2.REQUIRED)
        self._compile()

    # What handlers use ---------------------------------------------------------------------------------------------

    def get(self, call: Call, resource_id: str = "") -> Any:
        """One that is not deleted. Raises NotFound."""
        result = call.reads.run(self._get, **self._key(call, resource_id), **self._visible(call))
        if not result.returned:
            raise not_found(self.type, resource_id)
        return self._present(call, self.plan.message(result.raw(0)))

    def find(self, call: Call, statement: Statement, **parameters: Any) -> Any | None:
        """The one that a statement of one's own selects (its columns are `plan.columns`), or None."""
        result = call.reads.run(statement, **parameters, **self._visible(call))
        return self._present(call, self.plan.message(result.raw(0))) if result.returned else None

    def batch_get(self, call: Call, ids: list[str]) -> list[Any]:
        """Those with these ids, in their order. Raises NotFound naming the first that is absent."""
        # UUIDs compare without regard to case, and PostgreSQL answers in lower case.
        ids = [resource_id.lower() for resource_id in ids]
        key = {"key_tenant_id": call.tenant_id} if self._has_tenant else {}
        result = call.reads.run(self._batch_get, ids=ids, **key, **self._visible(call))
        found = {message.id: message for message in self.plan.messages(result)}
        missing = [resource_id for resource_id in ids if resource_id not in found]
        if missing:
            raise not_found(self.type, missing[0])
        messages = [found[resource_id] for resource_id in ids]
        self.hooks.present(call, messages)
        return messages

    def lock(self, call: Call, resource_id: str = "", *, etag: str = "", deleted: bool = False) -> Any:
        """One, locked until the call ends, of the ETag that the caller demands. Raises NotFound, EtagMismatch."""
        statement = self._lock_deleted if deleted else self._lock
        result = call.writes.run(statement, **self._key(call, resource_id), **self._visible(call))
        if not result.returned:
            raise not_found(self.type, resource_id)
        message = self.plan.message(result.raw(0))
        check_etag(call, message, etag)
        return message

    def insert(self, call: Call, message: Any) -> Any:
        """Store a new one, with hooks; answers it as stored. Fields that are output only are not taken from it."""
        for field in self.output_only:
            message.ClearField(field.name)
        self.hooks.prepare(call, message, None)
        self._check_required(message)
        self.hooks.check(call, message, None)
        values = self._writable(call, message, None)
        values["id"] = message.id or new_id()
        if self._has_tenant:
            values["tenant_id"] = call.tenant_id
        return self._written(call, self._insert, values, None)

    def update(self, call: Call, message: Any, before: Any) -> Any:
        """Store a change of one that was locked, with hooks; answers it as stored."""
        self.hooks.prepare(call, message, before)
        self._check_required(message)
        self.hooks.check(call, message, before)
        values = self._writable(call, message, before)
        return self._written(call, self._update, values | self._key(call, before.id), before)

    def delete(self, call: Call, before: Any) -> Any:
        """Delete one that was locked; answers it as it was last."""
        result = call.writes.run(self._delete, **self._key(call, before.id))
        message = self.plan.message(result.raw(0))
        call.note_change(message, None)
        self.hooks.after_write(call, message, before)
        return message

    def undelete(self, call: Call, before: Any) -> Any:
        """Bring one back that was locked as deleted. Raises StateForbids when it is not deleted."""
        if not before.HasField("delete_time"):
            raise StateForbids(
                "It is not deleted.", metadata={"resource_type": self.type, "resource": before.id, "state": "active"}
            )
        return self._written(call, self._undelete, self._key(call, before.id), before)

    def taken(self, error: psycopg.errors.UniqueViolation) -> Problem:
        """The problem of a value that another resource has."""
        field = self.resource.unique.get(error.diag.constraint_name or "")
        return taken(self.type, field) if field else taken(self.type, "id")

    # Statements ----------------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        table, columns = self.resource.table, self.plan.columns
        self._has_tenant = "tenant_id" in table.c
        self._json_names = frozenset(c.name for c in columns if isinstance(c.type, JSONB))
        self._writable_names = tuple(c.name for c in columns if c.name not in KEPT_BY_KERNEL)
        alive = table.c.delete_time.is_(None) if self.resource.soft_deletes else true()
        visible = true() if self.resource.visible is None else self.resource.visible
        own = and_(self._is_key(), visible)
        self._get = Statement(select(*columns).where(own, alive))
        self._lock = Statement(select(*columns).where(own, alive).with_for_update())
        self._lock_deleted = Statement(select(*columns).where(own).with_for_update())
        self._batch_get = Statement(select(*columns).where(self.in_tenant(), _is_one_of(table.c.id), visible, alive))
        names = (*self._writable_names, *self.resource.hidden, "id", *(("tenant_id",) if self._has_tenant else ()))
        new = {name: bindparam(name, type_=table.c[name].type) for name in names}
        self._insert = Statement(insert(table).values(new).returning(*columns))
        changed = {name: bindparam(name, type_=table.c[name].type) for name in self._writable_names}
        self._update = Statement(self._touch().values(changed).returning(*columns))
        self._compile_deletion()

    def _compile_deletion(self) -> None:
        table, columns = self.resource.table, self.plan.columns
        if self.resource.soft_deletes:
            self._delete = Statement(self._touch().values(delete_time=func.now()).returning(*columns))
            self._undelete = Statement(self._touch().values(delete_time=null()).returning(*columns))
        else:
            self._delete = Statement(delete(table).where(self._is_key()).returning(*columns))

    def _touch(self) -> Update:
        table = self.resource.table
        return update(table).where(self._is_key()).values(version=table.c.version + text("1"), update_time=func.now())

    def _is_key(self) -> ColumnElement[bool]:
        """The row of a call: by tenant and id, by tenant (singleton), or by id (tenants themselves)."""
        if self.resource.singleton:
            return self.in_tenant()
        own_id: ColumnElement[bool] = self.resource.table.c.id == bindparam("key_id", type_=UUID(as_uuid=False))
        return and_(self.in_tenant(), own_id)

    def in_tenant(self) -> ColumnElement[bool]:
        """The condition that a row is of the call's tenant, the parameter `key_tenant_id`."""
        if not self._has_tenant:
            return true()
        return self.resource.table.c.tenant_id == bindparam("key_tenant_id", type_=UUID(as_uuid=False))

    # Parts ---------------------------------------------------------------------------------------------------------

    def _key(self, call: Call, resource_id: str) -> dict[str, Any]:
        key: dict[str, Any] = {"key_tenant_id": call.tenant_id} if self._has_tenant else {}
        return key if self.resource.singleton else key | {"key_id": resource_id}

    def _visible(self, call: Call) -> dict[str, Any]:
        return {} if self.resource.visible is None else self.hooks.visible_parameters(call)

    def _present(self, call: Call, message: Any) -> Any:
        self.hooks.present(call, [message])
        return message

    def _writable(self, call: Call, message: Any, before: Any | None) -> dict[str, Any]:
        stored = self.plan.values(message)
        self._refuse_nul(stored)
        values = {name: stored[name] for name in self._writable_names}
        self.hooks.before_write(call, values, before)
        return values

    def _written(self, call: Call, statement: Statement, values: dict[str, Any], before: Any | None) -> Any:
        try:
            result = call.writes.run(statement, **values)
        except psycopg.errors.UniqueViolation as error:
            raise self.taken(error) from error
        message = self.plan.message(result.raw(0))
        call.note_change(before, message)
        self.hooks.after_write(call, message, before)
        return self._present(call, message)

    def _refuse_nul(self, values: dict[str, Any]) -> None:
        """PostgreSQL stores no NUL, neither in text nor in JSON."""
        json_names = self._json_names
        wrong = [
            name
            for name, value in values.items()
            if type(value) is str and (NUL_IN_JSON.search(value) if name in json_names else "\0" in value)
        ]
        if wrong:
            fields = self.resource.message.DESCRIPTOR.fields_by_name
            paths = [f"{self._field}.{fields[name].name}" for name in wrong]
            raise broken_rules([Violation(path, "has a NUL", "string.nul") for path in paths])

    def _check_required(self, message: Any) -> None:
        """AIP-203: a required field can neither be left out nor be cleared."""
        missing = [field.name for field in self.required if not getattr(message, field.name)]
        if missing:
            raise broken_rules([Violation(f"{self._field}.{name}", "is required", "required") for name in missing])


def fields_that_are(fields: Any, behavior: int) -> tuple[Any, ...]:
    """The fields of this behaviour (AIP-203)."""
    extension = field_behavior_pb2.field_behavior
    return tuple(field for field in fields if behavior in field.GetOptions().Extensions[extension])


def check_etag(call: Call, message: Any, etag: str) -> None:
    """Raise EtagMismatch when the caller demands another version, in If-Match or in the request's etag."""
    for wanted in (call.metadata.get("if-match"), etag):
        if wanted and not lists(wanted, message.etag):
            raise EtagMismatch(
                "It has changed since you read it: read it again.",
                metadata={"etag": message.etag, "resource": message.id},
            )


def _is_one_of(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column == any_(bindparam("ids", type_=ARRAY(UUID(as_uuid=False))))
