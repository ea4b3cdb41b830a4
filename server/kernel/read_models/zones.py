"""Zones: IANA names to rules, and the moment at which a local day begins.

Days and buckets become moments here and nowhere else, so that a figure, its buckets and its members cannot disagree
about a zone, whichever release of the zone data PostgreSQL has.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from server.data.transactions import Transaction
from server.kernel.call import Call
from server.kernel.ports import TenantPreferences
from server.kernel.problems import broken_rules
from server.kernel.time_zones import time_zone_faults

UTC_NAME = "UTC"
SECOND = timedelta(seconds=1)

ZoneSource = Callable[[Call], str]
"""The name of a zone that applies to a call, such as that of its tenant; empty without one."""


class Zones:
    """The zone of a call: the one that the request names, else that of the first source that has one, else UTC."""

    def __init__(self, *sources: ZoneSource) -> None:
        """`sources` in the order in which they are asked."""
        self._sources = sources

    def of(self, call: Call, named: str, field: str = "range.time_zone") -> ZoneInfo:
        """The zone. Raises RuleViolated for a name that is no zone's, with the field that holds it."""
        if named:
            return _zone_asked_for(named, field)
        for source in self._sources:
            name = source(call)
            if name:
                return ZoneInfo(name)
        return ZoneInfo(UTC_NAME)


def tenant_zone(preferences_of: Callable[[Transaction, str], TenantPreferences]) -> ZoneSource:
    """The source that asks for the zone of the call's tenant. `preferences_of` is the port `tenant_preferences`."""
    return lambda call: preferences_of(call.reads, str(call.tenant_id)).time_zone


def _zone_asked_for(name: str, field: str) -> ZoneInfo:
    faults = time_zone_faults(field, name, TIME_ZONE_RULE)
    if faults:
        raise broken_rules(faults)
    return ZoneInfo(name)


TIME_ZONE_RULE = "time_range.time_zone"


@lru_cache(maxsize=8192)
def first_moment(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a local day, in UTC: of two midnights the first; without a midnight, the change of the clock.

    A day that the zone skips altogether, as Samoa did on 2011-12-30, begins when the next one does.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    moment = midnight.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return moment
    return _end_of_gap(midnight, zone)


def _end_of_gap(skipped: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clock jumps over a local time.

    It lies between what the local time would be with the offset after the jump and with the one before it.
    """
    wall = skipped.replace(tzinfo=None)
    before, after = (skipped.replace(fold=1).astimezone(UTC), skipped.replace(fold=0).astimezone(UTC))
    while after - before > SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    return after


def wall_time(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the clock of the zone shows, without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None)


def moment_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment, in UTC, at which the clock of the zone shows this time; after a jump, the time before it."""
    return wall.replace(tzinfo=zone).astimezone(UTC)
