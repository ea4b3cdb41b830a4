"""A table of facts in a database of its own, read as the role that serves, and the folds that figures have to equal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from plinth.sites.v1.page_pb2 import Page
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, MetaData, Table, Text, literal_column
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyColumn, AnyType
from server.data.connections import Connections, Result
from server.data.statements import uuid_text
from server.data.tables import OWN_TENANT
from server.data.transactions import Database, Scope
from server.kernel.call import Call
from server.kernel.read_models import Average, Count, Distinct, Percentile, Series, Share, Sum
from server.kernel.resources import Raw, ReadRows, Resource
from server.kernel.resources.resource import Hooks
from tests.contract.scratch import run, scratch_role
from tests.kernel import calls
from tests.kernel.database import connections, scratch
from tests.stack import Stack

CREATE = f"""
CREATE TABLE sales (
  tenant_id uuid NOT NULL, id uuid NOT NULL DEFAULT gen_random_uuid(), sale_time timestamptz NOT NULL,
  due_date date NOT NULL,
  buyer text, seconds float8, amount bigint NOT NULL, currency text NOT NULL, refunded boolean NOT NULL,
  delete_time timestamptz, PRIMARY KEY (tenant_id, id));
CREATE INDEX sales_sale_time_idx ON sales (tenant_id, sale_time, id);
ALTER TABLE sales ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales FORCE ROW LEVEL SECURITY;
CREATE POLICY sales_wall ON sales USING ({OWN_TENANT});
CREATE VIEW facts_sale WITH (security_invoker = true) AS SELECT * FROM sales"""
COLUMNS: tuple[tuple[str, AnyType], ...] = (
    ("tenant_id", UUID(as_uuid=False)),
    ("id", UUID(as_uuid=False)),
    ("sale_time", DateTime(timezone=True)),
    ("due_date", Date()),
    ("buyer", Text()),
    ("seconds", Double()),
    ("amount", BigInteger()),
    ("currency", Text()),
    ("delete_time", DateTime(timezone=True)),
)
NULLABLE = ("buyer", "seconds", "delete_time")


def described(name: str) -> Table:
    """The table, or the view of it."""
    columns: list[Column[Any]] = [Column(each, kind, nullable=each in NULLABLE) for each, kind in COLUMNS]
    return Table(name, MetaData(), *columns)


def series_over(name: str) -> Series:
    """A read model with a measure of every kind."""
    table = described(name)
    refunded = literal_column("refunded", Boolean())
    return Series(
        name="sales",
        table=table,
        time="sale_time",
        where=table.c.amount > 0,
        currency="currency",
        measures=(
            Count(name="sales"),
            Count(name="refunds", where=refunded),
            Distinct(name="buyers", of=table.c.buyer),
            Sum(name="seconds", of=table.c.seconds, unit="s"),
            Average(name="mean", of=table.c.seconds, unit="s"),
            Percentile(name="median", of=table.c.seconds, at=0.5, unit="s", least=3),
            Share(name="refund_rate", part=refunded),
            Sum(name="revenue", of=table.c.amount, money=True),
            Average(name="basket", of=table.c.amount, money=True),
        ),
    )


@dataclass(frozen=True)
class Sale:
    """One fact."""

    id: str
    time: datetime
    due: date = date(2000, 1, 1)
    buyer: str | None = None
    seconds: float | None = None
    amount: int = 100
    currency: str = "EUR"
    refunded: bool = False
    deleted: bool = False


Fold = Callable[[Sequence[Sale]], float | None]
"""The value of a figure, from its members. For money, in minor units."""


def median(values: list[float]) -> float | None:
    """By interpolation, as percentile_cont has it; None for fewer than three."""
    ordered, middle = sorted(values), len(values) // 2
    if len(ordered) < 3:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


FOLDS: dict[str, Fold] = {
    "sales": len,
    "refunds": len,
    "buyers": lambda sales: len({sale.buyer for sale in sales}),
    "seconds": lambda sales: sum(sale.seconds or 0 for sale in sales),
    "mean": lambda sales: sum(sale.seconds or 0 for sale in sales) / len(sales) if sales else None,
    "median": lambda sales: median([sale.seconds or 0 for sale in sales]),
    "refund_rate": lambda sales: sum(sale.refunded for sale in sales) / len(sales) if sales else None,
    "revenue": lambda sales: sum(sale.amount for sale in sales),
    "basket": lambda sales: sum(sale.amount for sale in sales) / len(sales) if sales else None,
}
# Which sales are facts of a measure, beside being within the range.
FACTS: dict[str, Callable[[Sale], bool]] = {
    "refunds": lambda sale: sale.refunded,
    "buyers": lambda sale: sale.buyer is not None,
    **dict.fromkeys(("seconds", "mean", "median"), lambda sale: sale.seconds is not None),
}


class IdPlan:
    """Rows as messages that hold nothing but their id."""

    def __init__(self, table: Table) -> None:
        self.columns: tuple[AnyColumn, ...] = (table.c.id, table.c.sale_time, table.c.due_date)

    def message(self, raw: Raw) -> Page:
        return Page(id=uuid_text(raw[0] or b""))

    def messages(self, result: Result) -> list[Page]:
        return [self.message(result.raw(row)) for row in range(result.returned)]


def rows_of(table: Table) -> ReadRows[Page]:
    """The rows of the table, for members."""
    return ReadRows(Hooks[Page](), Resource(Page, table), IdPlan(table))


def _rest(sale: Sale) -> tuple[object, ...]:
    return sale.amount, sale.currency, sale.refunded, sale.due, sale.deleted


@dataclass(frozen=True)
class Shop:
    """The database, as its owner and as the role that serves."""

    owner: str
    pool: Connections

    def record(self, tenant_id: str, sales: Sequence[Sale]) -> None:
        """Write facts of a tenant."""
        query = (
            "INSERT INTO sales"
            " (tenant_id, id, sale_time, buyer, seconds, amount, currency, refunded, due_date, delete_time)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, CASE WHEN %s THEN now() END)"
        )
        values = [(tenant_id, each.id, each.time, each.buyer, each.seconds, *_rest(each)) for each in sales]
        with psycopg.connect(self.owner) as connection, connection.cursor() as cursor:
            cursor.executemany(query, values)

    @contextmanager
    def call(self, tenant_id: str) -> Iterator[Call]:
        """A call of a tenant, with a transaction under row-level security."""
        call = calls.call(calls.GET)
        call.tenant_id = tenant_id
        with Database(self.pool).read(Scope(tenant_id=tenant_id)) as transaction:
            call.transaction = transaction
            yield call


@contextmanager
def opened(stack: Stack) -> Iterator[Shop]:
    """A shop whose serving role can only read, and is bound by row-level security."""
    with scratch(stack, CREATE) as owner, scratch_role(owner) as (role, dsn):
        run(owner, "GRANT SELECT ON sales, facts_sale TO {}", role)
        run(owner, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {}", role)
        with connections(dsn) as pool:
            yield Shop(owner, pool)
