"""Moves: effects at a provider that must happen once, such as a payment, or a message that leaves.

A move is committed as an intent before the provider is called. The call acts after that commit, outside any
transaction, and writes the outcome in a second one. A job is committed with the intent. It does the same if the process
dies in between. It asks the provider under our own reference whether the effect is there, and acts only where it is
not.

At any time at most one process acts. It holds a lease that PostgreSQL times, and that outlasts its deadline. A process
that was held up for so long that the lease may have ended does not act.
"""

import enum
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Protocol

from google.protobuf.message import Message

from server.data.jobs import DEFER_IN
from server.data.moves import BEGIN, DONE, PENDING, REFUSED, UNKNOWN, WRITE
from server.data.transactions import Transaction, WriteTransaction
from server.json_values import JsonObject, JsonValue
from server.kernel.call import Call, Record
from server.kernel.jobs import DEFAULT_QUEUE, Retry
from server.kernel.problems import Problem
from server.kernel.providers.port import (
    SERVER_ERRORS,
    TOO_MANY_REQUESTS,
    AnswerLost,
    NotSent,
    Provider,
    ProviderAnswer,
    ProviderPort,
    problem_of,
    retry_after,
)

log = logging.getLogger("plinth.moves")
CARRY_ON = "moves.carry_on"
# Seconds by which a lease outlasts the deadline of the provider, and within which acting has to begin.
MARGIN = 5.0
FIRST_ATTEMPT = 1
# How soon to look again at what is unknown or was not sent. It goes on for as long as that is so.
AGAIN = Retry(attempts=1 << 30, first_pause=5.0, longest_pause=3600.0)
REQUEST_TIMEOUT = 408


class State(enum.IntEnum):
    """How far a move has come. PENDING and UNKNOWN are not settled."""

    PENDING = PENDING
    """It is intended. Nothing is known of its effect, or nothing was sent."""
    DONE = DONE
    REFUSED = REFUSED
    """It has no effect, and will have none."""
    UNKNOWN = UNKNOWN
    """Something was sent, and the answer was lost. It is looked up until it is known."""


@dataclass(frozen=True)
class Outcome:
    """What came of a move, as far as that is known."""

    state: State
    result: JsonObject = field(default_factory=dict)
    """What the domain wants to keep of the answer, such as the id at the provider. No secrets."""
    code: str = ""
    """Why it was refused."""
    problem: Problem | None = None
    """The answer of a call whose move was refused, instead of the resource."""
    pause: float = 0.0
    """The least seconds until anybody tries or looks again."""

    @classmethod
    def done(cls, **result: JsonValue) -> "Outcome":
        """It has had its effect."""
        return cls(State.DONE, result)

    @classmethod
    def refused(cls, code: str, problem: Problem | None = None) -> "Outcome":
        """It has no effect, and will have none."""
        return cls(State.REFUSED, code=code, problem=problem)

    @classmethod
    def unknown(cls) -> "Outcome":
        """It may have had its effect."""
        return cls(State.UNKNOWN)

    @classmethod
    def of_failure(cls, provider: Provider, answer: ProviderAnswer, code: str = "") -> "Outcome":
        """What an answer that is no success says of a request that has an effect. `code` is the provider's own code.

        An error of the provider may have come after the effect. Raises NotSent for a request that was put off.
        """
        if answer.status == TOO_MANY_REQUESTS:
            raise NotSent(provider.name, "too many requests", retry_after=retry_after(answer) or 1.0)
        if answer.status >= SERVER_ERRORS or answer.status == REQUEST_TIMEOUT:
            return cls.unknown()
        return cls.refused(code or str(answer.status), problem_of(provider, answer, code))


@dataclass(frozen=True)
class Intent:
    """What is to be done."""

    tenant_id: str
    reference: str
    """Our own id, under which the provider is called and asked: its idempotency key, and what it can be found by."""
    arguments: Mapping[str, JsonValue]


class Settlement(Protocol):
    """The transaction in which an outcome is written: the second one of the call, or that of the job."""

    @property
    def intent(self) -> Intent:
        """What was to be done."""

    @property
    def outcome(self) -> Outcome:
        """What came of it: DONE, REFUSED or UNKNOWN."""

    @property
    def writes(self) -> WriteTransaction:
        """The transaction, bound to the tenant."""

    def tell(self, event: str, before: Message | None, after: Message, *, audience: str | None) -> None:
        """Write an event about `after`, and an audit entry with the change.

        `audience` is the user whose resource it is. None: the whole tenant may see the event.
        """

    def invalidate(self, tag: str) -> None:
        """Invalidate the answers that are cached under a tag."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """One kind of move, as a domain declares it."""

    name: str
    """`<domain>.<verb>`. Must not change while moves of that name are open."""
    port: ProviderPort
    perform: Callable[[Intent], Outcome]
    """Call the provider under the reference of the intent, within the deadline of the port.

    NotSent leaves the move PENDING, and it is tried again. After any other exception it is UNKNOWN.
    """
    settle: Callable[[Settlement], Message]
    """Write the outcome into the domain's rows. Returns the resource. Called once for each change of the state."""
    read: Callable[[Transaction, Intent], Message]
    """The resource as it is, where somebody else has written the outcome."""
    look_up: Callable[[Intent], Outcome | None] | None = None
    """Ask the provider what has become of the reference; None if it knows of none. Any exception: ask again later.

    Without it, what is UNKNOWN stays so until a person settles it, and is never performed again.
    """
    appears_within: timedelta = timedelta(minutes=1)
    """How long after a request its effect may still be missing at the provider."""
    expires: timedelta = timedelta(hours=1)
    """How long after the intent it may be performed. After that, what is not there is REFUSED, the code EXPIRED."""

    @property
    def lease(self) -> timedelta:
        """How long one attempt keeps others from acting."""
        return timedelta(seconds=self.port.provider.deadline + MARGIN)

    def begin(self, call: Call, reference: str, arguments: Mapping[str, JsonValue]) -> None:
        """Write the intent and its job, and perform it after the commit of the call. The handler answers as pending.

        `reference` is a new UUID, such as the id of the resource. Raises StateForbids if the provider is not
        configured, and NotSent if it is known to be away; a handler that counts or reserves calls `port.check` before.
        """
        if call.tenant_id is None:
            raise TypeError(f"{self.name} begins in a call of no tenant")
        self.port.check()
        began = monotonic()
        intent = Intent(call.tenant_id, reference, arguments)
        key = {"tenant_id": intent.tenant_id, "id": reference}
        call.writes.queue(BEGIN, **key, name=self.name, arguments=dict(arguments), lease=self.lease)
        job = {"tenant_id": intent.tenant_id, "move": self.name, "reference": reference}
        call.writes.queue(DEFER_IN, queue=DEFAULT_QUEUE, task=CARRY_ON, arguments=job, delay=self.lease)
        call.then(partial(self._act, intent, began))

    def attempt(self, intent: Intent, began: float) -> Outcome:
        """Perform it, unless the lease that was taken at `began` (monotonic seconds) may end before. Never raises."""
        if monotonic() - began > MARGIN:
            return Outcome(State.PENDING)
        try:
            return self.perform(intent)
        except NotSent as failure:
            return Outcome(State.PENDING, pause=failure.retry_after or 0.0)
        except AnswerLost:
            return Outcome.unknown()
        except Exception:
            log.exception("%s %s failed, and is looked up", self.name, intent.reference)
            return Outcome.unknown()

    def write(self, transaction: WriteTransaction, intent: Intent, attempt: int, outcome: Outcome) -> bool:
        """Write the outcome of an attempt. False if another attempt's stands, or is awaited."""
        pause = max(outcome.pause, AGAIN.pause(attempt) or 0.0)
        written = transaction.run(
            WRITE,
            tenant_id=intent.tenant_id,
            id=intent.reference,
            attempt=attempt,
            state=int(outcome.state),
            result=dict(outcome.result),
            code=outcome.code,
            pause=timedelta(seconds=pause),
            was_sent=outcome.state is not State.PENDING,
        )
        return written.first() is not None

    def _act(self, intent: Intent, began: float) -> Record:
        return partial(self._record, intent, self.attempt(intent, began))

    def _record(self, intent: Intent, outcome: Outcome, call: Call) -> Message:
        is_news = self.write(call.writes, intent, FIRST_ATTEMPT, outcome) and outcome.state is not State.PENDING
        if not is_news:
            call.changes_nothing = True
            return self.read(call.writes, intent)
        if outcome.problem is not None:
            call.refuse_after_commit(outcome.problem)
        return self.settle(CallSettlement(call, intent, outcome))


@dataclass(frozen=True)
class CallSettlement:
    """The second transaction of a call."""

    call: Call
    intent: Intent
    outcome: Outcome

    @property
    def writes(self) -> WriteTransaction:
        """The transaction."""
        return self.call.writes

    def tell(self, event: str, before: Message | None, after: Message, *, audience: str | None) -> None:
        """Write an event and an audit entry."""
        self.call.audience = audience
        self.call.emit(event, getattr(after, "id", ""), after)
        self.call.note_change(before, after)

    def invalidate(self, tag: str) -> None:
        """Invalidate a tag. Those of the RPC's policy are invalidated without it."""
        self.call.invalidate(tag)
