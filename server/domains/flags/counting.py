"""Counts of evaluations, by day and variant."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, DateTime, Text, and_, func, select
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.clauses import AnyType
from server.data.listed_rows import listed, lists_of
from server.data.statements import Statement
from server.data.transactions import Database, WriteTransaction
from server.domains.flags.tables import feature_flag_evaluations, feature_flags
from server.kernel.count_buffer import CountBuffer

_e = feature_flag_evaluations.c
_types: Mapping[str, AnyType] = {
    "tenant_id": UUID(as_uuid=False),
    "flag_id": UUID(as_uuid=False),
    "day": Text(),
    "variant": Text(),
    "evaluations": BigInteger(),
    "last_time": DateTime(timezone=True),
}
_counted = listed("counted", **_types)
_addition = insert(feature_flag_evaluations).from_select(
    list(_types),
    # A flag that was deleted in the meantime is skipped. Processes that write at the same time do so in one order.
    select(*_counted.c)
    .join(
        feature_flags,
        and_(feature_flags.c.tenant_id == _counted.c.tenant_id, feature_flags.c.id == _counted.c.flag_id),
    )
    .order_by(_counted.c.tenant_id, _counted.c.flag_id, _counted.c.day, _counted.c.variant),
)
ADD = Statement(
    _addition.on_conflict_do_update(
        index_elements=[_e.tenant_id, _e.flag_id, _e.day, _e.variant],
        set_={
            "evaluations": _e.evaluations + _addition.excluded.evaluations,
            "last_time": func.greatest(_e.last_time, _addition.excluded.last_time),
        },
    )
)
"""Takes a list for each column."""


class _Place(NamedTuple):
    """The key of a count."""

    tenant_id: str
    flag_id: str
    day: str
    variant: str


class _Count(NamedTuple):
    evaluations: int
    last_time: datetime


_Note = tuple[str, str, str, datetime]


class EvaluationCounter(CountBuffer[_Note, _Place, _Count]):
    """Counts evaluations."""

    def __init__(self, database: Database) -> None:
        super().__init__("flag evaluations", database)

    def note(self, tenant_id: str, flag_id: str, variant: str, moment: datetime) -> None:
        """Note an evaluation. Never blocks and never fails."""
        self.take((tenant_id, flag_id, variant, moment))

    def counted(self, note: _Note) -> tuple[_Place, _Count]:
        """By day and variant."""
        tenant_id, flag_id, variant, moment = note
        return _Place(tenant_id, flag_id, moment.date().isoformat(), variant), _Count(1, moment)

    def added(self, known: _Count, more: _Count) -> _Count:
        """With the time of the last evaluation."""
        return _Count(known.evaluations + more.evaluations, max(known.last_time, more.last_time))

    def write(self, transaction: WriteTransaction, counts: Mapping[_Place, _Count]) -> None:
        """Add them up."""
        rows = [(*place, str(count.evaluations), count.last_time.isoformat()) for place, count in counts.items()]
        transaction.queue(ADD, **lists_of(_types, rows))
