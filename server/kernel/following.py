"""Following the event log in a worker: what a domain does about events of others, each in a transaction of its own.

The cursor of a follower moves behind a batch once all of it was handled, so an event may be handled again, by another
worker or after a crash: handling it has to be idempotent. No lock is held meanwhile, as every reader of the log waits
for transactions with one. A new follower begins at the end of the log.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import Executor

import psycopg
from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, LargeBinary, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server import pulses
from server.data.connections import DatabaseUnavailable
from server.data.events import Event, Position
from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.kernel.hints import PACE, HintListener, Hints

log = logging.getLogger("plinth.following")
BATCH = 500
# Seconds between two reads of the log without a hint, and until the next one after a failure.
POLL, PAUSE = 2.0, 1.0
LATE = 60.0
_name = bindparam("name", type_=Text())
_position = (bindparam("transaction_id", type_=BigInteger()), bindparam("sequence", type_=BigInteger()))
MAKE_CURSOR = Statement(
    text(
        """
        INSERT INTO event_cursors (name, transaction_id, sequence)
        SELECT :name, coalesce(last.transaction_id::text::bigint, 0), coalesce(last.sequence, 0)
          FROM (SELECT) AS nothing
          LEFT JOIN (SELECT transaction_id, sequence FROM events
                      ORDER BY events.transaction_id DESC, events.sequence DESC LIMIT 1) AS last ON true
         WHERE NOT EXISTS (SELECT FROM event_cursors WHERE name = :name)
            ON CONFLICT DO NOTHING
        """
    ).bindparams(_name)
)
CURSOR = Statement(
    text("SELECT transaction_id, sequence FROM event_cursors WHERE name = :name")
    .bindparams(_name)
    .columns(transaction_id=BigInteger(), sequence=BigInteger())
)
NEXT = Statement(
    text(
        """
        WITH batch AS MATERIALIZED (
            SELECT tenant_id, transaction_id::text::bigint AS transaction_id, sequence, id, type, resource_id,
                   message_type, CASE WHEN type = ANY (CAST(:types AS text[])) THEN payload END AS payload, create_time,
                   audience
              FROM events
             WHERE (events.transaction_id, events.sequence) > (CAST(:transaction_id AS text)::xid8, :sequence)
               AND events.transaction_id < plinth_log_horizon()
             ORDER BY events.transaction_id, events.sequence LIMIT :limit
        ), last AS (
            SELECT transaction_id, sequence FROM batch ORDER BY transaction_id DESC, sequence DESC LIMIT 1
        )
        SELECT batch.*, (SELECT count(*) FROM batch)::integer AS size
          FROM batch CROSS JOIN last
         WHERE batch.payload IS NOT NULL
            OR (batch.transaction_id, batch.sequence) = (last.transaction_id, last.sequence)
         ORDER BY batch.transaction_id, batch.sequence
        """
    )
    .bindparams(
        bindparam("transaction_id", type_=Text()),
        *(_position[1], bindparam("limit", type_=Integer()), bindparam("types", type_=ARRAY(Text()))),
    )
    .columns(
        tenant_id=UUID(as_uuid=False),
        transaction_id=BigInteger(),
        sequence=BigInteger(),
        id=UUID(as_uuid=False),
        type=Text(),
        resource_id=Text(),
        message_type=Text(),
        payload=LargeBinary(),
        create_time=DateTime(timezone=True),
        audience=UUID(as_uuid=False),
        size=Integer(),
    )
)
"""Takes `types`, a position and `limit`. Of the next events those of these types, and in any case the last one."""
MOVE = Statement(
    text(
        """
        UPDATE event_cursors SET transaction_id = :transaction_id, sequence = :sequence, update_time = now()
         WHERE name = :name AND (transaction_id, sequence) < (:transaction_id, :sequence)
        """
    ).bindparams(_name, *_position)
)
Handle = Callable[[Event], None]
"""Handles one event of a tenant. Blocks. What it raises is logged, and the event is left out."""


class LogFollower:
    """A background service that handles events of some types."""

    def __init__(
        self, name: str, types: Collection[str], handle: Handle, *, dispatch: Database, hints: Hints, threads: Executor
    ) -> None:
        """`name` is that of the cursor. `dispatch` reads the log of all tenants."""
        self._name, self._types, self._handle = name, frozenset(types), handle
        self._dispatch, self._hints, self._threads = dispatch, HintListener(hints), threads

    async def run(self) -> None:
        """Follow until cancelled."""
        listening = asyncio.create_task(self._hints.listen())
        pulse = pulses.begin(f"follower {self._name}", LATE)
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    await loop.run_in_executor(self._threads, self.follow)
                    pulse.beat()
                    await self._hints.wait(POLL)
                    # Later events come along with those of the hint.
                    await asyncio.sleep(PACE)
                except (psycopg.Error, DatabaseUnavailable) as error:
                    log.warning("%s cannot follow events: %s", self._name, type(error).__name__)
                    await asyncio.sleep(PAUSE)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def follow(self) -> int:
        """Handle what is new. Returns how many events that were, handled or not."""
        total, position = 0, self._position()
        while True:
            with self._dispatch.read(Scope()) as transaction:
                key = {"transaction_id": str(position.transaction_id), "sequence": position.sequence}
                rows = transaction.run(NEXT, **key, types=sorted(self._types), limit=BATCH).all()
            if not rows:
                return total
            for row in rows:
                if row["type"] in self._types:
                    self._do(_event(row))
            position = Position(rows[-1]["transaction_id"], rows[-1]["sequence"])
            self._move(position)
            size: int = rows[-1]["size"]
            total += size
            if size < BATCH:
                return total

    def _do(self, event: Event) -> None:
        try:
            self._handle(event)
        except (psycopg.OperationalError, DatabaseUnavailable):
            # The next round begins at the same place.
            raise
        except Exception:
            log.exception("%s cannot handle event %s, which is left out", self._name, event.id)

    def _position(self) -> Position:
        with self._dispatch.read(Scope()) as transaction:
            row = transaction.run(CURSOR, name=self._name).first()
        if row is None:
            with self._dispatch.write(Scope()) as writing:
                writing.run(MAKE_CURSOR, name=self._name)
            with self._dispatch.read(Scope()) as transaction:
                row = transaction.run(CURSOR, name=self._name).one()
        return Position(row["transaction_id"], row["sequence"])

    def _move(self, position: Position) -> None:
        key = {"transaction_id": position.transaction_id, "sequence": position.sequence}
        with self._dispatch.write(Scope()) as transaction:
            transaction.run(MOVE, name=self._name, **key)


def _event(row: Row) -> Event:
    position = Position(row["transaction_id"], row["sequence"])
    rest = {name: value for name, value in row.items() if name not in {"transaction_id", "sequence", "size"}}
    return Event(position=position, **rest)
