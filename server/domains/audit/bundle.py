"""Bundles: exports with their proofs, which `clients/audit/verify.py` verifies; it needs only the public key.

JSON Lines of format 1. The first line is the header. Then come the entries that the newest checkpoint seals, each with
its index in the tree, and those that it does not seal yet. Without a filter, all leaves are included, also those of
entries whose retention time is over, so that the tree can be rebuilt. With a filter, each entry has its own proof
instead.
"""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import BigInteger, bindparam, exists, literal_column

from server.data.audit import audit_entries
from server.data.statements import Row, Statement
from server.domains.audit import proofs
from server.domains.audit.checkpoints import origin
from server.domains.audit.export import OF_TENANT, UNTIL, Lines, every_row, oldest_first
from server.domains.audit.leaves import RETAINED_FROM, SLACK, Run, newest_checkpoint, places, sealed, time_of
from server.domains.audit.tables import audit_leaves
from server.kernel.record import EPOCH, canonical

FORMAT = 1
BATCH = 200
UNSEALED = Statement(
    oldest_first(
        OF_TENANT,
        UNTIL,
        audit_entries.c.create_time >= bindparam("since", type_=audit_entries.c.create_time.type),
        ~exists(literal_column("1")).where(
            audit_leaves.c.tenant_id == audit_entries.c.tenant_id,
            audit_leaves.c.entry_id == audit_entries.c.id,
            audit_leaves.c.leaf_index < bindparam("size", type_=BigInteger()),
        ),
    )
)


def complete(run: Run, tenant_id: str, until: datetime) -> Lines:
    """The whole log of a tenant up to a time."""
    checkpoint = newest_checkpoint(run, tenant_id)
    size: int = checkpoint["tree_size"] if checkpoint else 0
    yield _header(run, tenant_id, checkpoint, is_complete=True)
    since = EPOCH
    for first in range(0, size, BATCH):
        for leaf, entry in sealed(run, tenant_id, first, min(first + BATCH, size)):
            yield _leaf(leaf, entry)
            since = time_of(leaf["entry_id"]) - SLACK
    # Entries are sealed in the order in which they were written, so unsealed ones are not much older than the last
    # leaf.
    for row in every_row(run, UNSEALED, tenant=tenant_id, size=size, since=since, until=until):
        yield _line(_entry(row))


def filtered(run: Run, tenant_id: str, rows: Callable[[Run], Iterator[Row]]) -> Lines:
    """Selected entries of a tenant, each with its proof if it is sealed."""
    checkpoint = newest_checkpoint(run, tenant_id)
    size: int = checkpoint["tree_size"] if checkpoint else 0
    yield _header(run, tenant_id, checkpoint, is_complete=False)
    found = rows(run)
    while batch := list(islice(found, BATCH)):
        known = places(run, tenant_id, [row["id"] for row in batch])
        leaves = {entry_id: leaf for entry_id, leaf in known.items() if leaf["leaf_index"] < size}
        hashes = proofs.prove(run, tenant_id, size, [leaf["leaf_index"] for leaf in leaves.values()]) if leaves else {}
        for row in batch:
            leaf = leaves.get(row["id"])
            proof = f',"proof":{json.dumps([_base64(part) for part in hashes[leaf["leaf_index"]]])}' if leaf else ""
            yield _line((_place(leaf) if leaf else "") + _entry(row) + proof)


def _header(run: Run, tenant_id: str, checkpoint: Row | None, *, is_complete: bool) -> bytes:
    retained_from = run(RETAINED_FROM).value()
    header = {
        "format": FORMAT,
        "tenant_id": tenant_id,
        "origin": origin(tenant_id),
        "complete": is_complete,
        "tree_size": checkpoint["tree_size"] if checkpoint else 0,
        "checkpoint": checkpoint["note"] if checkpoint else "",
        "retained_from": f"{retained_from.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    return _line(json.dumps(header, ensure_ascii=False)[1:-1])


def _leaf(leaf: Row, entry: Row | None) -> bytes:
    return _line(_place(leaf) + (_entry(entry) if entry else f'"entry_id":"{leaf["entry_id"]}"'))


def _place(leaf: Row) -> str:
    return f'"leaf_index":{leaf["leaf_index"]},"hash":"{_base64(leaf["hash"])}",'


def _entry(row: Row) -> str:
    """The entry as it was hashed and as it is stored, byte for byte."""
    return f'"entry":{canonical(row)},"personal":{row["personal"]}'


def _line(members: str) -> bytes:
    return f"{{{members}}}\n".encode()


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
