"""Usage of API keys: every call of a key is counted, by day and method."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, DateTime, Text, and_, func, select, update
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.listed_rows import listed, lists_of
from server.data.statements import Statement
from server.data.transactions import Database, WriteTransaction
from server.domains.identity.tables import api_key_usage, api_keys
from server.kernel.call import Principal
from server.kernel.clock import Clock, utc_now
from server.kernel.count_buffer import CountBuffer

_keys, _usage = api_keys.c, api_key_usage.c
_uuid, _big, _moment = UUID(as_uuid=False), BigInteger(), DateTime(timezone=True)
_used = listed("used", tenant_id=_uuid, api_key_id=_uuid, use_time=_moment)
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

_counted = listed("counted", tenant_id=_uuid, api_key_id=_uuid, day=Text(), method=Text(), calls=_big, failures=_big)
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


class _Count(NamedTuple):
    calls: int
    failures: int
    use_time: datetime


class UsageCounter(CountBuffer[_Note, _Place, _Count]):
    """Counts the calls of API keys."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        super().__init__("counts of API keys", database)
        self._clock = clock

    def note(self, principal: Principal, method: str, *, succeeded: bool) -> None:
        """Note a call that has ended. Never blocks and never fails."""
        self.take((principal, method, succeeded, self._clock()))

    def counted(self, note: _Note) -> tuple[_Place, _Count]:
        """By key, day and method."""
        principal, method, succeeded, moment = note
        day = moment.date().isoformat()
        place = _Place(principal.tenant_id or "", principal.api_key_id, day, method.removeprefix("/"))
        return place, _Count(1, int(not succeeded), moment)

    def added(self, known: _Count, more: _Count) -> _Count:
        """With the time of the last call."""
        calls, failures = known.calls + more.calls, known.failures + more.failures
        return _Count(calls, failures, max(known.use_time, more.use_time))

    def write(self, transaction: WriteTransaction, counts: Mapping[_Place, _Count]) -> None:
        """Write when the keys were used, then how often."""
        last_uses: dict[tuple[str, str], datetime] = {}
        for place, count in counts.items():
            key = (place.tenant_id, place.api_key_id)
            last_uses[key] = max(count.use_time, last_uses.get(key, count.use_time))
        uses = [(*key, moment.isoformat()) for key, moment in last_uses.items()]
        added = [(*place, str(count.calls), str(count.failures)) for place, count in counts.items()]
        transaction.queue(NOTE_USE, **lists_of(("tenant_id", "api_key_id", "use_time"), uses))
        transaction.queue(ADD_COUNTS, **lists_of(api_key_usage.columns.keys(), added))
