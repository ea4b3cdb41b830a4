"""Tables that are cut by month: partitions are made ahead, and dropped whole when their time is over.

Only the owner of the schema may do that, so it is done by two functions of the schema which the runtime role may call.
"""

from datetime import timedelta

from sqlalchemy import DateTime, Integer, Text, bindparam, func, select
from sqlalchemy.sql.functions import Function

from server.data.statements import Statement

PARTITIONED = ("events", "audit_entries", "webhook_attempts")
"""The tables, each by its `create_time`."""
MONTHS_AHEAD = 3
SHORTEST_RETENTION = timedelta(days=7)
"""Nothing younger can be dropped, whoever asks."""


def _function(name: str, *arguments: object) -> Function[int]:
    return getattr(func, name)(*arguments, type_=Integer())  # type: ignore[no-any-return]


MAKE = Statement(select(_function("plinth_make_partitions", bindparam("months", type_=Integer())).label("made")))
"""Makes this month's partitions and those of so many months after it; how many were missing."""

DROP = Statement(
    select(
        _function(
            "plinth_drop_partitions",
            bindparam("table", type_=Text()),
            bindparam("before", type_=DateTime(timezone=True)),
        ).label("dropped")
    )
)
"""Drops the partitions of a table whose every row is older than that; how many."""

AHEAD = Statement(select(_function("plinth_partitions_ahead", bindparam("table", type_=Text())).label("months")))
"""How many months after this one a table has partitions for, without a gap."""
