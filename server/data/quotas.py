"""Quotas: how many rows of a table a tenant may have. A trigger counts them when one is added.

The trigger holds whichever way a row comes in. A row that is one too many is refused as a CheckViolation of the
constraint `plinth_quota`, with the quota's name as its hint, and the number as its detail. Rows that come in at the
same time wait for each other, if the tenant's plan limits them.
"""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Select, Table, bindparam, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import UUID

from server.data.tables import metadata

QUOTA = "quota"
"""In `Table.info`: the name of the quota of its rows."""
CONSTRAINT = "plinth_quota"


def limited_by_plan(table: Table, name: str) -> None:
    """Let plans limit how many of these rows a tenant has. A migration adds the trigger (quota_trigger.py)."""
    table.info[QUOTA] = name


def limited_tables() -> Mapping[str, Table]:
    """The tables that plans can limit, by the names of their quotas, in order."""
    found = {table.info[QUOTA]: table for table in metadata.tables.values() if QUOTA in table.info}
    return dict(sorted(found.items()))


def usage() -> Select[tuple[str, int]]:
    """How many rows of each kind the tenant `tenant` has: `name` and `used`."""
    counts = [
        select(literal(name).label("name"), func.count().label("used")).select_from(table).where(*_counted(table))
        for name, table in limited_tables().items()
    ]
    return select(union_all(*counts).subquery())


def _counted(table: Table) -> list[ColumnElement[bool]]:
    """The rows that count: those of the tenant that are not deleted."""
    conditions: list[ColumnElement[bool]] = [table.c.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False))]
    return [*conditions, table.c.delete_time.is_(None)] if "delete_time" in table.c else conditions
