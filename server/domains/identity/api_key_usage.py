"""Usage of API keys: calls are noted in memory, and counts are written every few seconds.

A note takes no lock and one microsecond. A process that is killed loses its last notes. While PostgreSQL does not
answer, counts are kept up to a bound and written afterwards.
"""

import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
    column,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.clauses import AnyType
from server.data.connections import DatabaseUnavailable
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.identity.tables import api_key_usage, api_keys
from server.kernel.call import Principal
from server.kernel.clock import Clock, utc_now
from server.kernel.loops import Loop

log = logging.getLogger("plinth.api_key_usage")
FLUSH_SECONDS = 3.0
# Seconds that a process waits for the last flush when it ends.
LAST_FLUSH = 5.0
# About 50 MB during a long outage. Beyond it the oldest notes are dropped, and no new counts begin.
MOST_NOTES = 200_000
MOST_COUNTS = 50_000

_keys, _usage = api_keys.c, api_key_usage.c
_uuid, _big, _moment = UUID(as_uuid=False), BigInteger(), DateTime(timezone=True)


def _listed(name: str, **columns: AnyType) -> TableValuedAlias:
    """Rows from arrays, with one parameter per column."""
    arrays = [bindparam(column_name, type_=ARRAY(kind)) for column_name, kind in columns.items()]
    described = [column(column_name, kind) for column_name, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*described).render_derived(name)


_used = _listed("used", tenant_id=_uuid, api_key_id=_uuid, use_time=_moment)
# Processes that flush at the same time lock keys in the same order here, before either adds to their counts.
_locked = (
    select(_keys.tenant_id, _keys.id, _used.c.use_time)
    .join(_used, and_(_used.c.tenant_id == _keys.tenant_id, _used.c.api_key_id == _keys.id))
    .order_by(_keys.tenant_id, _keys.id)
    .with_for_update(key_share=True, of=api_keys)
    .subquery("locked")
)
NOTE_USE = Statement(
    update(api_keys)
    .where(_keys.tenant_id == _locked.c.tenant_id, _keys.id == _locked.c.id)
    .values(last_use_time=func.greatest(_keys.last_use_time, _locked.c.use_time))
)
"""Takes lists: `tenant_id`, `api_key_id` and `use_time`. The ETag stays, because this is no change by a caller."""

_counted = _listed("counted", tenant_id=_uuid, api_key_id=_uuid, day=Text(), method=Text(), calls=_big, failures=_big)
# A key that was deleted in the meantime is skipped.
_addition = insert(api_key_usage).from_select(
    api_key_usage.columns.keys(),
    select(*_counted.c).join(
        api_keys, and_(_keys.tenant_id == _counted.c.tenant_id, _keys.id == _counted.c.api_key_id)
    ),
)
ADD_COUNTS = Statement(
    _addition.on_conflict_do_update(
        index_elements=[_usage.tenant_id, _usage.api_key_id, _usage.day, _usage.method],
        set_={
            "calls": _usage.calls + _addition.excluded.calls,
            "failures": _usage.failures + _addition.excluded.failures,
        },
    )
)
"""Takes lists: `tenant_id`, `api_key_id`, `day`, `method`, `calls` and `failures`."""


_Note = tuple[Principal, str, bool, datetime]


class _Place(NamedTuple):
    """The key of a count."""

    tenant_id: str
    api_key_id: str
    day: str
    method: str


@dataclass(slots=True)
class _Count:
    calls: int
    failures: int
    use_time: datetime


class UsageCounter:
    """Counts the calls of API keys."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock
        # Appending, and removing at the other end, are atomic.
        self._notes: deque[_Note] = deque(maxlen=MOST_NOTES)
        self._counts: dict[_Place, _Count] = {}
        self._loop = Loop("api key usage", self.flush, FLUSH_SECONDS, at_end=True)

    def note(self, principal: Principal, method: str, *, succeeded: bool) -> None:
        """Note a call that has ended. Never blocks and never fails."""
        self._notes.append((principal, method, succeeded, self._clock()))

    def start(self) -> None:
        """Start to write counts regularly."""
        self._loop.start()

    def close(self) -> None:
        """Write the remaining counts, and stop."""
        self._loop.stop(LAST_FLUSH)

    def flush(self) -> None:
        """Write the counts. After a failed write they are kept."""
        self._count()
        if not self._counts:
            return
        try:
            self._write()
        except (DatabaseUnavailable, psycopg.OperationalError) as error:
            # Health reports that PostgreSQL does not answer. Only this reports a refusal, such as a deadlock.
            if getattr(error, "sqlstate", None):
                log.warning("usage of API keys is kept for the next flush: %s", type(error).__name__)
            return
        except psycopg.Error as error:
            # A retry would be refused too.
            log.warning("some usage of API keys is lost: %s", type(error).__name__)
        self._counts.clear()

    def _count(self) -> None:
        """Turn notes into counts."""
        with suppress(IndexError):
            while True:
                self._add(self._notes.popleft())

    def _add(self, note: _Note) -> None:
        principal, method, succeeded, moment = note
        day = moment.date().isoformat()
        place = _Place(principal.tenant_id or "", principal.api_key_id, day, method.removeprefix("/"))
        count = self._counts.get(place)
        if count is None:
            if len(self._counts) >= MOST_COUNTS:
                return
            count = self._counts[place] = _Count(0, 0, moment)
        count.calls += 1
        count.failures += not succeeded
        count.use_time = max(count.use_time, moment)

    def _write(self) -> None:
        last_uses: dict[tuple[str, str], datetime] = {}
        for place, count in self._counts.items():
            key = (place.tenant_id, place.api_key_id)
            last_uses[key] = max(count.use_time, last_uses.get(key, count.use_time))
        uses = [(*key, moment.isoformat()) for key, moment in last_uses.items()]
        counts = [(*place, str(count.calls), str(count.failures)) for place, count in self._counts.items()]
        with self._database.write(Scope(platform=True)) as transaction:
            transaction.queue(NOTE_USE, **_lists(("tenant_id", "api_key_id", "use_time"), uses))
            transaction.queue(ADD_COUNTS, **_lists(api_key_usage.columns.keys(), counts))


def _lists(names: Iterable[str], rows: Iterable[tuple[str, ...]]) -> dict[str, list[str]]:
    """The columns of rows, as lists."""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
