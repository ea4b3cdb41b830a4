"""Carrying on: moves whose process died, or whose answer was lost, are brought to an end by the workers."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Protocol

from google.protobuf.message import Message

from server.data.moves import CLAIM, DUE, SENDING
from server.data.statements import Row
from server.data.transactions import Database, Scope, WriteTransaction
from server.kernel.caching.generations import slot_of
from server.kernel.clock import Clock
from server.kernel.jobs import NEVER_AGAIN, Job, Schedule
from server.kernel.providers.moves import AGAIN, CARRY_ON, Intent, Move, Outcome, State
from server.kernel.record import record_platform_change

log = logging.getLogger("plinth.moves")
# When workers look for moves that nobody acts on.
EVERY = "* * * * * */10"
AT_ONCE = 100
# Seconds after which a sweep leaves the rest to the next one.
LONGEST_SWEEP = 120.0
# For what nobody can look up.
NOT_AGAIN = timedelta(days=36_500).total_seconds()


class Slots(Protocol):
    """The generations of cached answers."""

    def changing(self, slots: set[int]) -> object:
        """A write under these slots is about to commit."""

    def changed(self, slots: set[int]) -> None:
        """The write has ended."""


@dataclass(frozen=True)
class JobSettlement:
    """The transaction of a job."""

    move: Move
    intent: Intent
    outcome: Outcome
    writes: WriteTransaction
    slots: set[int]
    clock: Clock

    def tell(self, event: str, before: Message | None, after: Message, *, audience: str | None) -> None:
        """Write an event and an audit entry, in the name of the platform."""
        record_platform_change(
            self.writes,
            event,
            cause=self.move.name,
            before=before,
            after=after,
            now=self.clock(),
            tenant_id=self.intent.tenant_id,
            audience=audience,
        )

    def invalidate(self, tag: str) -> None:
        """Invalidate a tag."""
        self.slots.add(slot_of(tag))


class Carrier:
    """Brings moves to an end."""

    def __init__(
        self, moves: Sequence[Move], database: Database, dispatch: Database, generations: Slots, clock: Clock
    ) -> None:
        """`dispatch` is the database as the role for work across tenants. Raises LookupError for two of one name."""
        self._moves = {move.name: move for move in moves}
        if len(self._moves) < len(moves):
            raise LookupError(f"two moves have one name, of {', '.join(sorted(move.name for move in moves))}")
        self._database = database
        self._dispatch = dispatch
        self._generations = generations
        self._clock = clock

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The job that is enqueued with each intent. The sweep takes up what it fails at."""
        return (Job(CARRY_ON, self.carry_on, retry=NEVER_AGAIN),) if self._moves else ()

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The sweep, if there are moves."""
        return (Schedule(EVERY, Job("moves.sweep", self.sweep, retry=NEVER_AGAIN)),) if self._moves else ()

    def sweep(self) -> None:
        """Carry on with moves of all tenants that nobody acts on."""
        ends = monotonic() + LONGEST_SWEEP
        with self._dispatch.read(Scope()) as transaction:
            due = transaction.run(DUE, names=list(self._moves), limit=AT_ONCE).all()
        for row in due:
            if monotonic() > ends:
                break
            try:
                self.carry_on(row["tenant_id"], row["name"], row["id"])
            except Exception:
                log.exception("%s %s cannot be carried on", row["name"], row["id"])

    def carry_on(self, tenant_id: str, move: str, reference: str) -> None:
        """Find out what has become of a move, and perform it where it has had no effect."""
        known = self._moves[move]
        row = self._write(
            tenant_id,
            lambda transaction: transaction.run(
                CLAIM,
                tenant_id=tenant_id,
                id=reference,
                lease=known.lease,
                appears=known.appears_within,
                expires=known.expires,
            ).first(),
        )
        if row is None:
            return
        intent = Intent(tenant_id, reference, row["arguments"])
        outcome = self._outcome(known, intent, row)
        if outcome is not None:
            self._settle(known, intent, row, outcome)

    def _outcome(self, move: Move, intent: Intent, row: Row) -> Outcome | None:
        """The outcome after another look, or another attempt. None if somebody else acts by now."""
        if row["was_sent"]:
            found = _found(move, intent)
            if found is not None:
                return found
            if row["may_appear"]:
                return Outcome(State.UNKNOWN, pause=AGAIN.first_pause)
        if row["has_expired"]:
            return Outcome.refused("EXPIRED")
        began = monotonic()
        mine = self._write(
            intent.tenant_id,
            lambda transaction: transaction.run(
                SENDING,
                tenant_id=intent.tenant_id,
                id=intent.reference,
                attempt=row["attempt"],
                lease=move.lease,
            ).first(),
        )
        return move.attempt(intent, began) if mine is not None else None

    def _settle(self, move: Move, intent: Intent, row: Row, outcome: Outcome) -> None:
        """Write an outcome, and what the domain makes of it if it is news."""
        slots: set[int] = set()
        try:
            with self._database.write(Scope(intent.tenant_id)) as transaction:
                is_written = move.write(transaction, intent, row["attempt"], outcome)
                if is_written and outcome.state not in (State.PENDING, row["state"]):
                    move.settle(JobSettlement(move, intent, outcome, transaction, slots, self._clock))
                self._generations.changing(slots)
        finally:
            self._generations.changed(slots)

    def _write(self, tenant_id: str, work: Callable[[WriteTransaction], Row | None]) -> Row | None:
        with self._database.write(Scope(tenant_id)) as transaction:
            return work(transaction)


def _found(move: Move, intent: Intent) -> Outcome | None:
    """What the provider says of a move; None if it knows nothing of it."""
    if move.look_up is None:
        return Outcome(State.UNKNOWN, pause=NOT_AGAIN)
    try:
        return move.look_up(intent)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing is known, and nothing may be sent
        log.warning("%s %s cannot be looked up: %s", move.name, intent.reference, type(error).__name__)
        return Outcome.unknown()
