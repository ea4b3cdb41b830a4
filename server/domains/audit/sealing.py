"""Sealing: every few seconds, committed entries of the audit log are added to the tenants' trees and signed.

Entries are taken in the reading order of the event log (server/data/events.py), so that none is missed although
transactions commit out of order. One process seals at a time. Each batch is one transaction, so that a process that
dies leaves nothing half done.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence

from prometheus_client import Counter, Gauge
from sqlalchemy import BigInteger, DateTime, Integer, Text, bindparam, cast, func, select, text, tuple_
from sqlalchemy.dialects import postgresql

from server.data.audit import audit_entries
from server.data.events import READ_HORIZON, Position, TransactionId
from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.audit import trees
from server.domains.audit.checkpoints import CheckpointKeys
from server.domains.audit.leaves import ENTRY_COLUMNS, PLACE_COLUMNS, Run
from server.domains.audit.merkle import HASH_BYTES
from server.kernel.clock import Clock, utc_now
from server.kernel.jobs import NEVER_AGAIN, Job, Schedule
from server.kernel.record import EVENT_LAG, leaf_hash

log = logging.getLogger("plinth.audit")
READER = "audit"
QUEUE = "audit"
# Seconds.
LONGEST_RUN = 600.0
BATCH = 2000
# Largest number of batches per call. The next call continues.
MOST_BATCHES = 500
# Waiting entries are counted up to this number.
MOST_COUNTED = 10_000
TREES_AT_ONCE = 1000

FAULTS = Counter("plinth_audit_faults", "What was found wrong with the audit log; what is found again counts again.")
UNSEALED = Gauge(
    "plinth_audit_unsealed",
    f"Audit entries that wait to be sealed; {MOST_COUNTED} stands for more.",
    multiprocess_mode="livemostrecent",
)

MAKE_CURSOR = Statement(text("INSERT INTO event_cursors (name) VALUES (:name) ON CONFLICT DO NOTHING"))
# Returns no row while another process seals.
LOCK_CURSOR = Statement(
    text("SELECT transaction_id, sequence FROM event_cursors WHERE name = :name FOR NO KEY UPDATE SKIP LOCKED").columns(
        transaction_id=BigInteger(), sequence=BigInteger()
    )
)
MOVE_CURSOR = Statement(
    text(
        """UPDATE event_cursors SET transaction_id = :transaction_id, sequence = :sequence, update_time = now()
            WHERE name = :name"""
    )
)
_order = (audit_entries.c.transaction_id, audit_entries.c.sequence)
_is_after = tuple_(*_order) > tuple_(
    cast(bindparam("transaction_id", type_=Text()), TransactionId()), bindparam("sequence", type_=BigInteger())
)
NEXT = Statement(
    select(*ENTRY_COLUMNS, *PLACE_COLUMNS)
    .where(
        _is_after,
        audit_entries.c.transaction_id
        < func.greatest(
            func.plinth_log_horizon(type_=TransactionId()),
            cast(bindparam("horizon", type_=Text()), TransactionId()),
            type_=TransactionId(),
        ),
    )
    .order_by(*_order)
    .limit(bindparam("limit", type_=Integer()))
)
HORIZON = Statement(text(READ_HORIZON).columns(horizon=BigInteger()))
_waiting = select(audit_entries.c.create_time).where(_is_after).order_by(*_order).limit(MOST_COUNTED).subquery()
WAITING = Statement(
    select(
        func.count(type_=BigInteger()).label("count"),
        func.min(_waiting.c.create_time, type_=DateTime(timezone=True)).label("oldest"),
    ).select_from(_waiting)
)
KNOWN = Statement(
    text(
        """SELECT entry.tenant_id, entry.id
             FROM unnest(CAST(:tenants AS uuid[]), CAST(:ids AS uuid[])) AS entry (tenant_id, id)
            CROSS JOIN LATERAL (
                SELECT FROM audit_leaves WHERE tenant_id = entry.tenant_id AND entry_id = entry.id LIMIT 1
            ) AS leaf"""
    ).columns(tenant_id=postgresql.UUID(as_uuid=False), id=postgresql.UUID(as_uuid=False))
)


class Sealer:
    """Seals committed entries, over connections of the dispatch role."""

    def __init__(self, database: Database, keys: CheckpointKeys, clock: Clock = utc_now) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._is_signed = False

    @property
    def schedule(self) -> Schedule:
        """The schedule: every 5 seconds."""
        return Schedule("* * * * * */5", Job("audit.seal_entries", self.run, QUEUE, NEVER_AGAIN, timeout=LONGEST_RUN))

    def run(self) -> None:
        """Seal once."""
        sealed = self.seal()
        if sealed:
            log.debug("sealed %d audit entries", sealed)

    def seal(self) -> int:
        """Seal the waiting entries. Returns their number, which is 0 while another process seals."""
        self._is_signed = self._is_signed or self._sign()
        total = 0
        horizon = self._look_at_horizon()
        for _ in range(MOST_BATCHES):
            taken, sealed = self._seal_batch(horizon)
            total += sealed
            if taken < BATCH:
                break
        return total

    def _look_at_horizon(self) -> int:
        """The horizon up to which entries may be read, whatever transactions of other databases are open."""
        with self._database.read(Scope()) as transaction:
            return int(transaction.run(HORIZON).value())

    def _seal_batch(self, horizon: int) -> tuple[int, int]:
        """Seal a batch. Returns the number of entries taken, and how many of them were sealed."""
        with self._database.write(Scope()) as transaction:
            place = _lock(transaction)
            if place is None:
                return 0, 0
            rows = transaction.run(NEXT, **_after(place), limit=BATCH, horizon=str(horizon)).all()
            sealed = 0
            if rows:
                sealed = self._seal_rows(transaction, rows)
                place = Position(rows[-1]["transaction_number"], rows[-1]["sequence"])
                transaction.queue(
                    MOVE_CURSOR, name=READER, transaction_id=place.transaction_id, sequence=place.sequence
                )
            if len(rows) < BATCH:
                self._measure(transaction.run(WAITING, **_after(place)).one())
        return len(rows), sealed

    def _seal_rows(self, transaction: WriteTransaction, rows: Sequence[Row]) -> int:
        """Seal the entries that are not sealed yet. Sealed ones appear again if the cursor was set back."""
        known = _known(transaction.run, rows)
        fresh = [row for row in rows if _key(row) not in known]
        tenants = sorted({row["tenant_id"] for row in fresh})
        grown, faults = trees.load(transaction.run, self._keys, tenants) if fresh else ({}, [])
        seen = set()
        for row in fresh:
            is_copy = _key(row) in seen
            faults += _faults_of(row, is_copy=is_copy)
            tree = grown.get(row["tenant_id"])
            if tree is not None and not is_copy:
                seen.add(_key(row))
                place = Position(row["transaction_number"], row["sequence"])
                tree.append(row["id"], place, _sealable(row["hash"]))
        _report(faults)
        trees.store(transaction, self._keys, grown.values())
        return len(seen)

    def _sign(self) -> bool:
        """After a rotation of the secret, sign the trees with the current key. False while another process seals.

        Once per process is enough, because only new processes know a new secret.
        """
        start: str | None = trees.LOWEST_ID
        while start is not None:
            with self._database.write(Scope()) as transaction:
                if _lock(transaction) is None:
                    return False
                notes = trees.newest_notes(transaction.run, start, TREES_AT_ONCE)
                stale = [tenant_id for tenant_id, note in notes.items() if not self._keys.is_current(note)]
                if stale:
                    found, faults = trees.load(transaction.run, self._keys, stale)
                    _report(faults)
                    trees.store(transaction, self._keys, found.values())
            start = trees.following(max(notes)) if len(notes) == TREES_AT_ONCE else None
        return True

    def _measure(self, waiting: Row) -> None:
        oldest = waiting["oldest"]
        UNSEALED.set(waiting["count"])
        EVENT_LAG.labels(READER).set((self._clock() - oldest).total_seconds() if oldest else 0)


def _lock(transaction: WriteTransaction) -> Position | None:
    """The sealed position of the log, locked until the transaction ends. None while another process holds the lock."""
    transaction.queue(MAKE_CURSOR, name=READER)
    cursor = transaction.run(LOCK_CURSOR, name=READER).first()
    return Position(cursor["transaction_id"], cursor["sequence"]) if cursor else None


def _after(place: Position) -> dict[str, object]:
    return {"transaction_id": str(place.transaction_id), "sequence": place.sequence}


def _key(row: Row) -> tuple[str, str]:
    return row["tenant_id"], row["id"]


def _known(run: Run, rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Tenant and id of the entries that are already sealed."""
    found = run(KNOWN, tenants=[row["tenant_id"] for row in rows], ids=[row["id"] for row in rows])
    return {_key(row) for row in found.all()}


def _faults_of(row: Row, *, is_copy: bool) -> Iterable[str]:
    name = f"tenant {row['tenant_id']} entry {row['id']}"
    if is_copy:
        yield f"{name} is there twice"
    elif leaf_hash(row) != row["hash"]:
        yield f"{name} is not what its hash was made of"


def _sealable(stored: bytes) -> bytes:
    """The hash to seal. It is the stored one, so that a later change of the entry is detected."""
    return stored if len(stored) == HASH_BYTES else hashlib.sha256(stored).digest()


def _report(faults: Iterable[str]) -> None:
    for fault in faults:
        FAULTS.inc()
        log.error("audit log: %s", fault)
