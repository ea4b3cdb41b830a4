"""The rows of one resource: loading, inserting, updating and deleting them, with the hooks of its service.

Statements are described and compiled when they are first used. Standard and custom methods use them. Rows that are only
read are in reads.py.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

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

from server.data.clauses import AnyColumn, AnyExpression, AnyParameter, AnySelect
from server.data.events import NO_TENANT
from server.data.statements import Row, Statement
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.ids import new_id
from server.kernel.messages.etags import lists, version_of
from server.kernel.messages.fields import descriptor_of, fields_that_are, is_set, option_of, value_of
from server.kernel.messages.masks import apply_mask
from server.kernel.messages.sizes import RESOURCE_BYTES
from server.kernel.problems import (
    EtagMismatch,
    Problem,
    RuleViolated,
    StateForbids,
    Violation,
    broken_rules,
    taken,
)
from server.kernel.resources.admission import Admission
from server.kernel.resources.convert import ETAG, ID, VERSION, ConversionPlan, PlanFault
from server.kernel.resources.fit import declaration_faults
from server.kernel.resources.reach import Reach, Reaching
from server.kernel.resources.read_only import ImmutableFields, ReadOnlyFields
from server.kernel.resources.reads import ReadRows, is_one_of
from server.kernel.resources.resource import Hooks, M, Resource
from server.kernel.resources.states import StateMachine
from server.kernel.resources.trees import TreeRows
from server.kernel.search.declaration import check_search
from server.kernel.search.postings import Change, Postings

if TYPE_CHECKING:
    from server.kernel.resources.cascade import Descendants

# A NUL as json.dumps writes it: after an even number of backslashes.
NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
NOBODY = NO_TENANT
"""The audience of events that are seen with the permission `Resource.seen_by` alone."""
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
        faults = list(declaration_faults(resource))
        if faults:
            raise PlanFault("\n".join(faults))
        super().__init__(hooks, resource, self.plan)
        descriptor = descriptor_of(resource.message)
        named = option_of(descriptor, resource_pb2.resource)
        self._field = re.sub(r"(?<!^)(?=[A-Z])", "_", named.singular).lower()
        self.read_only = ReadOnlyFields(descriptor, self._field)
        self._immutable = ImmutableFields(descriptor, self._field)
        # They are not stored, so that only what readers are shown tells whether one is changed.
        self._computed = self.read_only.names & frozenset(resource.computed)
        # What the service fills in is there before it is looked for.
        self.required = tuple(
            field
            for behavior in (field_behavior_pb2.REQUIRED, field_behavior_pb2.NON_EMPTY_DEFAULT)
            for field in fields_that_are(descriptor, behavior)
        )
        self.admission: Admission[M] = Admission(resource, self._field, self.ownership, self.parents)
        self._tree = TreeRows(resource, resource.tree, self._field, self.admission.siblings) if resource.tree else None
        self.states: StateMachine[M] | None = StateMachine(resource, resource.states) if resource.states else None
        self.descendants: Descendants | None = None
        """What belongs to these rows, and is deleted and restored with them."""
        if resource.search is not None:
            check_search(resource.search, descriptor, resource.table)
        self._postings = Postings(resource.search) if resource.search else None
        self._compile()

    # What handlers use ---------------------------------------------------------------------------------------------

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
        """Lock a row until the call ends, and check the ETag that the caller demands. Raises NotFound, EtagMismatch.

        If the request names a parent, the row must belong to it. Without `header`, `If-Match` is about another row.
        """
        reach, scope = self.reach_of_change(call, request)
        statement = (self._lock_deleted if deleted else self._lock).to(reach)
        result = call.writes.run(statement, **self._key_id(resource_id), **scope)
        if not result.returned:
            raise self._out_of_reach(call, resource_id, request)
        message = self.plan.message(result.raw(0))
        check_etag(call, message, etag, header=header)
        self.note_readers(call, message)
        return message

    def lock_seen(self, call: Call, resource_id: str, request: Message | None = None, *, etag: str = "") -> M:
        """Lock a row that the caller sees but need not own. The service checks what the caller may change."""
        reach, scope = self.reach(call, request)
        result = call.writes.run(self._lock.to(reach), **self._key_id(resource_id), **scope)
        if not result.returned:
            raise self.absent(call, resource_id, request)
        message = self.plan.message(result.raw(0))
        check_etag(call, message, etag)
        self.note_readers(call, message)
        return message

    def lock_all(self, call: Call, ids: Sequence[str], request: Message | None = None) -> dict[str, M]:
        """Lock the rows with these ids until the call ends, in one statement. Absent ones are left out."""
        reach, scope = self.reach_of_change(call, request)
        result = call.writes.run(self._lock_many.to(reach), ids=[each.lower() for each in ids], **scope)
        return {id_of(message): message for message in self.plan.messages(result)}

    def insert(self, call: Call, message: M) -> M:
        """Store a new resource, with hooks. Returns it as stored.

        Raises RuleViolated if an output-only field is set to anything but the value that it gets.
        """
        sent = self.admit(call, [message])
        return self.insert_admitted(call, message, sent[0])

    def admit(self, call: Call, messages: Sequence[M]) -> list[M | None]:
        """Give new resources of one parent what they need, such as an owner or a place (admission.py).

        Returns a copy of each as it was sent, if it sets fields that are output only.
        """
        named = [self.parent_of(message) for message in messages]
        sent = [self._set_read_only(message) for message in messages]
        for message, parent_id in zip(messages, named, strict=True):
            if self.parents is not None:
                setattr(message, self.parents.field, parent_id)
            if self.states is not None:
                self.states.begin(message)
        if self.admission.has_conditions:
            self.admission.admit(call, messages)
        return sent

    def insert_admitted(self, call: Call, message: M, sent: M | None) -> M:
        """Store a new resource that was admitted. `sent` is what `admit` returned for it."""
        self.note_readers(call, message)
        self.hooks.prepare(call, message, None)
        self._check_required(message)
        if self.states is not None:
            self.states.check(message, None)
        if self._tree is not None:
            self._tree.check(call, message, None)
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
        self.note_readers(call, before)
        if self.parent_of(message) != self.parent_of(before):
            # Before the hooks, which rely on a parent that the caller reaches.
            self._check_required(message)
            self._refuse_immutable(call, message, before)
        self.hooks.prepare(call, message, before)
        self._check_required(message)
        if self.states is not None:
            self.states.check(message, before)
        if self._tree is not None:
            self._tree.check(call, message, before)
        self.hooks.check(call, message, before)
        self._refuse_immutable(call, message, before)
        values = self._writable(call, message, before)
        # Messages are compared too, because the text of free-form JSON may have its keys in another order.
        if (message == before and not values.are_changed) or self.plan.holds(before, values.columns):
            call.changes_nothing = True
            return self._present(call, before)
        return self._store(call, self._update, values, message, before, key=self._key(call, id_of(before)))

    def touch(self, call: Call, before: M) -> M:
        """Give a locked resource a new version although it stays as it is, because what belongs to it has changed."""
        call.changes_nothing = False
        return self._written(call, self._touched, self._key(call, id_of(before)), before)

    def _refuse_immutable(self, call: Call, message: M, before: M) -> None:
        """Raise RuleViolated if a field changes that keeps the value it was created with."""
        violations = self._immutable.violations(message, before, call.method.name)
        if violations:
            raise broken_rules(violations)

    def new(self, request: Message, singular: str) -> M:
        """The resource that a request creates, with the parent that the request names.

        Raises RuleViolated if the resource in it names another parent.
        """
        message = self.copy_of(value_of(request, singular))
        named = self.parent_in(request)
        if self.parents is not None and named:
            if (self.parent_of(message) or named) != named:
                path = f"{self._field}.{self.parents.field}"
                raise broken_rules([Violation(path, "is another one than that of the request", "parent.same")])
            setattr(message, self.parents.field, named)
        return message

    def changed(self, call: Call, source: M, before: M, mask: Sequence[str]) -> M:
        """A locked resource with the fields of a mask as `source` has them.

        Raises RuleViolated if the mask names output-only fields that `source` has otherwise.
        """
        named = {path.partition(".")[0] for path in mask}
        self.refuse_read_only(call, source, before, named & self.read_only.names)
        return with_fields(source, before, mask, self.read_only.names)

    def copy_of(self, message: M) -> M:
        """A copy of a resource, to be changed."""
        copy = self.resource.message()
        copy.CopyFrom(message)
        return copy

    def acted(self, before: M, action: str) -> M:
        """A copy of a resource in the state to which an action leads.

        Raises StateForbids where it is not allowed, and LookupError for a resource without states.
        """
        if self.states is None:
            raise LookupError(f"{self.type} declares no states, and so no action {action}")
        after = self.copy_of(before)
        self.states.act(after, action)
        return after

    def parent_of(self, message: M) -> str:
        """The id of the parent of a resource; empty if it has none."""
        return str(value_of(message, self.parents.field)) if self.parents else ""

    def owner_of(self, message: M) -> str | None:
        """The user who owns a resource; None if it belongs to the whole tenant."""
        return str(value_of(message, self.ownership.field)) if self.ownership else None

    def delete(self, call: Call, before: M) -> M:
        """Delete a locked resource, and what belongs to it. Returns its last state."""
        return self.delete_all(call, [before])[0]

    def delete_all(self, call: Call, befores: Sequence[M]) -> list[M]:
        """Delete locked resources, and what belongs to them, in one statement. Returns their last states, in order."""
        tenant = {"key_tenant_id": call.tenant_id} if self._has_tenant else {}
        ids = [id_of(before) for before in befores]
        if self.descendants is not None:
            self.descendants.delete(call, ids)
        result = call.writes.run(self._delete, **tenant, ids=ids)
        deleted = {id_of(message): message for message in self.plan.messages(result)}
        self._keep_postings(call, [Change(before, deleted[id_of(before)]) for before in befores])
        for before in befores:
            message = deleted[id_of(before)]
            self.note_readers(call, message)
            call.note_change(message, None)
            self.hooks.after_write(call, message, before)
        return [deleted[each] for each in ids]

    def undelete(self, call: Call, before: M) -> M:
        """Restore a deleted resource that is locked, and what was deleted with it.

        Raises StateForbids if it is not deleted.
        """
        if not before.HasField("delete_time"):
            raise StateForbids(
                "It is not deleted.",
                metadata={"resource_type": self.type, "resource": id_of(before), "state": "active"},
            )
        if self.admission.has_conditions:
            self.admission.readmit(call, before)
        if self.descendants is not None:
            moment = value_of(before, "delete_time").ToDatetime(UTC)
            self.descendants.restore(call, id_of(before), moment)
        return self._written(call, self._undelete, self._key(call, id_of(before)), before)

    def refuse_read_only(self, call: Call, sent: M, known: M, names: Collection[str]) -> None:
        """Raise RuleViolated if the request changes an output-only field among `names`."""
        changed = [*self.read_only.changed(sent, known, names), *self._computed.intersection(names)]
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
        # Keys never change, so that rows which name these need not wait (FOR NO KEY UPDATE).
        self._lock = Reaching(lambda reach: self._own(reach).where(*self._is_alive()).with_for_update(key_share=True))
        self._lock_deleted = Reaching(lambda reach: self._own(reach).with_for_update(key_share=True))
        # In one order, so that two calls that lock the same rows do not wait for each other.
        self._lock_many = Reaching(
            lambda reach: self._alive(reach, is_one_of(table.c.id)).order_by(table.c.id).with_for_update(key_share=True)
        )
        names = (*self._writable_names, *self.resource.hidden, "id", *(("tenant_id",) if self._has_tenant else ()))
        new = (*names, "create_time", "update_time")
        self._insert = Storing(lambda: insert(table).values(self._parameters(new)), columns)
        changed = (*self._writable_names, "update_time")
        self._update = Storing(lambda: self._touch().values(self._parameters(changed)), columns)
        self._touched = Statement(lambda: self._touch().values(update_time=func.now()).returning(*columns))
        self._compile_deletion()

    def _compile_deletion(self) -> None:
        table, columns = self.resource.table, self.plan.columns
        if self.resource.soft_deletes:
            self._delete = Statement(
                lambda: self._next_version().where(*self._are_named()).values(_now_deleted()).returning(*columns)
            )
            self._undelete = Statement(lambda: self._touch().values(_now_restored()).returning(*columns))
        else:
            self._delete = Statement(lambda: delete(table).where(*self._are_named()).returning(*columns))

    def _own(self, reach: Reach) -> AnySelect:
        return select(*self.plan.columns).where(self.in_scope(reach), self._is_one())

    def _parameters(self, names: Iterable[str]) -> dict[str, AnyParameter]:
        return {name: bindparam(name, type_=self.resource.table.c[name].type) for name in names}

    def _touch(self) -> Update:
        return self._next_version().where(self._is_key())

    def _next_version(self) -> Update:
        table = self.resource.table
        return update(table).values(version=table.c.version + text("1"))

    def _are_named(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        """The conditions for the rows of a call with the parameter `ids`."""
        return self.in_tenant(), is_one_of(self.resource.table.c.id)

    def _is_key(self) -> ColumnElement[bool]:
        """The condition for the row of a call: by tenant and id, by tenant (singleton), or by id (tenants)."""
        return and_(self.in_tenant(), self._is_one())

    # Parts ---------------------------------------------------------------------------------------------------------

    def note_readers(self, call: Call, message: M, before: M | None = None) -> None:
        """Make those who see a resource, or saw it before its change, the audience of the events about it."""
        shown = self.resource.shown
        if shown is not None and (shown.holds(message) or (before is not None and shown.holds(before))):
            call.audience = None
        elif self.ownership is not None:
            call.audience = self.owner_of(message)
        elif shown is not None:
            call.audience = NOBODY

    def _out_of_reach(self, call: Call, resource_id: str, request: Message | None) -> Problem:
        """The problem of a row that the call does not change: it is not there, or somebody else's who shows it."""
        if self.ownership is None or self.resource.shown is None:
            return self.absent(call, resource_id, request)
        # Raises NotFound for what is not seen either.
        self.get(call, resource_id, request)
        return self.ownership.somebody_elses()

    def _key(self, call: Call, resource_id: str) -> Row:
        tenant = {"key_tenant_id": call.tenant_id} if self._has_tenant else {}
        return tenant | self._key_id(resource_id)

    def columns_of(self, message: M) -> Row:
        """The columns that hold a message. Raises RuleViolated for one that is too large, or that no columns hold."""
        if message.ByteSize() > RESOURCE_BYTES:
            fault = f"is larger than {RESOURCE_BYTES} bytes in all"
            raise broken_rules([Violation(self._field, fault, "resource.max_bytes")])
        stored = self._values(message)
        self._refuse_nul(stored)
        return stored

    def _writable(self, call: Call, message: M, before: M | None) -> Values:
        stored = self.columns_of(message)
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
        self.note_readers(call, stored, before)
        call.note_change(before, stored)
        self._keep_postings(call, [Change(before, stored)])
        self.hooks.after_write(call, stored, before)
        return self._present(call, self._to_show(stored))

    def _written(self, call: Call, statement: Statement, values: Row, before: M | None) -> M:
        try:
            result = call.writes.run(statement, **values)
        except psycopg.errors.UniqueViolation as error:
            raise call.conflicts.get(self.resource.table.name, self.taken)(error) from error
        message = self.plan.message(result.raw(0))
        self.note_readers(call, message, before)
        call.note_change(before, message)
        self._keep_postings(call, [Change(before, message)])
        self.hooks.after_write(call, message, before)
        return self._present(call, self._to_show(message))

    def _to_show(self, message: M) -> M:
        """A copy of what was stored, if readers are shown more, which the audit log would tell as a change."""
        return self.copy_of(message) if self.resource.computed else message

    def _keep_postings(self, call: Call, changes: Sequence[Change]) -> None:
        """Let searches find what was written. A trigger deletes the postings of deleted rows."""
        if self._postings is not None and call.tenant_id:
            self._postings.keep(call.writes, call.tenant_id, changes)

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


def _now_deleted() -> dict[str, AnyExpression]:
    return {"delete_time": func.now(), "update_time": func.now()}


def _now_restored() -> dict[str, AnyExpression]:
    return {"delete_time": null(), "update_time": func.now()}


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


def with_fields(source: M, before: M, mask: Sequence[str], read_only: Collection[str]) -> M:
    """A copy of a resource with the fields of a mask as `source` has them, but for those that no request changes."""
    message = type(before)()
    message.CopyFrom(before)
    kept = {*read_only, ETAG}
    apply_mask(source, message, [path for path in mask if path.partition(".")[0] not in kept])
    return message


def check_etag(call: Call, message: Message, etag: str, *, header: bool = True) -> None:
    """Raise EtagMismatch if the caller demands another version, in the request's etag, or in If-Match if `header`."""
    for wanted in (call.metadata.get("if-match") if header else None, etag):
        if wanted and not lists(wanted, etag_in(message)):
            raise EtagMismatch(
                "It has changed since you read it: read it again.",
                metadata={"etag": etag_in(message), "resource": id_of(message)},
            )
