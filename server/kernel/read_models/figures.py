"""Figures: a read model as an RPC answers it, for the range that a request asks for."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from plinth.types.v1.series_pb2 import Bucket
from plinth.types.v1.time_range_pb2 import TimeRange

from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.read_models.periods import Period, period_of
from server.kernel.read_models.readings import Reading
from server.kernel.read_models.series import Series
from server.kernel.read_models.zones import Zones


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of a read model."""

    series: Series
    clock: Clock
    zones: Zones = field(default_factory=Zones)
    default: "TimeRange.Period" = TimeRange.PERIOD_LAST_30_DAYS
    """The range of a request that names none."""
    kept: timedelta | None = None
    """How long facts are kept. Figures of a range that begins before that are PARTIAL."""

    def read(self, call: Call, asked: TimeRange, *, bucket: Bucket | None = None, compare: bool = False) -> Reading:
        """The figures of a range; with a bucket, in buckets too. Raises RuleViolated for an invalid range."""
        now = self.clock()
        kept_since = None if self.kept is None else now - self.kept
        period = self._period(call, asked, now)
        return self.series.read(call, period, now, bucket=bucket, compare=compare, kept_since=kept_since)

    def period(self, call: Call, asked: TimeRange) -> Period:
        """The range that a request asks for. Raises RuleViolated."""
        return self._period(call, asked, self.clock())

    def _period(self, call: Call, asked: TimeRange, now: datetime) -> Period:
        zone = self.zones.of(call, asked.time_zone)
        return period_of(asked, zone, now, default=self.default, most_days=self.series.most_days)
