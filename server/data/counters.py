"""Counters: numbers that people read, counted from 1 for each tenant and name, without gaps.

A number is drawn in the transaction that uses it. Others that draw wait until that has ended. A rollback gives it back.
"""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Text, bindparam
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Statement
from server.data.tables import OWN_TENANT, global_table, uuid_column

counters = global_table(
    "counters",
    uuid_column("tenant_id"),
    Column("name", Text, nullable=False),
    # The last number that was drawn.
    Column("value", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    row_security=OWN_TENANT,
)

_count = bindparam("count", type_=BigInteger())
_drawn = insert(counters).values(
    tenant_id=bindparam("tenant", type_=counters.c.tenant_id.type), name=bindparam("name", type_=Text()), value=_count
)
DRAW = Statement(
    _drawn.on_conflict_do_update(
        index_elements=["tenant_id", "name"], set_={"value": counters.c.value + _drawn.excluded.value}
    ).returning(counters.c.value)
)
"""Takes `tenant`, `name` and `count`, of how many numbers; returns the last of them."""
