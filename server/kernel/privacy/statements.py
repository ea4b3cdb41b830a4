"""The statements that decisions mean: each changes at most BATCH rows of one person, and finds them by an index."""

from functools import cache

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Table,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.clauses import AnyColumn, AnyExpression
from server.data.statements import Statement
from server.kernel.privacy.declaration import ERASED, Owner, Pseudonymise, Remove

BATCH = 1000
"""Rows per transaction."""


@cache
def step_of(decision: Remove | Pseudonymise) -> Statement:
    """Erases one batch. Takes `person`, and `tenant` if the table has one. What is erased is not found again."""
    table = decision.table
    conditions = list(theirs(table, decision.by, decision.of))
    if isinstance(decision, Remove):
        if decision.where is not None:
            conditions.append(decision.where)
        return Statement(lambda: delete(table).where(_one_of(table, conditions)))
    neutral = {name: neutral_value(table.c[name]) for name in decision.columns}
    conditions.append(or_(*(table.c[name].is_distinct_from(value) for name, value in neutral.items())))
    # The ETag changes with the content.
    changed: dict[str, AnyExpression] = {}
    if "version" in table.c:
        changed = {"version": table.c.version + text("1"), "update_time": func.now()}
    return Statement(lambda: update(table).where(_one_of(table, conditions)).values(**neutral, **changed))


@cache
def count_of(decision: Remove | Pseudonymise) -> Statement:
    """Counts the rows of the person. Takes what the step takes."""
    conditions = theirs(decision.table, decision.by, decision.of)
    return Statement(lambda: select(func.count().label("rows")).select_from(decision.table).where(*conditions))


def theirs(table: Table, by: str, of: Owner | None = None) -> list[ColumnElement[bool]]:
    """The conditions of the rows of `person` in `tenant`."""
    found = [table.c.tenant_id == bindparam("tenant", type_=table.c.tenant_id.type)] if "tenant_id" in table.c else []
    if of is None:
        return [*found, table.c[by] == bindparam("person", type_=table.c[by].type)]
    above = select(of.table.c.id).where(*theirs(of.table, of.by))
    return [*found, table.c[by].in_(above)]


def neutral_value(column: AnyColumn) -> AnyExpression:
    """What stands in a column instead of what is erased."""
    if column.nullable:
        return literal_column("NULL")
    if isinstance(column.type, ARRAY | JSONB):
        return literal_column("'{}'")
    return literal_column("''" if column.server_default is not None else f"'{ERASED}'")


def _one_of(table: Table, conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    key = tuple_(*table.primary_key.columns)
    found = select(*table.primary_key.columns).where(*conditions).limit(literal_column(str(BATCH)))
    return key.in_(found)
