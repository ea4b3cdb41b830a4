"""Reorder: the places of all siblings are given anew, by the order of their ids, in one statement."""

from collections.abc import Callable, Sequence
from typing import Generic

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import Integer, Update, bindparam, column, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.clauses import AnySelect
from server.data.statements import Row, Statement
from server.kernel.call import Call
from server.kernel.chain import Answer, Request
from server.kernel.policy import MethodPolicy
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources.resource import M
from server.kernel.resources.rows import ResourceRows

IDS = "ids"


class Reordering(Generic[M]):
    """Reorders the siblings of one parent, else of one owner, else of a tenant."""

    def __init__(self, rows: ResourceRows[M]) -> None:
        self._rows = rows
        self._siblings = rows.admission.siblings
        self._there = Statement(self._select)
        self._place = Statement(self._update)

    def handler(self, method: MethodPolicy) -> Callable[[Call, Request], Answer]:
        """The handler of `Reorder<Plural>`. Its answer has the ids in their new order."""
        response_class = GetMessageClass(method.descriptor.output_type)

        def handle(call: Call, request: Request) -> Answer:
            wanted = [each.lower() for each in request.ids]
            scope = self._scope(call, request)
            turn = self._rows.admission.turn(call, scope)
            taken, there = call.writes.run_all([turn, (self._there, scope)])
            if self._rows.parents is not None:
                self._rows.parents.expect(taken, scope["parent_id"])
            _check(wanted, [str(row["id"]) for row in there.all()])
            moved = call.writes.run(self._place, **scope, ids=wanted)
            call.changes_nothing = not moved.count
            call.subject_id = scope.get("parent_id", "")
            return response_class(ids=wanted)

        return handle

    def _scope(self, call: Call, request: Message) -> Row:
        """The parameters of `siblings`. What one user owns is reordered by that user, who is told of it."""
        scope: Row = {"tenant": call.tenant_id}
        if self._rows.parents is not None:
            scope["parent_id"] = self._rows.parent_in(request)
        if self._rows.ownership is not None:
            scope["owner"] = call.audience = self._rows.ownership.owner_of_new(call)
        return scope

    def _select(self) -> AnySelect:
        table, order = self._rows.resource.table, self._rows.resource.order
        return select(table.c.id).where(*self._siblings()).order_by(table.c[order], table.c.id)

    def _update(self) -> Update:
        table, order = self._rows.resource.table, self._rows.resource.order
        ids = bindparam(IDS, type_=ARRAY(UUID(as_uuid=False)))
        numbered = func.unnest(ids).table_valued(column("id", UUID(as_uuid=False)), with_ordinality="place")
        given = numbered.render_derived(name="given")
        place = given.c.place.cast(Integer()) if isinstance(table.c[order].type, Integer) else given.c.place
        return (
            update(table)
            .values({order: place, "version": table.c.version + text("1"), "update_time": func.now()})
            .where(*self._siblings(), table.c.id == given.c.id, table.c[order] != place)
        )


def _check(wanted: Sequence[str], there: Sequence[str]) -> None:
    """Raise RuleViolated unless the ids are those of all siblings, each once."""
    known, seen = set(there), set[str]()
    violations = []
    for place, each in enumerate(wanted):
        if each in seen:
            violations.append(Violation(f"{IDS}[{place}]", "stands there twice", "ids.unique"))
        elif each not in known:
            violations.append(Violation(f"{IDS}[{place}]", "is none of those to order", "ids.known"))
        seen.add(each)
    missing = [each for each in there if each not in seen]
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        violations.append(Violation(IDS, f"names all of them: {missing[0]}{more} is missing", "ids.all"))
    if violations:
        raise broken_rules(violations)
