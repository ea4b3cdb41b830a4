"""Admission: what new resources need before they are stored: an owner, a parent, room, a place and a number.

Everything is asked in one round trip. Where siblings are counted or placed, calls that add one wait for each other: at
the row of the parent, or without a parent at a lock of the owner or the tenant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, bindparam, func, select

from server.data.clauses import AnyColumn, AnyParameter
from server.data.connections import Result
from server.data.counters import DRAW
from server.data.locks import LOCK
from server.data.statements import Row, Statement
from server.kernel.call import Call
from server.kernel.messages.fields import value_of
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.problems import Violation, broken_rules, limit_reached
from server.kernel.resources.ownership import Ownership
from server.kernel.resources.parents import ParentRows
from server.kernel.resources.resource import M, Resource


@dataclass
class _Questions:
    """Statements of one round trip, each with what is done with its result."""

    statements: list[tuple[Statement, Row]] = field(default_factory=list)
    answers: list[Callable[[Result], None]] = field(default_factory=list)

    def ask(self, statement: Statement, parameters: Row, answer: Callable[[Result], None]) -> None:
        self.statements.append((statement, parameters))
        self.answers.append(answer)

    def put(self, call: Call) -> None:
        """Run them, and pass on the results in order."""
        if self.statements:
            for answer, result in zip(self.answers, call.writes.run_all(self.statements), strict=True):
                answer(result)


class Admission(Generic[M]):
    """Admits new resources of one type."""

    def __init__(
        self, resource: Resource[M], singular: str, ownership: Ownership | None, parents: ParentRows | None
    ) -> None:
        """`singular` is the name of the resource in requests, which violations include."""
        self._resource = resource
        self._singular = singular
        self._type = resource_type_of(resource.message)
        self._ownership = ownership
        self._parents = parents
        self.has_conditions = any((resource.owner, resource.parent, resource.most, resource.order, resource.number))
        # What is open to everyone counts what they add.
        is_counted = resource.parent is not None and resource.parent.is_open
        self._takes_turns = bool(resource.most or resource.order or is_counted)
        table = resource.table
        self._count = Statement(lambda: select(func.count().label("count")).select_from(table).where(*self.siblings()))
        self._last = Statement(lambda: select(func.max(table.c[resource.order]).label("last")).where(*self.siblings()))

    def admit(self, call: Call, messages: Sequence[M]) -> None:
        """Give new resources, all with the same parent and the same owner, what they need.

        Raises RuleViolated without a parent, the parent's NotFound, StateForbids if there is no room, and Denied for an
        API key that would own something.
        """
        scope = self._scope(call, messages[0])
        questions = _Questions()
        if self._ownership is not None:
            scope["owner"] = "" if self._inherits_owner else self._ownership.owner_of_new(call)
        self._ask_for_turn(call, questions, scope)
        self._ask_for_room(questions, scope, len(messages))
        if self._resource.order:
            questions.ask(self._last, scope, lambda result: _count_on(messages, self._resource.order, result.value()))
        if self._resource.number:
            name = {"tenant": call.tenant_id, "name": str(self._resource.table.name), "count": len(messages)}
            questions.ask(DRAW, name, lambda result: self._take_numbers(messages, result))
        questions.put(call)
        if self._ownership is not None:
            for message in messages:
                setattr(message, self._resource.owner, scope["owner"])
            call.audience = scope["owner"]

    def readmit(self, call: Call, message: M) -> None:
        """The same for a deleted resource that is restored: its parent is there, and there is room for it."""
        scope = self._scope(call, message)
        if self._ownership is not None:
            scope["owner"] = str(value_of(message, self._resource.owner))
        questions = _Questions()
        self._ask_for_turn(call, questions, scope)
        self._ask_for_room(questions, scope, 1)
        questions.put(call)

    def turn(self, call: Call, scope: Row) -> tuple[Statement, Row]:
        """The statement that waits until it is the call's turn to place siblings, with its parameters."""
        if self._parents is not None:
            return self._parents.locking(call, scope["parent_id"], excluding=self._takes_turns)
        return LOCK, {
            "name": " ".join((self._resource.table.name, scope["tenant"], *filter(None, [scope.get("owner")])))
        }

    def siblings(self) -> list[ColumnElement[bool]]:
        """The conditions for all of a parent, else of an owner, else of a tenant, that are not deleted.

        They take `tenant`, and `parent_id` or `owner`.
        """
        table, resource = self._resource.table, self._resource
        conditions: list[ColumnElement[bool]] = [table.c.tenant_id == _like("tenant", table.c.tenant_id)]
        if resource.parent is not None:
            parent = table.c[resource.parent.field]
            conditions.append(parent == _like("parent_id", parent))
        elif resource.owner:
            owner = table.c[resource.owner]
            conditions.append(owner == _like("owner", owner))
        if resource.soft_deletes:
            conditions.append(table.c.delete_time.is_(None))
        return conditions if resource.where is None else [*conditions, resource.where]

    @property
    def _inherits_owner(self) -> bool:
        """Whether a new one belongs to the owner of its parent."""
        return self._parents is not None and self._parents.ownership is not None and not self._parents.is_open

    def _scope(self, call: Call, message: M) -> Row:
        """The parameters of `siblings`. Raises RuleViolated without a parent."""
        scope: Row = {"tenant": call.tenant_id}
        if self._parents is not None:
            scope["parent_id"] = value_of(message, self._parents.field)
            if not scope["parent_id"]:
                raise broken_rules([Violation(f"{self._singular}.{self._parents.field}", "is required", "required")])
        return scope

    def _ask_for_turn(self, call: Call, questions: _Questions, scope: Row) -> None:
        parents = self._parents
        if parents is None and not self._takes_turns:
            return

        def take(result: Result) -> None:
            if parents is not None:
                found = parents.expect(result, scope["parent_id"])
                if self._inherits_owner:
                    scope["owner"] = found["owner"]

        questions.ask(*self.turn(call, scope), take)

    def _ask_for_room(self, questions: _Questions, scope: Row, more: int) -> None:
        most = self._resource.most

        def check(result: Result) -> None:
            if result.value() + more > most:
                raise limit_reached(f"There is room for {most}, and {result.value()} are there.", most, self._type)

        if most:
            questions.ask(self._count, scope, check)

    def _take_numbers(self, messages: Sequence[M], result: Result) -> None:
        _count_on(messages, self._resource.number, result.value() - len(messages))


def _count_on(messages: Sequence[Message], name: str, last: int | None) -> None:
    """Number messages in a field, after the last number."""
    for number, message in enumerate(messages, (last or 0) + 1):
        setattr(message, name, number)


def _like(name: str, column: AnyColumn) -> AnyParameter:
    return bindparam(name, type_=column.type)
