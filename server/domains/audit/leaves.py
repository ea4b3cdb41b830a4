"""Reads of the stored leaves of tenants' trees, of their entries, and of the tiles over them.

Every function takes the `run` of a transaction that may see the tenants in question.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, BigInteger, DateTime, LargeBinary, SmallInteger, Text, any_, bindparam, cast, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.audit import audit_entries
from server.data.connections import Result
from server.data.statements import Row, Statement
from server.domains.audit.merkle import Tile
from server.domains.audit.tables import audit_checkpoints, audit_leaves
from server.kernel.record import EPOCH

Run = Callable[..., Result]
SLACK = timedelta(days=1)
"""Largest expected difference between the time in an entry's id and `create_time`. Beyond it, the search is slower."""
# Milliseconds since 1970, in the year 2286: ids can hold times that a datetime cannot.
LATEST = 10**13

_tenant = bindparam("tenant", type_=audit_leaves.c.tenant_id.type)
_ids = any_(bindparam("ids", type_=ARRAY(UUID(as_uuid=False))))
_first, _last, _size = (bindparam(name, type_=BigInteger()) for name in ("first", "last", "size"))
_since, _until = (bindparam(name, type_=DateTime(timezone=True)) for name in ("since", "until"))
_checkpoint = select(
    audit_checkpoints.c.tree_size,
    audit_checkpoints.c.root_hash,
    audit_checkpoints.c.note,
    audit_checkpoints.c.create_time,
).where(audit_checkpoints.c.tenant_id == _tenant)
_leaf = select(*(column for column in audit_leaves.c if column.name != "tenant_id")).where(
    audit_leaves.c.tenant_id == _tenant
)
# The columns of the canonical form, and those compared with its hash and commitments.
ENTRY_COLUMNS = tuple(column for column in audit_entries.c if column.name not in ("transaction_id", "sequence"))
PLACE_COLUMNS = (
    cast(cast(audit_entries.c.transaction_id, Text), BigInteger).label("transaction_number"),
    audit_entries.c.sequence,
)
_entry = select(*ENTRY_COLUMNS, *PLACE_COLUMNS).where(audit_entries.c.tenant_id == _tenant, audit_entries.c.id == _ids)

NEWEST = Statement(_checkpoint.order_by(audit_checkpoints.c.tree_size.desc()).limit(1))
OF_SIZE = Statement(_checkpoint.where(audit_checkpoints.c.tree_size == _size))
LEAVES = Statement(
    _leaf.where(audit_leaves.c.leaf_index >= _first, audit_leaves.c.leaf_index < _last).order_by(
        audit_leaves.c.leaf_index
    )
)
PLACES = Statement(_leaf.where(audit_leaves.c.entry_id == _ids))
# Reads only the partitions of this time range.
ENTRIES_BETWEEN = Statement(_entry.where(audit_entries.c.create_time.between(_since, _until)))
ENTRIES = Statement(_entry)
RETAINED_FROM = Statement(
    text(
        """SELECT to_date(min(right(c.relname, 7)), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC' AS retained_from
             FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'public.audit_entries'::regclass"""
    ).columns(retained_from=DateTime(timezone=True))
)
"""The start of the oldest month that is kept. Earlier entries have been removed, and their leaves remain."""
# Each tile is read by a scan of the primary key. A tile with a gap is left out.
TILES = Statement(
    text(
        """SELECT tile.tenant_id, tile.level, tile.number, stored.hashes
             FROM unnest(CAST(:tenants AS uuid[]), CAST(:levels AS smallint[]), CAST(:numbers AS bigint[]))
                  AS tile (tenant_id, level, number)
            CROSS JOIN LATERAL (
                SELECT string_agg(hash, '' ORDER BY leaf_index) AS hashes
                  FROM audit_leaves
                 WHERE tile.level = 0 AND tenant_id = tile.tenant_id
                   AND leaf_index >= tile.number * 256 AND leaf_index < tile.number * 256 + 256
                HAVING count(*) = max(leaf_index) - tile.number * 256 + 1
             UNION ALL
                SELECT string_agg(hash, '' ORDER BY node_index)
                  FROM audit_nodes
                 WHERE tile.level > 0 AND tenant_id = tile.tenant_id AND level = tile.level
                   AND node_index >= tile.number * 256 AND node_index < tile.number * 256 + 256
                HAVING count(*) = max(node_index) - tile.number * 256 + 1
            ) AS stored"""
    ).columns(tenant_id=UUID(as_uuid=False), level=SmallInteger(), number=BigInteger(), hashes=LargeBinary())
)


def newest_checkpoint(run: Run, tenant_id: str) -> Row | None:
    """The checkpoint of the largest size: `tree_size`, `root_hash`, `note`, `create_time`.

    None before the first one.
    """
    return run(NEWEST, tenant=tenant_id).first()


def checkpoint_of_size(run: Run, tenant_id: str, size: int) -> Row | None:
    """The checkpoint of exactly this size."""
    return run(OF_SIZE, tenant=tenant_id, size=size).first()


def sealed(run: Run, tenant_id: str, first: int, last: int) -> list[tuple[Row, Row | None]]:
    """The existing leaves from `first` to `last - 1`, in order, each with its entry, or None if the entry is missing.

    A leaf is returned once per row with the id of its entry; only a forger makes more than one.
    """
    found = run(LEAVES, tenant=tenant_id, first=first, last=last).all()
    rows: dict[str, list[Row | None]] = {}
    for row in entries(run, tenant_id, [leaf["entry_id"] for leaf in found]):
        rows.setdefault(row["id"], []).append(row)
    return [(leaf, row) for leaf in found for row in rows.get(leaf["entry_id"], [None])]


def entries(run: Run, tenant_id: str, ids: Sequence[str]) -> list[Row]:
    """The existing entries with these ids, in any order."""
    if not ids:
        return []
    times = [time_of(entry_id) for entry_id in ids]
    since, until = min(times) - SLACK, max(times) + SLACK
    found: list[Row] = run(ENTRIES_BETWEEN, tenant=tenant_id, ids=ids, since=since, until=until).all()
    missing = list(set(ids) - {row["id"] for row in found})
    return found + run(ENTRIES, tenant=tenant_id, ids=missing).all() if missing else found


def places(run: Run, tenant_id: str, ids: Sequence[str]) -> dict[str, Row]:
    """The leaves of entries by entry id: `leaf_index`, `entry_id`, `hash`. Entries that are not sealed have none."""
    return {row["entry_id"]: row for row in run(PLACES, tenant=tenant_id, ids=ids).all()}


def tiles(run: Run, wanted: Iterable[tuple[str, Tile]]) -> dict[tuple[str, Tile], bytes]:
    """Tiles of tenants' trees, in one statement. A tile that is missing or has a gap is left out."""
    asked = list(wanted)
    if not asked:
        return {}
    rows = run(
        TILES,
        tenants=[tenant_id for tenant_id, _ in asked],
        levels=[str(tile.level) for _, tile in asked],
        numbers=[str(tile.number) for _, tile in asked],
    ).all()
    return {(row["tenant_id"], Tile(row["level"], row["number"])): row["hashes"] for row in rows}


def time_of(entry_id: str) -> datetime:
    """The time in a UUIDv7, in milliseconds; an arbitrary time for another id."""
    return EPOCH + timedelta(milliseconds=min(int(entry_id[:8] + entry_id[9:13], 16), LATEST))
