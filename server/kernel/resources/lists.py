"""List (AIP-132, 158, 160): one statement per call at any page size, restricted to what the caller may see.

A page ends early if its answer would grow too large (sizes.py). Its token then continues after the last row returned.
"""

from dataclasses import replace
from typing import Generic, NamedTuple

from sqlalchemy import ColumnElement, FromClause, bindparam, func, literal_column, select, true
from sqlalchemy.types import BigInteger

from server.data.clauses import AnySelect
from server.data.connections import Result
from server.data.shapes import SHAPES
from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.chain import Request
from server.kernel.messages.fields import FieldValue, descriptor_of
from server.kernel.messages.sizes import fitting
from server.kernel.problems import Violation, broken_rules
from server.kernel.queries.filter_sql import BoundFilter, FilterPlan, is_money
from server.kernel.queries.filters import parse_filter
from server.kernel.queries.pages import (
    Order,
    OrderTerm,
    PageTokens,
    after_cursor,
    order_columns,
    page_size,
    parse_order,
)
from server.kernel.resources.reach import Reach
from server.kernel.resources.reads import ReadRows
from server.kernel.resources.resource import M
from server.kernel.search.declaration import QUERY
from server.kernel.search.matching import RANK, Matching
from server.kernel.search.words import Word, asked_words

BEST_FIRST: Order = (OrderTerm(RANK, descending=True),)


class _Shape(NamedTuple):
    """The facts in which the statements of a list differ, beside its filter."""

    reach: Reach
    order: Order
    has_cursor: bool
    total: bool
    deleted: bool
    words: int
    """The number of words to find; 0 without a query."""


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
        self._search = Matching(resource.search.tables) if resource.search else None

    def page(self, call: Call, request: Request) -> tuple[list[M], str, int | None]:
        """The resources of the page, the token of the next page (empty on the last), and the total if requested."""
        resource = self._rows.resource
        bound = self._filters.bind(parse_filter(request.filter))
        words = self._asked(request)
        default = resource.default_order if words is None else BEST_FIRST
        order = self._columns_of(parse_order(request.order_by, resource.sortable, default))
        question = self._question(call, request)
        cursor = self._tokens.read(question, request.page_token) if request.page_token else {}
        size = page_size(request.page_size)
        reach, scope = self._rows.reach_of_list(call, request)
        if words == ():
            return [], "", 0 if request.include_total else None
        deleted = bool(getattr(request, "show_deleted", False))
        shape = _Shape(reach, order, bool(cursor), bool(request.include_total), deleted, len(words or ()))
        parameters = {**bound.parameters, **cursor, **scope}
        if words and self._search:
            parameters |= self._search.parameters(words)
        result = call.reads.run(self._statement(bound, shape), **parameters, limit=size + 1, skip=request.skip)
        found = self._read(call, result, order, size, question, total=request.include_total)
        if reach.inside and (deleted or not found[0]):
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
        asked = getattr(request, QUERY, "")
        parts = (call.method.path, call.tenant_id, call.actor_id, request.filter, request.order_by, deleted, *named)
        return "\n".join(map(str, (*parts, asked) if asked else parts))

    def _asked(self, request: Request) -> tuple[Word, ...] | None:
        """The words of a query; None without one. Raises RuleViolated."""
        asked = getattr(request, QUERY, "") if self._search else ""
        if not asked:
            return None
        if getattr(request, "show_deleted", False):
            raise broken_rules([Violation("show_deleted", f"cannot be set with {QUERY}: only what is there is found")])
        return asked_words(asked)

    def _statement(self, bound: BoundFilter, shape: _Shape) -> Statement:
        return SHAPES.statement((self, bound.key, shape), lambda: self._select(bound, shape))

    def _select(self, bound: BoundFilter, shape: _Shape) -> AnySelect:
        matching = self._matching(bound, shape)
        table, columns = self._rows.resource.table, self._rows.plan.columns
        source: FromClause = table
        whole = page = select(*columns).where(*matching)
        if shape.words and self._search:
            found = self._search.found(shape.words)
            # With its limit, this is a look-up of each row by its key; a join might read all rows of the tenant.
            row = (
                select(*columns)
                .where(table.c.id == found.c.resource_id, *matching)
                .limit(literal_column("1"))
                .lateral("row")
            )
            whole = select(*row.c, found.c[RANK]).select_from(found.join(row, true()))
            source = whole.subquery("ranked")
            page = select(*source.c)
        if shape.has_cursor:
            page = page.where(after_cursor(source, shape.order))
        big = BigInteger()
        page = page.order_by(*order_columns(source, shape.order))
        page = page.limit(bindparam("limit", type_=big)).offset(bindparam("skip", type_=big))
        return self._with_total(page, whole) if shape.total else page

    def _with_total(self, page: AnySelect, whole: AnySelect) -> AnySelect:
        """Adds the total to every row. An empty page becomes one row with the total."""
        counted = select(func.count().label("total")).select_from(whole.subquery("whole")).subquery("n")
        lateral = page.lateral("page")
        return select(*lateral.c, counted.c.total).select_from(counted.outerjoin(lateral, true()))

    def _matching(self, bound: BoundFilter, shape: _Shape) -> list[ColumnElement[bool]]:
        resource = self._rows.resource
        conditions: list[ColumnElement[bool]] = [self._rows.in_scope(shape.reach)]
        if resource.soft_deletes and not shape.deleted:
            conditions.append(resource.table.c.delete_time.is_(None))
        condition = self._filters.condition(bound)
        return [*conditions, condition] if condition is not None else conditions
