"""Measures: what a figure says about the facts of a period, as SQL and as the value that is made of its result.

The facts of a measure are the rows that meet its condition and whose column is set: those are counted, folded and
listed as members. A figure is a pure function of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Double,
    Float,
    Integer,
    and_,
    cast,
    distinct,
    func,
    literal_column,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.visitors import replacement_traverse

from server.data.clauses import AnyExpression, AnyType

Number = int | float
ROWS = "rows"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure of a read model."""

    name: str
    where: ColumnElement[bool] | None = None
    """The condition of its facts, beside that of the read model."""
    unit: str = "1"
    """As `Metric.unit` says. Money has its currency instead."""
    least: int = 1
    """With fewer facts than this, the figure is INSUFFICIENT_DATA."""
    empty_is_zero: bool | None = None
    """Whether a period without facts is 0 rather than NO_DATA. By default as the kind of the measure says."""

    zero_by_default: ClassVar[bool] = False

    @property
    def is_zero_without_facts(self) -> bool:
        """Whether a period without facts is 0."""
        return self.zero_by_default if self.empty_is_zero is None else self.empty_is_zero

    @property
    def is_money(self) -> bool:
        """Whether it is an amount in the currency of the row."""
        return False

    @property
    def facts(self) -> ColumnElement[bool]:
        """The condition of its facts, beside that of the read model."""
        conditions = [] if self.where is None else [self.where]
        column = self.column
        if column is not None and getattr(column, "nullable", True):
            conditions.append(column.is_not(None))
        return and_(true(), *conditions)

    @property
    def column(self) -> AnyExpression | None:
        """The column that it reads; None for one that counts rows."""
        return None

    def columns(self) -> dict[str, AnyExpression]:
        """What the statement selects, by the name behind that of the measure. `rows` is the number of facts."""
        return {ROWS: func.count().filter(self.facts)} | self.aggregates()

    def aggregates(self) -> dict[str, AnyExpression]:
        """What it selects beside the number of facts."""
        return {}

    def value(self, cell: Mapping[str, Any]) -> Number | None:
        """The value, from what was selected for a period with facts. None if there is nothing to divide by."""
        raise NotImplementedError

    @property
    def call(self) -> str:
        """The formula without its condition."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Count(Measure):
    """The number of rows."""

    zero_by_default: ClassVar[bool] = True

    def value(self, cell: Mapping[str, Any]) -> Number:
        """The number of facts."""
        rows: int = cell[ROWS]
        return rows

    @property
    def call(self) -> str:
        """Such as `count()`."""
        return "count()"


@dataclass(frozen=True, kw_only=True)
class OfColumn(Measure):
    """A measure of one column. Rows in which it is NULL are no facts."""

    of: AnyExpression
    money: bool = False
    """Whether it holds minor units of the read model's currency. Then there is one figure for each currency."""

    @property
    def is_money(self) -> bool:
        """Whether it is an amount in the currency of the row."""
        return self.money

    @property
    def column(self) -> AnyExpression:
        """The column."""
        return self.of


@dataclass(frozen=True, kw_only=True)
class Sum(OfColumn):
    """The sum of a column of integers or doubles."""

    zero_by_default: ClassVar[bool] = True

    def aggregates(self) -> dict[str, AnyExpression]:
        """The sum, in the type that holds it."""
        return _sum(self)

    def value(self, cell: Mapping[str, Any]) -> Number | None:
        """The sum."""
        total: Number = cell["sum"]
        return total

    @property
    def call(self) -> str:
        """Such as `sum(count)`."""
        return f"sum({sql_of(self.of)})"


@dataclass(frozen=True, kw_only=True)
class Average(OfColumn):
    """The sum of a column, divided by the number of rows in which it is set."""

    def aggregates(self) -> dict[str, AnyExpression]:
        """The sum. A stored average could not be added up."""
        return _sum(self)

    def value(self, cell: Mapping[str, Any]) -> Number | None:
        """The quotient."""
        average: float = cell["sum"] / cell[ROWS]
        return average

    @property
    def call(self) -> str:
        """Such as `sum(seconds) / count()`."""
        return f"sum({sql_of(self.of)}) / count()"


@dataclass(frozen=True, kw_only=True)
class Distinct(OfColumn):
    """The number of different values of a column. Those of buckets do not add up to that of the period."""

    zero_by_default: ClassVar[bool] = True

    def aggregates(self) -> dict[str, AnyExpression]:
        """The number of values."""
        return {"values": func.count(distinct(self.of)).filter(self.facts)}

    def value(self, cell: Mapping[str, Any]) -> Number:
        """The number of values."""
        values: int = cell["values"]
        return values

    @property
    def call(self) -> str:
        """Such as `count(distinct actor_id)`."""
        return f"count(distinct {sql_of(self.of)})"


@dataclass(frozen=True, kw_only=True)
class Percentile(OfColumn):
    """The value of a column below which a share of the rows lies, interpolated: 0.5 is the median."""

    at: float

    def aggregates(self) -> dict[str, AnyExpression]:
        """The percentile, as PostgreSQL computes it."""
        inverse = func.percentile_cont(self.at).within_group(cast(self.of, Double()))
        return {"percentile": inverse.filter(self.facts)}

    def value(self, cell: Mapping[str, Any]) -> Number | None:
        """The percentile."""
        found: float = cell["percentile"]
        return found

    @property
    def call(self) -> str:
        """Such as `percentile(seconds, 0.95)`."""
        return f"percentile({sql_of(self.of)}, {self.at})"


@dataclass(frozen=True, kw_only=True)
class Share(Measure):
    """The share of the facts that also meet a condition, from 0 to 1."""

    part: ColumnElement[bool]

    def aggregates(self) -> dict[str, AnyExpression]:
        """The number of facts that meet the condition."""
        return {"part": func.count().filter(and_(self.facts, self.part))}

    def value(self, cell: Mapping[str, Any]) -> Number | None:
        """The quotient."""
        share: float = cell["part"] / cell[ROWS]
        return share

    @property
    def call(self) -> str:
        """Such as `count(where outcome != 'OK') / count()`."""
        return f"count(where {sql_of(self.part)}) / count()"


def sql_of(clause: ColumnElement[Any]) -> str:
    """A condition or a column as SQL, with its constants. What depends on the call stays a parameter: `:user_id`."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    shown = replacement_traverse(clause, {}, _parameter)
    return str(shown.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _parameter(element: object, **_: object) -> AnyExpression | None:
    if isinstance(element, BindParameter) and element.required:
        return literal_column(f":{element.key}")
    return None


def _sum(measure: OfColumn) -> dict[str, AnyExpression]:
    """The sum in the widest type of its kind: PostgreSQL's own would be a numeric for integers of 8 bytes."""
    wide: AnyType = Double() if isinstance(measure.of.type, Float) else BigInteger()
    return {"sum": cast(func.sum(measure.of).filter(measure.facts), wide)}


def is_number(column: AnyExpression) -> bool:
    """Whether sums can be made of a column."""
    return isinstance(column.type, Integer | Float)
