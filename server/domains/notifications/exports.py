"""Exports of an inbox."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from google.protobuf import json_format
from sqlalchemy import DateTime, Integer, bindparam, select, tuple_
from sqlalchemy.dialects.postgresql import UUID

from server.data.connections import Result
from server.data.events import NO_TENANT
from server.data.statements import Statement
from server.domains.notifications.tables import notifications
from server.domains.notifications.telling import PLAN
from server.kernel.transfers import Download

JSON_LINES = "application/x-ndjson"
BATCH = 500
_id = UUID(as_uuid=False)
_n = notifications.c
READ = Statement(
    select(*PLAN.columns)
    .where(
        _n.tenant_id == bindparam("tenant", type_=_id),
        _n.user_id == bindparam("user", type_=_id),
        tuple_(_n.create_time, _n.id)
        > tuple_(bindparam("time", type_=DateTime(timezone=True)), bindparam("last", type_=_id)),
    )
    .order_by(_n.create_time, _n.id)
    .limit(bindparam("limit", type_=Integer()))
)
"""Takes `tenant`, `user`, `time` and `last`, where the batch before has ended, and `limit`."""


def export_of(tenant_id: str, user_id: str) -> Download:
    """The notifications of a person, the oldest first."""

    def pieces(run: Callable[..., Result]) -> Iterator[bytes]:
        time, last = datetime.min.replace(tzinfo=UTC), NO_TENANT
        is_first = True
        while True:
            result = run(READ, tenant=tenant_id, user=user_id, time=time, last=last, limit=BATCH)
            found = list(PLAN.messages(result))
            lines = (
                json_format.MessageToJson(each, indent=None, always_print_fields_with_no_presence=True)
                for each in found
            )
            piece = "".join(f"{line}\n" for line in lines)
            if piece or is_first:
                yield piece.encode()
            if len(found) < BATCH:
                return
            is_first = False
            time, last = found[-1].create_time.ToDatetime(UTC), found[-1].id

    return Download("notifications.jsonl", JSON_LINES, pieces)
