"""The rows of one resource: loading, inserting, updating and deleting them, with the hooks of its service.

Statements are described and compiled when they are first used. Standard and custom methods use them. Rows that are only
read are in reads.py.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

import psycopg
from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.message import Message
from sqlalchemy import (
    ColumnElement,
    Insert,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.clauses import AnyColumn, AnyParameter, AnySelect
from server.data.statements import Row, Statement
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.ids import new_id
from server.kernel.messages.etags import lists, version_of
from server.kernel.messages.fields import descriptor_of, fields_that_are, is_set, option_of, value_of
from server.kernel.messages.sizes import RESOURCE_BYTES
from server.kernel.problems import (
    EtagMismatch,
    Problem,
    RuleViolated,
    StateForbids,
    Violation,
    broken_rules,
    not_found,
    taken,
)
from server.kernel.resources.convert import ETAG, ID, VERSION, ConversionPlan
from server.kernel.resources.read_only import ImmutableFields, ReadOnlyFields
from server.kernel.resources.reads import ReadRows
from server.kernel.resources.resource import Hooks, M, Resource
from server.kernel.search.declaration import check_search
from server.kernel.search.postings import Change, Postings

# A NUL as json.dumps writes it: after an even number of backslashes.
NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
KEPT_BY_KERNEL = ("id", "tenant_id", VERSION, "create_time", "update_time", "delete_time")


class Values(NamedTuple):
    """The columns to write, and whether the hook `before_write` changed one that the message shows."""

    columns: Row
    are_changed: bool


class Storing:
    """A statement that stores a row, with and without returning it."""

    def __init__(self, describe: Callable[[], Insert | Update], columns: tuple[AnyColumn, ...]) -> None:
        self.silently = Statement(describe)
        self.and_show = Statement(lambda: describe().returning(*columns))


class ResourceRows(ReadRows[M]):
    """The rows of one resource."""

    def __init__(self, hooks: Hooks[M], resource: Resource[M], clock: Clock = utc_now) -> None:
        self._clock = clock
        self.plan: ConversionPlan[M] = ConversionPlan(
            resource.message, resource.table, resource.hidden, resource.computed
        )
        super().__init__(hooks, resource, self.plan)
        descriptor = descriptor_of(resource.message)
        named = option_of(descriptor, resource_pb2.resource)
        self._field = re.sub(r"(?<!^)(?=[A-Z])", "_", named.singular).lower()
        self.read_only = ReadOnlyFields(descriptor, self._field)
        self._immutable = ImmutableFields(descriptor, self._field)
        self.required = fields_that_are(descriptor, field_behavior_pb2.REQUIRED)
        if resource.search is not None:
            check_search(resource.search, descriptor, resource.table)
        self._postings = Postings(resource.search) if resource.search else None
        self._compile()

    # What handlers use ---------------------------------------------------------------------------------------------

    def lock(self, call: Call, resource_id: str = "", *, etag: str = "", deleted: bool = False) -> M:
        """Lock a row until the call ends, and check the ETag that the caller demands. Raises NotFound, EtagMismatch."""
        statement = self._lock_deleted if deleted else self._lock
        result = call.writes.run(statement, **self._key_id(resource_id), **self.scope(call))
        if not result.returned:
            raise not_found(self.type, resource_id)
        message = self.plan.message(result.raw(0))
        check_etag(call, message, etag)
        return message

    def insert(self, call: Call, message: M) -> M:
        """Store a new resource, with hooks. Returns it as stored.

        Raises RuleViolated if an output-only field is set to anything but the value that it gets.
        """
        sent = self._set_read_only(message)
        self.hooks.prepare(call, message, None)
        self._check_required(message)
        self.hooks.check(call, message, None)
        new = _give_id(message)
        values = self._writable(call, message, None)
        key = {"id": new} | ({"tenant_id": call.tenant_id} if self._has_tenant else {})
        stored = self._store(call, self._insert, values, message, None, key=key)
        if sent is not None:
            self.refuse_read_only(call, sent, stored, self.read_only.set_in(sent))
        return stored

    def update(self, call: Call, message: M, before: M) -> M:
        """Store a change of a locked resource, with hooks. Returns it as stored.

        An update without a change writes nothing, and leaves neither an event nor an audit entry.
        """
        self.hooks.prepare(call, message, before)
        self._check_required(message)
        self.hooks.check(call, message, before)
        violations = self._immutable.violations(message, before)
        if violations:
            raise broken_rules(violations)
        values = self._writable(call, message, before)
        # Messages are compared too, because the text of free-form JSON may have its keys in another order.
        if (message == before and not values.are_changed) or self.plan.holds(before, values.columns):
            call.changes_nothing = True
            return self._present(call, before)
        return self._store(call, self._update, values, message, before, key=self._key(call, id_of(before)))

    def delete(self, call: Call, before: M) -> M:
        """Delete a locked resource. Returns its last state."""
        result = call.writes.run(self._delete, **self._key(call, id_of(before)))
        message = self.plan.message(result.raw(0))
        call.note_change(message, None)
        self._keep_postings(call, before, message)
        self.hooks.after_write(call, message, before)
        return message

    def undelete(self, call: Call, before: M) -> M:
        """Restore a deleted resource that is locked. Raises StateForbids if it is not deleted."""
        if not before.HasField("delete_time"):
            raise StateForbids(
                "It is not deleted.",
                metadata={"resource_type": self.type, "resource": id_of(before), "state": "active"},
            )
        return self._written(call, self._undelete, self._key(call, id_of(before)), before)

    def refuse_read_only(self, call: Call, sent: M, known: M, names: Collection[str]) -> None:
        """Raise RuleViolated if the request changes an output-only field among `names`."""
        changed = self.read_only.changed(sent, known, names)
        if changed:
            # Readers may be shown more, or less, than what is stored.
            shown = self.resource.message()
            shown.CopyFrom(known)
            changed = self.read_only.changed(sent, self._present(call, shown), changed)
        if changed:
            raise broken_rules(self.read_only.violations(changed))

    def taken(self, error: psycopg.errors.UniqueViolation) -> Problem:
        """The problem of a value that another resource already has."""
        field = self.resource.unique.get(error.diag.constraint_name or "")
        return taken(self.type, field) if field else taken(self.type, "id")

    # Statements ----------------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        """Statements are described when they are first used: see Statement."""
        table, columns = self.resource.table, self.plan.columns
        self._json_names = frozenset(c.name for c in columns if isinstance(c.type, JSONB))
        self._writable_names = tuple(c.name for c in columns if c.name not in KEPT_BY_KERNEL)
        self._lock = Statement(lambda: self._own().where(*self._is_alive()).with_for_update())
        self._lock_deleted = Statement(lambda: self._own().with_for_update())
        names = (*self._writable_names, *self.resource.hidden, "id", *(("tenant_id",) if self._has_tenant else ()))
        new = (*names, "create_time", "update_time")
        self._insert = Storing(lambda: insert(table).values(self._parameters(new)), columns)
        changed = (*self._writable_names, "update_time")
        self._update = Storing(lambda: self._touch().values(self._parameters(changed)), columns)
        self._compile_deletion()

    def _compile_deletion(self) -> None:
        table, columns = self.resource.table, self.plan.columns
        if self.resource.soft_deletes:
            self._delete = Statement(lambda: self._touch_now().values(delete_time=func.now()).returning(*columns))
            self._undelete = Statement(lambda: self._touch_now().values(delete_time=null()).returning(*columns))
        else:
            self._delete = Statement(lambda: delete(table).where(self._is_key()).returning(*columns))

    def _own(self) -> AnySelect:
        return select(*self.plan.columns).where(self.in_scope(), self._is_one())

    def _parameters(self, names: Iterable[str]) -> dict[str, AnyParameter]:
        return {name: bindparam(name, type_=self.resource.table.c[name].type) for name in names}

    def _touch_now(self) -> Update:
        return self._touch().values(update_time=func.now())

    def _touch(self) -> Update:
        table = self.resource.table
        return update(table).where(self._is_key()).values(version=table.c.version + text("1"))

    def _is_key(self) -> ColumnElement[bool]:
        """The condition for the row of a call: by tenant and id, by tenant (singleton), or by id (tenants)."""
        return and_(self.in_tenant(), self._is_one())

    # Parts ---------------------------------------------------------------------------------------------------------

    def _key(self, call: Call, resource_id: str) -> Row:
        tenant = {"key_tenant_id": call.tenant_id} if self._has_tenant else {}
        return tenant | self._key_id(resource_id)

    def _writable(self, call: Call, message: M, before: M | None) -> Values:
        if message.ByteSize() > RESOURCE_BYTES:
            fault = f"is larger than {RESOURCE_BYTES} bytes in all"
            raise broken_rules([Violation(self._field, fault, "resource.max_bytes")])
        stored = self._values(message)
        self._refuse_nul(stored)
        shown = {name: stored[name] for name in self._writable_names}
        columns = {"id": id_of(message), **shown}
        self.hooks.before_write(call, columns, before)
        return Values(columns, any(columns[name] is not value for name, value in shown.items()))

    def _values(self, message: M) -> Row:
        """The columns of a message. Raises RuleViolated for values that no column holds, each with its path."""
        try:
            return self.plan.values(message)
        except RuleViolated as refused:
            inside = [replace(each, field=f"{self._field}.{each.field}") for each in refused.violations]
            raise broken_rules(inside) from refused

    def _store(self, call: Call, storing: Storing, values: Values, message: M, before: M | None, *, key: Row) -> M:
        """Store a message. Returns it as stored.

        The statement is sent together with the next one, mostly COMMIT, which saves a round trip, because the stored
        values are known here. The row is read back only if the hook `before_write` changed a column that is shown.
        """
        now = self._clock()
        times = {"update_time": now} if before is not None else {"create_time": now, "update_time": now}
        parameters = values.columns | key | times
        if values.are_changed:
            return self._written(call, storing.and_show, parameters, before)
        call.conflicts.setdefault(self.resource.table.name, self.taken)
        call.writes.queue(storing.silently, **parameters)
        version = 1 if before is None else version_of(etag_in(before)) + 1
        stored = self.plan.as_stored(message, key if before is None else {}, times, version)
        call.note_change(before, stored)
        self._keep_postings(call, before, stored)
        self.hooks.after_write(call, stored, before)
        return self._present(call, stored)

    def _written(self, call: Call, statement: Statement, values: Row, before: M | None) -> M:
        try:
            result = call.writes.run(statement, **values)
        except psycopg.errors.UniqueViolation as error:
            raise call.conflicts.get(self.resource.table.name, self.taken)(error) from error
        message = self.plan.message(result.raw(0))
        call.note_change(before, message)
        self._keep_postings(call, before, message)
        self.hooks.after_write(call, message, before)
        return self._present(call, message)

    def _keep_postings(self, call: Call, before: M | None, after: M) -> None:
        """Let searches find what was written. Rows that are removed take their postings along."""
        if self._postings is not None and call.tenant_id:
            self._postings.keep(call.writes, call.tenant_id, [Change(before, after)])

    def _set_read_only(self, message: M) -> M | None:
        """Clear output-only fields in a message. Returns a copy of it as it was sent; None if it sets none of them."""
        if not self.read_only.set_in(message):
            return None
        sent = self.resource.message()
        sent.CopyFrom(message)
        self.read_only.clear(message)
        return sent

    def _refuse_nul(self, values: Row) -> None:
        """Raise RuleViolated for a NUL, which PostgreSQL stores neither in text nor in JSON."""
        json_names = self._json_names
        wrong = [
            name
            for name, value in values.items()
            if type(value) is str and (NUL_IN_JSON.search(value) if name in json_names else "\0" in value)
        ]
        if wrong:
            paths = [f"{self._field}.{self.plan.fields[name]}" for name in wrong]
            raise broken_rules([Violation(path, "has a NUL", "string.nul") for path in paths])

    def _check_required(self, message: M) -> None:
        """Raise RuleViolated for a required field that is left out or cleared (AIP-203)."""
        missing = [field.name for field in self.required if not is_set(message, field)]
        if missing:
            raise broken_rules([Violation(f"{self._field}.{name}", "is required", "required") for name in missing])


def id_of(message: Message) -> str:
    """The id of a resource. A singleton has one too."""
    return str(value_of(message, ID))


def etag_in(message: Message) -> str:
    """The ETag that a resource shows."""
    return str(value_of(message, ETAG))


def _give_id(message: Message) -> str:
    """The id of a new resource. One is generated unless the message has it."""
    given = id_of(message) or new_id()
    setattr(message, ID, given)
    return given


def check_etag(call: Call, message: Message, etag: str) -> None:
    """Raise EtagMismatch if the caller demands another version, in If-Match or in the request's etag."""
    for wanted in (call.metadata.get("if-match"), etag):
        if wanted and not lists(wanted, etag_in(message)):
            raise EtagMismatch(
                "It has changed since you read it: read it again.",
                metadata={"etag": etag_in(message), "resource": id_of(message)},
            )
