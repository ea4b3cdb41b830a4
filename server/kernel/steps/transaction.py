"""transaction: one transaction per call, bound to its tenant. The event of a mutation commits with it or not at all.

The cached answers that a mutation makes outdated are invalidated around its commit. Their slots are marked right
before, so that nothing is cached in between. They get new values before the call is answered, so that a read after the
answer sees the change.

A handler may register a step that acts outside any transaction, such as by calling a provider (`Call.then`). It runs
after the commit, and what came of it is written in a second transaction.
"""

import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol, cast

from psycopg.errors import UniqueViolation
from sqlalchemy import text

from server.data.events import APPEND, NO_TENANT
from server.data.statements import Statement
from server.data.transactions import Database, KeyTaken, Patience, Scope, WriteTransaction
from server.kernel.caching.generations import Generations, slot_of
from server.kernel.call import Call, Continuation, Record
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.clock import Clock, utc_now
from server.kernel.guard.access import access_tag
from server.kernel.ids import new_id
from server.kernel.messages.redact import redacted
from server.kernel.policy import MethodPolicy
from server.kernel.problems import Collision, Problem
from server.kernel.steps import audit
from server.kernel.steps.cache import tags_template

if TYPE_CHECKING:
    from google.protobuf.message import Message

log = logging.getLogger("plinth.calls")
MOST_ATTEMPTS = 6
# Brings the results of all queued statements, and checks constraints that would be checked by the commit.
CHECK_ALL = Statement(text("SET CONSTRAINTS ALL IMMEDIATE"))


class Announcer(Protocol):
    """Notifies readers of the event log, and workers. It may fail silently, because they also poll."""

    def announce(self, *, has_jobs: bool) -> None:
        """Notify readers of a commit, and workers if it enqueued jobs."""


class Tried(Exception):
    """A trial has succeeded. Raised to roll it back."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class InTransaction:
    """Opens the transaction, writes the declared event, and commits. Handlers do none of these."""

    name = "transaction"

    def __init__(
        self,
        database: Database,
        slow_database: Database,
        announcer: Announcer,
        generations: Generations,
        access_changed: Statement,
        *,
        private: Collection[str] = (),
        clock: Clock = utc_now,
    ) -> None:
        """Slow RPCs have connections of their own. `access_changed` takes `tenant`: see MethodPolicy.changes_access.

        `private` are the types of events that webhooks do not get.
        """
        self._private = frozenset(private)
        self._clock = clock
        self._database = database
        self._slow_database = slow_database
        self._announcer = announcer
        self._generations = generations
        self._access_changed = access_changed

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Reads run in a read-only transaction. Nothing is sent to PostgreSQL before the handler runs a statement."""
        database = self._slow_database if method.is_slow else self._database
        return _reading(database, proceed) if method.read_only else self._writing(method, database, proceed)

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """A stream outlives any transaction and reads the event log itself."""
        del method
        return proceed

    def _writing(self, method: MethodPolicy, database: Database, proceed: Unary) -> Unary:
        commit = self._committing(method, database)

        def attempt(call: Call, request: Request) -> Answer:
            return commit(call, request, call.scope, call, lambda: proceed(call, request))

        first = _tried_again(attempt)

        def write(call: Call, request: Request) -> Answer:
            try:
                answer = first(call, request)
            except Tried as tried:
                return tried.answer
            step = call.continuation
            return answer if step is None else _go_on(commit, call, request, answer, step)

        return write

    def _committing(self, method: MethodPolicy, database: Database) -> "Commit":
        """Runs work in one transaction of a call, and commits it with what is due for it."""
        announce, generations = self._announcer.announce, self._generations
        finish = _finish_telemetry if method.is_telemetry else self._finish
        tags_of = tags_template(method.invalidates)

        def commit(
            call: Call, request: Request, scope: Scope, patience: Patience | None, work: Callable[[], Answer]
        ) -> Answer:
            slots: set[int] = set()
            try:
                with database.write(scope, patience) as transaction:
                    call.transaction = transaction
                    answer = work()
                    if call.leaves_nothing:
                        return answer
                    if not call.is_replay:
                        finish(call, transaction, answer)
                    if call.is_trial:
                        transaction.run(CHECK_ALL)
                        raise call.refusal or Tried(answer)
                    # Replays invalidate too: the first process may have died between its commit and its invalidation.
                    if method.changes_access and call.tenant_id:
                        call.invalidate(access_tag(call.tenant_id))
                    slots.update(map(slot_of, (*tags_of(call.tenant_id, request), *call.stale_tags)))
                    generations.changing(slots)
            except UniqueViolation as error:
                problem_of = call.conflicts.get(error.diag.table_name or "")
                raise problem_of(error) if problem_of else error from error
            finally:
                generations.changed(slots)
            if not method.is_telemetry:
                announce(has_jobs=transaction.has_jobs)
            if call.refusal is not None:
                raise call.refusal
            return answer

        return commit

    def _finish(self, call: Call, transaction: WriteTransaction, answer: Answer) -> None:
        """Write the parts common to all mutations: event, audit entry, and the new version of the tenant's access."""
        if call.event_payload is None:
            # A mutation returns a message; only cached or replayed answers are bytes.
            call.event_payload = cast("Message", answer)
        if call.refusal is None and call.emits:
            subject = call.subject_id or getattr(call.event_payload, "id", "")
            call.emit(call.emits, subject, call.event_payload)
        event_ids = _append(call, transaction, self._private)
        audit.append(call, transaction, self._clock, event_ids[-1] if event_ids else None)
        if call.method.changes_access and call.tenant_id:
            transaction.queue(self._access_changed, tenant=call.tenant_id)


def _finish_telemetry(call: Call, transaction: WriteTransaction, answer: Answer) -> None:
    """Telemetry has no audit entry and no event. Raises TypeError if the handler has one, which would get lost."""
    del transaction, answer
    if call.events:
        raise TypeError(f"{call.method.path} is telemetry, and emits `{call.events[0].type}`")


Commit = Callable[[Call, Request, Scope, Patience | None, Callable[[], Answer]], Answer]


def _go_on(commit: Commit, call: Call, request: Request, answer: Answer, step: Continuation) -> Answer:
    """Run the step that the handler has registered, and write what came of it. `answer` is that of the handler.

    Whatever fails from here on, the first transaction is committed. An error would make the caller repeat what may have
    had its effect, so the answer is then that of the handler.
    """
    # Nothing may be written between the two transactions.
    del call.transaction
    try:
        record = step()
        call.begin_outcome()
        # The outcome is a fact by now, whether or not the caller still waits, and may still do what they did.
        scope = call.scope._replace(session_id=None, access_version=None)
        return commit(call, request, scope, None, lambda: _outcome(call, record))
    except Problem:
        raise
    except Exception:
        log.exception("%s could not write its outcome, and is answered as pending", call.method.path)
        return answer


def _outcome(call: Call, record: Record) -> Answer:
    """The answer of the second transaction, which replaces that of the first with the idempotency key.

    A refusal leaves the answer with the key as well: the call must not act again.
    """
    answer = record(call)
    if call.keep_answer is not None:
        call.keep_answer(answer)
    if call.events and not call.action:
        call.action = call.events[-1].type
    return answer


def _tried_again(attempt: Unary) -> Unary:
    """Repeats attempts that collide with other calls, up to MOST_ATTEMPTS times."""

    def write(call: Call, request: Request) -> Answer:
        tenant_id = call.tenant_id
        for _ in range(MOST_ATTEMPTS - 1):
            try:
                return attempt(call, request)
            except (KeyTaken, Collision) as error:
                # Both are found along with the work, so that the many calls without a collision need not wait for a
                # check.
                call.collisions += isinstance(error, Collision)
                call.forget_effects()
                call.tenant_id = tenant_id
        return attempt(call, request)

    return write


def _reading(database: Database, proceed: Unary) -> Unary:
    def read(call: Call, request: Request) -> Answer:
        with database.read(call.scope, call) as call.transaction:
            return proceed(call, request)

    return read


def _append(call: Call, transaction: WriteTransaction, private: Collection[str]) -> list[str]:
    """Write the events, and return their ids. The declared event is the last. `private` types are not for webhooks."""
    ids = [new_id() for _ in call.events]
    for event_id, event in zip(ids, call.events, strict=True):
        message = redacted(event.payload)
        transaction.queue(
            APPEND,
            tenant_id=call.tenant_id or NO_TENANT,
            id=event_id,
            type=event.type,
            resource_id=event.resource_id,
            message_type=message.DESCRIPTOR.full_name,
            payload=message.SerializeToString(),
            actor_id=call.actor_id,
            audience=event.audience,
            for_webhooks=event.type not in private,
            request_id=call.request_id,
        )
    return ids
