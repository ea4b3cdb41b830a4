"""Choosing a random entry, or the entry of a day."""

from datetime import UTC, date, datetime, time
from hashlib import blake2b

from sqlalchemy import ARRAY, DateTime, Double, Integer, bindparam, case, func, literal_column, or_, select, text, true
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyColumn, AnySelect
from server.data.statements import Statement
from server.domains.dictionary.tables import dictionary_entries

MOST_NEAR = 1_000
"""Entries that are read from a point on, to find one that was published before a moment."""
TRIES = """
SELECT place, start, moment
  FROM (VALUES (1, CAST(:point AS double precision), CAST(:before AS timestamptz)),
               (2, 0, :before), (3, :point, NULL), (4, 0, NULL)) AS v (place, start, moment)
"""
_id = UUID(as_uuid=False)


def choosing(columns: tuple[AnyColumn, ...]) -> Statement:
    """The published entry with the least random key from a point on, or from the beginning if there is none after it.

    With `before`, a time, the entry was published earlier. If none of the MOST_NEAR entries from the point on, and from
    the beginning on, was published earlier, `before` is ignored. Takes `tenant`, `dictionaries`, `point` and `before`.
    """
    return Statement(lambda: _chosen(columns))


def _chosen(columns: tuple[AnyColumn, ...]) -> AnySelect:
    e = dictionary_entries.c
    before = bindparam("before", type_=DateTime(timezone=True))
    asked = func.unnest(bindparam("dictionaries", type_=ARRAY(_id))).table_valued("dictionary_id").render_derived("d")
    tries = text(TRIES).bindparams(bindparam("point", type_=Double()), before)
    tried = tries.columns(place=Integer(), start=Double(), moment=before.type).subquery("t")
    near = (
        select(*columns, e.random_key.label("random_key"), e.publish_time.label("published"))
        .where(
            e.tenant_id == bindparam("tenant", type_=_id),
            e.dictionary_id == asked.c.dictionary_id,
            # As the partial index has it.
            e.state == literal_column("3"),
            e.delete_time.is_(None),
            e.random_key >= tried.c.start,
        )
        .order_by(e.random_key)
        .limit(case((tried.c.moment.is_(None), literal_column("1")), else_=literal_column(str(MOST_NEAR))))
        .correlate(asked, tried)
        .lateral("near")
    )
    first = (
        select(near)
        .where(or_(tried.c.moment.is_(None), near.c.published < tried.c.moment))
        .order_by(near.c.random_key)
        .limit(literal_column("1"))
        .correlate(asked, tried)
        .lateral("first")
    )
    return (
        select(*(first.c[column.name] for column in columns))
        .select_from(asked.join(tried, true()).join(first, true()))
        .order_by(tried.c.place, first.c.random_key)
        .limit(literal_column("1"))
    )


def point_of(tenant_id: str, place: str, day: date) -> float:
    """A number from 0 up to 1 that is the same for a tenant, a place and a day."""
    digest = blake2b(f"{tenant_id}\n{place}\n{day.isoformat()}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def beginning_of(day: date) -> datetime:
    """When a day begins, in UTC."""
    return datetime.combine(day, time(), UTC)
