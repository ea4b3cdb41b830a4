"""Counts of evaluations, written every few seconds. A process that is killed loses its last ones."""

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import psycopg
from sqlalchemy import ARRAY, BigInteger, DateTime, Text, and_, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.clauses import AnyType
from server.data.connections import DatabaseUnavailable
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.flags.tables import feature_flag_evaluations, feature_flags
from server.kernel.loops import Loop

log = logging.getLogger("plinth.flags")
FLUSH_SECONDS = 3.0
# Seconds that a process waits for the last flush when it ends.
LAST_FLUSH = 5.0
# Beyond it, notes are dropped during an outage of PostgreSQL.
MOST_NOTES = 200_000

_e = feature_flag_evaluations.c
_types: Mapping[str, AnyType] = {
    "tenant_id": UUID(as_uuid=False),
    "flag_id": UUID(as_uuid=False),
    "day": Text(),
    "variant": Text(),
    "evaluations": BigInteger(),
    "last_time": DateTime(timezone=True),
}
_counted = (
    func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in _types.items()))
    .table_valued(*(column(name, kind) for name, kind in _types.items()))
    .render_derived("counted")
)
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


class _Note(NamedTuple):
    tenant_id: str
    flag_id: str
    variant: str
    moment: datetime


class EvaluationCounter:
    """Counts evaluations. A Part of its service."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Appending, and removing at the other end, are atomic.
        self._notes: deque[_Note] = deque(maxlen=MOST_NOTES)
        self._loop = Loop("flag evaluations", self.flush, FLUSH_SECONDS, at_end=True)

    def note(self, tenant_id: str, flag_id: str, variant: str, moment: datetime) -> None:
        """Note an evaluation. Never blocks and never fails."""
        self._notes.append(_Note(tenant_id, flag_id, variant, moment))

    def start(self) -> None:
        """Start to write counts regularly."""
        self._loop.start()

    def close(self) -> None:
        """Write the remaining counts, and stop."""
        self._loop.stop(LAST_FLUSH)

    def flush(self) -> None:
        """Write the counts. While PostgreSQL does not answer, notes are kept."""
        notes: list[_Note] = []
        with suppress(IndexError):
            while True:
                notes.append(self._notes.popleft())
        if not notes:
            return
        try:
            with self._database.write(Scope(platform=True)) as transaction:
                transaction.queue(ADD, **_columns(notes))
        except (DatabaseUnavailable, psycopg.OperationalError):
            self._notes.extendleft(reversed(notes))
        except psycopg.Error as error:
            log.warning("some evaluations of flags are not counted: %s", type(error).__name__)


def _columns(notes: Iterable[_Note]) -> dict[str, list[object]]:
    """Their counts by day and variant, as lists of columns."""
    counts: dict[tuple[str, str, str, str], tuple[int, datetime]] = {}
    for note in notes:
        place = (note.tenant_id, note.flag_id, note.moment.date().isoformat(), note.variant)
        known, last = counts.get(place, (0, note.moment))
        counts[place] = known + 1, max(last, note.moment)
    rows = [(*place, str(count), last.isoformat()) for place, (count, last) in counts.items()]
    return dict(zip(_types, map(list, zip(*rows, strict=True)), strict=True))
