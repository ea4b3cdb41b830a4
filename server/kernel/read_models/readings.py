"""Readings: what a statement found, as the messages that answers carry. An unknown value is never shown as 0."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from plinth.types.v1 import series_pb2
from plinth.types.v1.metric_pb2 import Metric
from plinth.types.v1.series_pb2 import Bucket

from server.kernel.messages.money import fill_money, whole_units
from server.kernel.read_models.buckets import local_start
from server.kernel.read_models.measures import ROWS, Measure, Number
from server.kernel.read_models.periods import Counterpart, Period

Cell = Mapping[str, Any]
"""What was selected for one measure: the number of its facts, and its aggregates."""
OK, NO_DATA, PARTIAL = Metric.STATE_OK, Metric.STATE_NO_DATA, Metric.STATE_PARTIAL


class CellKey(NamedTuple):
    """A part of the facts: of which period, which bucket, which currency."""

    compared: bool = False
    """Whether it is of the period that is compared with, instead of the one asked for."""
    place: int | None = None
    """The bucket, from 0; None for the whole period."""
    currency: str | None = None
    """None for all facts, whatever their currency."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one statement found."""

    is_known: bool
    """Whether the tenant ever had a fact of this kind."""
    cells: Mapping[CellKey, Mapping[str, Cell]]
    """By part and by the name of the measure. Parts without facts are absent."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What was asked, and of which read model."""

    measures: tuple[Measure, ...]
    definitions: Mapping[str, Metric.Definition]
    period: Period
    now: datetime
    kept_since: datetime | None
    lies_ahead: bool


class Figure(NamedTuple):
    """The value of one measure for one part of the facts."""

    state: "Metric.State"
    reason: str = ""
    value: Number | None = None
    """For money, in minor units."""
    rows: int = 0


@dataclass(frozen=True)
class Reading:
    """The figures of a period. `counterpart` is set if they are compared, `bucket` and `bounds` if they are cut."""

    scene: Scene
    facts: Facts
    counterpart: Counterpart | None = None
    bucket: Bucket | None = None
    bounds: list[datetime] = field(default_factory=list)

    @property
    def metrics(self) -> list[Metric]:
        """A figure for each measure, and for measures of money one for each currency."""
        return [self._metric(measure, currency) for measure, currency in self._figures()]

    @property
    def series(self) -> list[series_pb2.Series]:
        """Each figure in buckets; none if it was not cut."""
        if self.bucket is None:
            return []
        return [self._series(measure, currency, self.bucket) for measure, currency in self._figures()]

    def _figures(self) -> Iterator[tuple[Measure, str | None]]:
        for measure in self.scene.measures:
            if measure.is_money:
                yield from ((measure, currency) for currency in self._currencies(measure))
            else:
                yield measure, None

    def _currencies(self, measure: Measure) -> list[str]:
        """The currencies of a measure's facts; one without a name if it has none."""
        found = {
            key.currency
            for key, cells in self.facts.cells.items()
            if key.currency is not None and cells[measure.name][ROWS]
        }
        return sorted(found) or [""]

    # Figures -------------------------------------------------------------------------------------------------------

    def _metric(self, measure: Measure, currency: str | None) -> Metric:
        period = self.scene.period
        figure = self._figure(measure, CellKey(currency=currency), period.start, period.end)
        metric = Metric(
            name=measure.name,
            state=figure.state,
            reason=figure.reason,
            unit=measure.unit if currency is None else currency,
            range=period.shown,
            source_rows=figure.rows,
            definition=self.scene.definitions[measure.name],
        )
        metric.as_of.FromDatetime(self.scene.now)
        _fill(metric, figure, currency)
        if self.counterpart is not None:
            self._compare(metric.comparison, measure, figure, currency, self.counterpart)
        return metric

    def _figure(self, measure: Measure, key: CellKey, start: datetime, end: datetime) -> Figure:
        """The value, and how far it can be trusted."""
        kept_since = self.scene.kept_since
        cell = self.facts.cells.get(key, {}).get(measure.name)
        rows: int = cell[ROWS] if cell else 0
        if not self.facts.is_known:
            return Figure(NO_DATA, "NO_FACTS")
        if kept_since is not None and end <= kept_since:
            return Figure(NO_DATA, "BEFORE_RETENTION")
        if cell is None or not rows:
            if not measure.is_zero_without_facts:
                return Figure(NO_DATA, "NOTHING_TO_DIVIDE_BY")
            value: Number | None = 0
        elif rows < measure.least:
            return Figure(Metric.STATE_INSUFFICIENT_DATA, "TOO_FEW_FACTS", None, rows)
        else:
            value = measure.value(cell)
        if kept_since is not None and start < kept_since:
            return Figure(PARTIAL, "BEFORE_RETENTION", value, rows)
        return Figure(OK, "", value, rows)

    # Comparison ----------------------------------------------------------------------------------------------------

    def _compare(
        self,
        shown: Metric.Comparison,
        measure: Measure,
        figure: Figure,
        currency: str | None,
        other: Counterpart,
    ) -> None:
        found = self._figure(measure, CellKey(compared=True, currency=currency), other.period.start, other.period.end)
        shown.range.CopyFrom(other.period.shown)
        shown.state = found.state
        _fill(shown, found, currency)
        shown.reason = self._not_comparable(figure, found, other)
        shown.comparable = not shown.reason
        if shown.comparable and figure.value is not None and found.value is not None:
            shown.change = _shown_value(figure.value - found.value, currency)
            if found.value:
                shown.change_ratio = (figure.value - found.value) / abs(found.value)

    def _not_comparable(self, figure: Figure, found: Figure, other: Counterpart) -> str:
        """Why two figures cannot be compared; empty if they can."""
        if other.reason:
            return other.reason
        if self.scene.lies_ahead and self.scene.now < self.scene.period.end:
            return "LIES_AHEAD"
        unsound = next((each for each in (figure, found) if each.state != OK), None)
        return unsound.reason if unsound else ""

    # Buckets -------------------------------------------------------------------------------------------------------

    def _series(self, measure: Measure, currency: str | None, bucket: Bucket) -> series_pb2.Series:
        shown = series_pb2.Series(
            name=measure.name,
            unit=measure.unit if currency is None else currency,
            bucket=bucket,
            time_zone=self.scene.period.zone.key,
        )
        for place, (start, end) in enumerate(zip(self.bounds, self.bounds[1:], strict=False)):
            figure = self._point_figure(measure, CellKey(place=place, currency=currency), start, end)
            point = shown.points.add(
                local_start=local_start(start, self.scene.period, bucket), state=figure.state, source_rows=figure.rows
            )
            point.start_time.FromDatetime(start)
            point.end_time.FromDatetime(end)
            _fill(point, figure, currency)
        return shown

    def _point_figure(self, measure: Measure, key: CellKey, start: datetime, end: datetime) -> Figure:
        """The figure of a bucket. One that has not begun has none, unless facts may be dated ahead."""
        figure = self._figure(measure, key, start, end)
        has_begun = start <= self.scene.now or self.scene.lies_ahead
        return figure if has_begun or figure.rows else Figure(NO_DATA)


def _fill(shown: Metric | Metric.Comparison | series_pb2.Series.Point, figure: Figure, currency: str | None) -> None:
    """The value of a figure, where it is known. The exact amount is set where it is one of whole minor units."""
    if figure.value is None:
        return
    shown.value = _shown_value(figure.value, currency)
    if currency and isinstance(figure.value, int):
        fill_money(shown.money, figure.value, currency)


def _shown_value(value: Number, currency: str | None) -> float:
    return whole_units(value, currency) if currency else float(value)
