"""Members: the facts behind a figure, from the conditions that the figure is computed by."""

from functools import partial
from typing import Generic, Protocol

from plinth.types.v1.time_range_pb2 import TimeRange
from sqlalchemy import ColumnElement, Text, bindparam, or_, select, true
from sqlalchemy.types import BigInteger

from server.data.clauses import AnySelect
from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.messages.sizes import fitting
from server.kernel.queries.pages import OrderTerm, PageTokens, after_cursor, order_columns, page_size
from server.kernel.read_models.figures import Figures
from server.kernel.read_models.measures import Measure
from server.kernel.resources.reads import ReadRows
from server.kernel.resources.resource import M


class PageRequest(Protocol):
    """What a request says about its page."""

    page_size: int
    page_token: str


class Members(Generic[M]):
    """Lists the facts of a read model's figures, newest first."""

    def __init__(self, figures: Figures, rows: ReadRows[M], tokens: PageTokens) -> None:
        """`rows` reads the table of the read model."""
        self._figures = figures
        self._series = series = figures.series
        self._rows = rows
        self._tokens = tokens
        self._order = (OrderTerm(series.time, descending=True), OrderTerm("id", descending=True))
        self._statements = {
            (measure.name, has_cursor): Statement(partial(self._select, measure, has_cursor=has_cursor))
            for measure in series.measures
            for has_cursor in (False, True)
        }

    def page(
        self, call: Call, asked: TimeRange, name: str, request: PageRequest, *, currency: str = ""
    ) -> tuple[list[M], str]:
        """The facts on a page, and the token of the next page (empty on the last).

        For money, those in one currency; without one, those in all of them. Raises NotFound for a name that is no
        measure's, RuleViolated for an invalid range, and Malformed for a page token of another figure.
        """
        period = self._figures.period(call, asked)
        measure = self._series.measure(name)
        question = "\n".join((call.method.path, str(call.tenant_id), str(call.actor_id), name, currency))
        cursor = self._tokens.read(question, request.page_token) if request.page_token else {}
        size = page_size(request.page_size)
        result = call.reads.run(
            self._statements[measure.name, bool(cursor)],
            **self._series.ends(period),
            limit=size + 1,
            **({"currency": currency} if self._series.currency else {}),
            **cursor,
            **self._series.scope(call),
        )
        found = [result.raw(row) for row in range(min(size, result.returned))]
        messages = fitting(self._rows.plan.message(raw) for raw in found)
        token = ""
        if result.returned > len(messages):
            last = result.row(len(messages) - 1)
            token = self._tokens.write(question, [last[term.field] for term in self._order])
        self._rows.hooks.present(call, messages)
        return messages, token

    def _select(self, measure: Measure, *, has_cursor: bool) -> AnySelect:
        series, table = self._series, self._series.table
        selected = select(*self._rows.plan.columns).where(
            *series.conditions(), series.within(), measure.facts, self._in_currency()
        )
        if has_cursor:
            selected = selected.where(after_cursor(table, self._order))
        return selected.order_by(*order_columns(table, self._order)).limit(bindparam("limit", type_=BigInteger()))

    def _in_currency(self) -> ColumnElement[bool]:
        if not self._series.currency:
            return true()
        asked = bindparam("currency", type_=Text())
        return or_(asked == "", self._series.table.c[self._series.currency] == asked)
