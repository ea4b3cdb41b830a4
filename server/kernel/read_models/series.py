"""Series: the declaration of a read model, and the one statement that reads its figures.

A domain declares a table, the column with the time of its facts, and measures. PostgreSQL computes them as the role
that serves, under row-level security, from a range of an index that starts with the tenant and the time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from plinth.types.v1 import series_pb2
from plinth.types.v1.metric_pb2 import Metric
from plinth.types.v1.series_pb2 import Bucket
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    Index,
    String,
    Table,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.clauses import AnyColumn, AnyExpression, AnySelect
from server.data.connections import Result
from server.data.statements import Row, Statement
from server.data.tables import metadata
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.read_models.buckets import bounds_of, bucket_for
from server.kernel.read_models.measures import Average, Measure, OfColumn, Sum, is_number, sql_of
from server.kernel.read_models.periods import MOST_DAYS, Counterpart, Period, counterpart, to_whole_days
from server.kernel.read_models.readings import Cell, CellKey, Facts, Reading, Scene

METRIC_TYPE = "plinth.dev/Metric"


class SeriesFault(Exception):
    """The declaration of a read model is faulty, and the server must not start. Lists every fault."""


def _no_parameters(call: Call) -> Row:
    del call
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The figures of one kind of facts."""

    name: str
    """Such as `security`. A figure is known as `security.refusals`."""
    table: Table
    """A tenant table with an index on (tenant_id, time), or a view of one with `security_invoker`."""
    time: str
    """The column with the moment of a fact, or with its day, such as a due date: not NULL.

    Days are those of no zone. Their ranges are of whole days, and their buckets days, weeks or months.
    """
    measures: tuple[Measure, ...]
    where: ColumnElement[bool] | None = None
    """The condition of its facts, beside the tenant's. Deleted rows are no facts without it."""
    parameters: Callable[[Call], Row] = _no_parameters
    """The parameters of `where` that depend on the call, such as the user whose rows are counted."""
    currency: str = ""
    """The column with the currency of measures of money."""
    version: int = 1
    """Raise it with every change by which the same facts give other figures."""
    most_days: int = MOST_DAYS
    """The longest range that it answers."""
    lies_ahead: bool = False
    """Whether facts may be dated ahead of now, as bookings are. A period that lasts is then not compared."""
    _statements: dict[bool, Statement] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        faults = [f"read model {self.name}: {fault}" for fault in self._faults()]
        if faults:
            raise SeriesFault("\n".join(faults))
        for in_buckets in (False, True):
            self._statements[in_buckets] = Statement(partial(self._select, in_buckets=in_buckets))

    def measure(self, name: str) -> Measure:
        """The measure of this name. Raises NotFound."""
        for measure in self.measures:
            if measure.name == name:
                return measure
        raise not_found(METRIC_TYPE, name)

    @cached_property
    def definitions(self) -> dict[str, Metric.Definition]:
        """How each measure is computed, by its name."""
        return {measure.name: self._definition(measure) for measure in self.measures}

    # Reading -------------------------------------------------------------------------------------------------------

    def read(
        self,
        call: Call,
        period: Period,
        now: datetime,
        *,
        bucket: Bucket | None = None,
        compare: bool = False,
        kept_since: datetime | None = None,
    ) -> Reading:
        """The figures of a period by one statement: in buckets too, and those of the period before, if asked.

        `kept_since`: older facts have been removed, so that figures of a period that begins before are PARTIAL.
        Raises RuleViolated for too many buckets.
        """
        length = None if bucket is None else self._length(period, bucket)
        bounds = [] if length is None else bounds_of(period, length)
        other = self._counterpart(period, now) if compare else None
        facts = self._run(call, period, other.period if other else None, bounds[:-1])
        scene = Scene(self.measures, self.definitions, period, now, kept_since, self.lies_ahead)
        return Reading(scene, facts, other, length, bounds)

    def _run(self, call: Call, period: Period, other: Period | None, bounds: list[datetime]) -> Facts:
        """What lies in the periods; with bounds, which are the starts of the buckets, in each bucket too."""
        result = call.reads.run(
            self.statement(in_buckets=bool(bounds)),
            **self.ends(period),
            first=self._bound((other or period).start, period),
            compared_end=self._bound(other.end if other else period.start, period),
            **({"bounds": [self._bound(each, period) for each in bounds]} if bounds else {}),
            **self.scope(call),
        )
        return self._facts(result)

    def _length(self, period: Period, asked: Bucket) -> Bucket:
        """The length of buckets. Raises RuleViolated for hours of facts that have only a day."""
        if asked == series_pb2.BUCKET_HOUR and self.is_dated:
            violation = Violation("bucket", "is no shorter than the days that these facts have", "bucket.days")
            raise broken_rules([violation])
        length = bucket_for(period, asked)
        return series_pb2.BUCKET_DAY if length == series_pb2.BUCKET_HOUR and self.is_dated else length

    def _counterpart(self, period: Period, now: datetime) -> Counterpart:
        """The period to compare with. Of facts that have only a day, the whole day that now lies in has passed."""
        found = counterpart(period, now)
        return replace(found, period=to_whole_days(found.period)) if self.is_dated else found

    def _facts(self, result: Result) -> Facts:
        """What the statement found. A single row without a period says that there is nothing in either."""
        rows = result.all()
        cells = {_key(row): self._cells(row) for row in rows if row["compared"] is not None}
        return Facts(bool(rows[0]["is_known"]), cells)

    def _cells(self, row: Row) -> dict[str, Cell]:
        return {
            measure.name: {name: row[_label(place, name)] for name in measure.columns()}
            for place, measure in enumerate(self.measures)
        }

    def statement(self, *, in_buckets: bool) -> Statement:
        """The statement of its figures. Its parameters: see `_run`."""
        return self._statements[in_buckets]

    # What statements need ------------------------------------------------------------------------------------------

    @property
    def moment(self) -> AnyColumn:
        """The column with the moment of a fact."""
        return self.table.c[self.time]

    @property
    def is_dated(self) -> bool:
        """Whether its facts have a day instead of a moment."""
        return isinstance(self.moment.type, Date)

    def ends(self, period: Period, field: str = "range") -> Row:
        """The parameters `start` and `end` of a period. Raises RuleViolated for one that cuts days that facts have."""
        if self.is_dated and period.days is None:
            raise broken_rules([Violation(field, "begins and ends with a local day", "time_range.days")])
        return {"start": self._bound(period.start, period), "end": self._bound(period.end, period)}

    def _bound(self, moment: datetime, period: Period) -> datetime | str:
        """A bound of a period or a bucket, as it is compared with the column."""
        return moment.astimezone(period.zone).date().isoformat() if self.is_dated else moment

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions of its facts, whatever the period: for figures and for members."""
        tenant = self.table.c.tenant_id == bindparam("series_tenant_id", type_=UUID(as_uuid=False))
        alive = [self.table.c.delete_time.is_(None)] if "delete_time" in self.table.c else []
        return [tenant, *alive, *([] if self.where is None else [self.where])]

    def scope(self, call: Call) -> Row:
        """The parameters of `conditions`."""
        return {"series_tenant_id": call.tenant_id, **self.parameters(call)}

    def within(self, start: str = "start") -> ColumnElement[bool]:
        """The condition that a fact lies in the half-open range from the parameter `start` to the parameter `end`."""
        kind = self.moment.type
        return and_(self.moment >= bindparam(start, type_=kind), self.moment < bindparam("end", type_=kind))

    def _select(self, *, in_buckets: bool) -> AnySelect:
        """The figures, and whether the tenant ever had a fact, which is looked up only where a period has none."""
        figures = self._figures(in_buckets=in_buckets).subquery("figures")
        ever = exists(select(literal_column("1")).select_from(self.table).where(*self.conditions()))
        known = case((figures.c.compared.is_not(None), true()), else_=ever).label("is_known")
        one = select(literal_column("1").label("one")).subquery("one")
        return select(known, *figures.c).select_from(one.outerjoin(figures, true()))

    def _figures(self, *, in_buckets: bool) -> AnySelect:
        """A row for each period, and for each of its buckets and currencies, as far as they have facts.

        The period that is compared with lies directly before the other one, so that both are one range of the index.
        """
        kind = self.moment.type
        start, compared_end = (bindparam(name, type_=kind) for name in ("start", "compared_end"))
        parts: list[AnyExpression] = [(self.moment < start).label("compared")]
        if in_buckets:
            bounds = bindparam("bounds", type_=ARRAY(kind))
            parts.append(func.width_bucket(self.moment, bounds, type_=BigInteger()).label("place"))
        part = select(*parts).correlate(self.table).lateral("part")
        place = part.c.place if in_buckets else literal_column("0", BigInteger())
        currency = self.table.c[self.currency] if self.currency else literal_column("''", Text())
        groups, marks = _groups(part.c.compared, place if in_buckets else None, currency if self.currency else None)
        return (
            select(part.c.compared, place.label("place"), currency.label("currency"), *marks, *self._columns())
            .select_from(self.table.join(part, true()))
            .where(*self.conditions(), self.within("first"), or_(self.moment >= start, self.moment < compared_end))
            .group_by(groups)
        )

    def _columns(self) -> Iterator[ColumnElement[Any]]:
        for place, measure in enumerate(self.measures):
            for name, expression in measure.columns().items():
                yield expression.label(_label(place, name))

    # The declaration -----------------------------------------------------------------------------------------------

    def _definition(self, measure: Measure) -> Metric.Definition:
        conditions = [sql_of(each) for each in (self.where, measure.where) if each is not None]
        formula = measure.call + (f" where {' and '.join(conditions)}" if conditions else "")
        return Metric.Definition(
            id=f"{self.name}.{measure.name}",
            version=self.version,
            formula=formula.replace(f"{self.table.name}.", ""),
            sources=[self.table.name],
        )

    def _faults(self) -> Iterator[str]:
        names = [measure.name for measure in self.measures]
        if len({*names}) != len(names) or not names:
            yield "name each of its measures, one at least, and none twice"
        if "tenant_id" not in self.table.c:
            yield f"{self.table.name} has no tenant_id"
        moment = self.table.c.get(self.time)
        if moment is None or moment.nullable or not _is_time(moment):
            yield f"{self.table.name}.{self.time} is neither a time_column nor a Date, or may be null"
        elif self.table.metadata is metadata and not _is_indexed(self.table, self.time):
            yield f"{self.table.name} needs an index on (tenant_id, {self.time})"
        currency = self.table.c.get(self.currency)
        if self.currency and (currency is None or not isinstance(currency.type, String) or currency.nullable):
            yield f"{self.table.name}.{self.currency} is no text that is not null"
        for measure in self.measures:
            yield from self._faults_of(measure)

    def _faults_of(self, measure: Measure) -> Iterator[str]:
        if isinstance(measure, Sum | Average) and not is_number(measure.of):
            yield f"{measure.name} adds up what is neither an Integer nor a Double: cast it"
        if measure.is_money and not self.currency:
            yield f"{measure.name} is money: name the column of its currency"
        if isinstance(measure, OfColumn) and measure.money and measure.unit != "1":
            yield f"{measure.name} is money, whose unit is its currency"


def _groups(
    compared: AnyExpression, place: AnyExpression | None, currency: AnyExpression | None
) -> tuple[AnyExpression, list[AnyExpression]]:
    """The grouping sets, and the columns that tell them apart: 1 where a set has all buckets or currencies in one."""
    sets: list[list[AnyExpression]] = [[compared]]
    marks: list[ColumnElement[Any]] = []
    for name, part in (("is_whole", place), ("is_mixed", currency)):
        if part is None:
            marks.append(literal_column("1", BigInteger()).label(name))
        else:
            sets = [*sets, *([*each, part] for each in sets)]
            marks.append(func.grouping(part, type_=BigInteger()).label(name))
    groups: AnyExpression = func.grouping_sets(*(tuple_(*each) for each in sets))
    return groups, marks


def _is_time(column: AnyColumn) -> bool:
    return isinstance(column.type, Date) or (isinstance(column.type, DateTime) and column.type.timezone)


def _key(row: Row) -> CellKey:
    place = None if row["is_whole"] else row["place"] - 1
    currency = None if row["is_mixed"] else row["currency"]
    return CellKey(compared=row["compared"], place=place, currency=currency)


def _label(place: int, name: str) -> str:
    return f"m{place}_{name}"


def _is_indexed(table: Table, name: str) -> bool:
    """Whether an index over all rows starts with the tenant and this column."""
    keys: list[list[str]] = [[each.name for each in table.primary_key.columns], *map(_parts, _whole_indexes(table))]
    return any(key[:2] == ["tenant_id", name] for key in keys)


def _whole_indexes(table: Table) -> list[Index]:
    return [index for index in table.indexes if index.dialect_options["postgresql"]["where"] is None]


def _parts(index: Index) -> list[str]:
    return [getattr(part, "name", "") for part in index.expressions]
