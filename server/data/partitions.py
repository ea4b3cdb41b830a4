"""Tables partitioned by month: partitions are made ahead, and dropped whole when their retention ends.

Only the owner of the schema may do that. Two functions of the schema do it, which the runtime role may call.
"""

from datetime import timedelta

from sqlalchemy import DateTime, Integer, Text, bindparam, func, select
from sqlalchemy.sql.functions import Function

from server.data.statements import Statement

PARTITIONED = ("events", "audit_entries", "webhook_attempts")
"""The partitioned tables, each by its `create_time`."""
MONTHS_AHEAD = 3
SHORTEST_RETENTION = timedelta(days=7)
"""Younger partitions cannot be dropped by anyone."""


def _function(name: str, *arguments: object) -> Function[int]:
    return getattr(func, name)(*arguments, type_=Integer())  # type: ignore[no-any-return]


MAKE = Statement(select(_function("plinth_make_partitions", bindparam("months", type_=Integer())).label("made")))
"""Makes the partitions of this month and of `months` months after it. Returns how many were missing."""

DROP = Statement(
    select(
        _function(
            "plinth_drop_partitions",
            bindparam("table", type_=Text()),
            bindparam("before", type_=DateTime(timezone=True)),
        ).label("dropped")
    )
)
"""Drops the partitions of a table whose rows are all older than `before`. Returns their number."""

AHEAD = Statement(select(_function("plinth_partitions_ahead", bindparam("table", type_=Text())).label("months")))
"""The number of months after this one for which a table has partitions without a gap."""
