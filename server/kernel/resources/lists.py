"""List (AIP-132, 158, 160): one statement per call at any page size, restricted to what the caller may see.

A page ends early if its answer would grow too large (sizes.py). Its token then continues after the last row returned.
"""

from dataclasses import replace
from typing import Generic, NamedTuple

from sqlalchemy import ColumnElement, bindparam, func, select, true
from sqlalchemy.types import BigInteger

from server.data.clauses import AnySelect
from server.data.connections import Result
from server.data.shapes import SHAPES
from server.kernel.call import Call
from server.kernel.chain import Request
from server.kernel.messages.fields import FieldValue, descriptor_of
from server.kernel.messages.sizes import fitting
from server.kernel.queries.filter_sql import BoundFilter, FilterPlan, is_money
from server.kernel.queries.filters import parse_filter
from server.kernel.queries.pages import Order, PageTokens, after_cursor, order_columns, page_size, parse_order
from server.kernel.resources.reach import Reach
from server.kernel.resources.reads import ReadRows
from server.kernel.resources.resource import M


class _Shape(NamedTuple):
    """What the statement of a list depends on, beside its filter."""

    reach: Reach
    order: Order
    has_cursor: bool
    total: bool
    deleted: bool


class Lister(Generic[M]):
    """Answers List for one resource.

    The kernel makes one for the List of a service's own resource. A service with more lists makes one for each, from
    ReadRows and the PageTokens of the platform.
    """

    def __init__(self, rows: ReadRows[M], tokens: PageTokens) -> None:
        self._rows = rows
        self._tokens = tokens
        resource = rows.resource
        fields = descriptor_of(resource.message).fields_by_name
        self._money = {
            name: (f"{name}_currency", f"{name}_minor") for name in resource.sortable if is_money(fields[name])
        }
        self._filters = FilterPlan(fields, resource.table, resource.filterable)

    def page(self, call: Call, request: Request) -> tuple[list[M], str, int | None]:
        """The resources of the page, the token of the next page (empty on the last), and the total if requested."""
        resource = self._rows.resource
        bound = self._filters.bind(parse_filter(request.filter))
        order = self._columns_of(parse_order(request.order_by, resource.sortable, resource.default_order))
        question = self._question(call, request)
        cursor = self._tokens.read(question, request.page_token) if request.page_token else {}
        size = page_size(request.page_size)
        reach, scope = self._rows.reach_of_list(call, request)
        shape = _Shape(
            reach, order, bool(cursor), bool(request.include_total), bool(getattr(request, "show_deleted", False))
        )
        statement = SHAPES.statement((self, bound.key, shape), lambda: self._select(bound, shape))
        result = call.reads.run(statement, **bound.parameters, **cursor, **scope, limit=size + 1, skip=request.skip)
        found = self._read(call, result, order, size, question, total=request.include_total)
        if reach.inside and not found[0]:
            self._rows.check_parent(call, request)
        return found

    def _columns_of(self, order: Order) -> Order:
        """An order by columns: one by an amount of money is by its currency first."""
        if not any(term.field in self._money for term in order):
            return order
        return tuple(replace(term, field=name) for term in order for name in self._money.get(term.field, (term.field,)))

    def _read(
        self, call: Call, result: Result, order: Order, size: int, question: str, *, total: bool
    ) -> tuple[list[M], str, int | None]:
        count = int.from_bytes(result.last_of_first() or b"", "big") if total else None
        # An empty page with its total is one row in which every other column is NULL.
        found = 0 if total and result.raw(0)[0] is None else result.returned
        # A generator, so that rows that do not fit are not even converted.
        messages = fitting(self._rows.plan.message(result.raw(row)) for row in range(min(size, found)))
        token = ""
        if found > len(messages):
            token = self._tokens.write(question, self._order_values(result, len(messages) - 1, order))
        self._rows.hooks.present(call, messages)
        return messages, token, count

    def _order_values(self, result: Result, row: int, order: Order) -> list[FieldValue]:
        decoded = result.row(row)
        return [decoded[term.field] for term in order]

    def _question(self, call: Call, request: Request) -> str:
        """The text to which a page token is bound."""
        deleted = getattr(request, "show_deleted", False)
        named = (getattr(request, name, "") for name in self._rows.naming)
        parts = (call.method.path, call.tenant_id, call.actor_id, request.filter, request.order_by, deleted, *named)
        return "\n".join(map(str, parts))

    def _select(self, bound: BoundFilter, shape: "_Shape") -> AnySelect:
        table = self._rows.resource.table
        matching = self._matching(bound, shape)
        page = select(*self._rows.plan.columns).where(*matching)
        if shape.has_cursor:
            page = page.where(after_cursor(table, shape.order))
        big = BigInteger()
        page = page.order_by(*order_columns(table, shape.order))
        page = page.limit(bindparam("limit", type_=big)).offset(bindparam("skip", type_=big))
        return self._with_total(page, matching) if shape.total else page

    def _with_total(self, page: AnySelect, matching: list[ColumnElement[bool]]) -> AnySelect:
        """Adds the total to every row. An empty page becomes one row with the total."""
        counted = (
            select(func.count().label("total")).where(*matching).select_from(self._rows.resource.table).subquery("n")
        )
        lateral = page.lateral("page")
        columns = [lateral.c[column.name] for column in self._rows.plan.columns]
        return select(*columns, counted.c.total).select_from(counted.outerjoin(lateral, true()))

    def _matching(self, bound: BoundFilter, shape: "_Shape") -> list[ColumnElement[bool]]:
        resource = self._rows.resource
        conditions: list[ColumnElement[bool]] = [self._rows.in_scope(shape.reach)]
        if resource.soft_deletes and not shape.deleted:
            conditions.append(resource.table.c.delete_time.is_(None))
        condition = self._filters.condition(bound)
        return [*conditions, condition] if condition is not None else conditions
