"""A person's export: one JSON object, with a list of rows for each table that modules export, made piece by piece.

Memory does not depend on the number of rows: each query reads a batch.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from sqlalchemy import ColumnElement, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from server.data.connections import Result
from server.data.statements import Row, Statement
from server.kernel.privacy.declaration import Export
from server.kernel.privacy.statements import theirs
from server.kernel.queries import OrderTerm, after_cursor, order_columns

AT_ONCE = 500
CHUNK = 64 * 1024
"""Characters of JSON that one piece has, at least, unless it is the last."""

RunIn = Callable[..., Result]
"""Runs a statement with its parameters in the scope of the tenant that comes first."""


def sections(run: RunIn, exports: Sequence[Export], person_id: str, tenant_ids: Sequence[str]) -> Iterator[bytes]:
    """The export of a person from these tenants, and of what belongs to no tenant, in pieces."""
    waiting = [f'{{"personId":{json.dumps(person_id)}']
    for export in exports:
        waiting.append(f',"{export.table.name}":[')
        between = ""
        for text in _texts(run, export, person_id, tenant_ids):
            waiting.append(f"{between}{text}")
            between = ","
            if sum(map(len, waiting)) >= CHUNK:
                yield "".join(waiting).encode()
                waiting.clear()
        waiting.append("]")
    yield "".join((*waiting, "}\n")).encode()


def _texts(run: RunIn, export: Export, person_id: str, tenant_ids: Sequence[str]) -> Iterator[str]:
    places = tenant_ids if "tenant_id" in export.table.c else ("",)
    for tenant_id in places:
        for row in _rows(run, export, person_id, tenant_id):
            yield row["shown"]


def _rows(run: RunIn, export: Export, person_id: str, tenant_id: str) -> Iterator[Row]:
    where: Row = {"person": person_id, "left_out": list(export.leave_out)}
    if tenant_id:
        where["tenant"] = tenant_id
    terms = _order(export)
    found = run(tenant_id, _statement(export, is_first=True), **where).all()
    yield from found
    while len(found) == AT_ONCE:
        cursor = {f"after_{number}": found[-1][term.field] for number, term in enumerate(terms)}
        found = run(tenant_id, _statement(export, is_first=False), **where, **cursor).all()
        yield from found


def _order(export: Export) -> tuple[OrderTerm, ...]:
    names = export.order or [c.name for c in export.table.primary_key.columns if c.name not in ("tenant_id", export.by)]
    return tuple(OrderTerm(name, descending=False) for name in names or [export.by])


@cache
def _statement(export: Export, *, is_first: bool) -> Statement:
    """Takes `person`, `left_out`, `tenant` if the table has one, and after the first batch `after_<n>`."""
    table, terms = export.table, _order(export)
    conditions: list[ColumnElement[bool]] = theirs(table, export.by, export.of)
    if not is_first:
        conditions.append(after_cursor(table, terms))
    left_out = cast(bindparam("left_out", type_=ARRAY(Text())), ARRAY(Text()))
    whole = func.to_jsonb(literal_column(table.name)).op("-")(left_out)
    parts = [part for name, value in export.instead for part in (literal_column(f"'{name}'"), value)]
    shown = cast(whole.op("||")(func.jsonb_build_object(*parts)), Text).label("shown")
    columns = [table.c[term.field] for term in terms]
    return Statement(
        lambda: (
            select(*columns, shown)
            .where(*conditions)
            .order_by(*order_columns(table, terms))
            .limit(literal_column(str(AT_ONCE)))
        )
    )
