"""audit: every mutation leaves an entry in its own transaction, and every refusal leaves one in a separate transaction.

The step comes before address and authenticate, so that it sees every refusal. The transaction step writes the entry of
a mutation (`append`), together with the change or not at all.
"""

from collections.abc import AsyncIterator, Callable, Hashable
from functools import partial
from typing import Protocol

import grpc
from google.protobuf.message import Message

from server.data.audit import APPEND
from server.data.statements import Row
from server.data.transactions import WriteTransaction
from server.kernel import problems
from server.kernel.call import Call
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.messages.changes import NOTHING, Changes, changes_of_all
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.policy import Access, MethodPolicy
from server.kernel.record.audit import OK, entry_row
from server.kernel.steps.parse import request_of

REFUSED = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
"""The codes of refusals, of reads and writes alike."""
NO_DECISION = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""The codes of mutations that ended without a decision."""
LONGEST_USER_AGENT = 500
USER_TYPE = "plinth.dev/User"


class Refusals(Protocol):
    """Stores refusals."""

    def note(self, row: Row, address: str) -> None:
        """Add a row made by entry_row, from this address. Never blocks and never fails."""

    def gather(self, key: Hashable, make: Callable[[], Row]) -> None:
        """Count one of the refusals that share `key`, of which only a few are written. Never blocks and never fails.

        `make` makes the row. It is called for the first of the refusals that are counted together.
        """


class Audit:
    """Records refusals, and mutations that failed."""

    name = "audit"

    def __init__(self, refusals: Refusals, clock: Clock) -> None:
        self._refusals = refusals
        self._clock = clock

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Record the refusal or failure of a call."""
        del method
        note = self._note

        def audited(call: Call, request: Request) -> Answer:
            try:
                return proceed(call, request)
            except Exception as error:
                note(call, error, request)
                raise

        return audited

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """The same for a stream that is refused, or that ends because its caller lost access."""
        del method

        async def audited(call: Call, request: Request) -> AsyncIterator[Message]:
            try:
                async for message in proceed(call, request):
                    yield message
            except Exception as error:
                self._note(call, error, request)
                raise

        return audited

    def _note(self, call: Call, error: Exception, request: Request) -> None:
        problem = problems.of(error)
        refused = problem.code in REFUSED or _is_stranger(call, problem)
        failed = not call.method.read_only and not call.is_trial and problem.code not in NO_DECISION
        # A call that is refused after its commit already has its entry.
        has_entry = error is call.refusal and not call.method.is_telemetry
        if has_entry or not (refused or failed):
            return
        entry = _entry(call, self._clock, outcome=problem.code.name, reason=problem.reason_name)
        principal = call.principal
        entry["tenant_id"] = principal.tenant_id if principal else _signed_for(call)
        entry["resource_id"] = _asked_for(request_of(call, request))
        entry["security"] = refused or call.method.is_security
        if call.method.is_telemetry:
            # As many may be refused as are sent, for as long as their sender is misconfigured.
            key = (entry["tenant_id"], call.actor_id, entry["method"], entry["reason"], call.client_network)
            self._refusals.gather(key, partial(_row_of, entry))
        else:
            self._refusals.note(entry_row(**entry), call.client_network)
        self._tell_tenants(call, entry)

    def _tell_tenants(self, call: Call, entry: Row) -> None:
        """Record the refusal of a call that targeted a user's account in the log of each tenant of that user."""
        for tenant_id in call.target_tenants:
            about = entry | {"tenant_id": tenant_id, "resource_type": USER_TYPE, "resource_id": call.target_id}
            key = (tenant_id, call.target_id, entry["method"], entry["reason"])
            self._refusals.gather(key, partial(_row_of, about))


def append(call: Call, transaction: WriteTransaction, clock: Clock, event_id: str | None) -> None:
    """Write the entry of a mutation in its transaction. Called after the events, so that the entry can name one."""
    refusal = problems.of(call.refusal) if call.refusal is not None else None
    entry = _entry(
        call,
        clock,
        outcome=refusal.code.name if refusal else OK,
        reason=refusal.reason_name if refusal else "",
    )
    resource_type, resource_id, changes = _changes(call)
    entry |= {
        "action": call.action or call.method.emits,
        "resource_type": resource_type,
        "resource_id": resource_id,
        "changes": changes.plain,
        "event_id": event_id,
    }
    entry["personal"]["changes"] = changes.personal
    transaction.queue(APPEND, **entry_row(**entry))


def _entry(call: Call, clock: Clock, *, outcome: str, reason: str) -> Row:
    return {
        "entry_id": new_id(),
        "tenant_id": call.tenant_id,
        "create_time": clock(),
        "actor": call.actor,
        "method": call.method.path[1:],
        "action": call.method.emits,
        "resource_type": "",
        "resource_id": "",
        "outcome": outcome,
        "reason": reason,
        "security": call.method.is_security,
        "request_id": call.request_id,
        "event_id": None,
        "changes": "",
        "personal": {
            "ip": call.client_address,
            "user_agent": call.user_agent[:LONGEST_USER_AGENT],
        },
    }


def _row_of(entry: Row) -> Row:
    """The row of one of several entries of a call."""
    return entry_row(**entry | {"entry_id": new_id()})


def _changes(call: Call) -> tuple[str, str, Changes]:
    """Type and id of the changed resource, and its changes. Without noted changes, the payload of the event is used."""
    if not call.changes:
        payload = call.event_payload
        if payload is None or call.refusal is not None:
            return "", "", NOTHING
        # A call that emits nothing, such as granting a role that is already held, has changed nothing.
        changes = changes_of_all([(None, payload)])[0] if call.emits else NOTHING
        return resource_type_of(payload), getattr(payload, "id", ""), changes
    before, after = call.changes[0]
    first = after if after is not None else before
    found = changes_of_all(call.changes)
    changes = found[0] if len(found) == 1 else _joined(call, found)
    return resource_type_of(first) if first is not None else "", getattr(first, "id", ""), changes


def _joined(call: Call, found: list[Changes]) -> Changes:
    """The changes of several resources, each under its id."""
    ids = [getattr(after if after is not None else before, "id", "") for before, after in call.changes]
    plain, personal = (
        "{" + ",".join(f'"{name}":{part[side]}' for name, part in zip(ids, found, strict=True) if part[side]) + "}"
        for side in (0, 1)
    )
    return Changes(plain.replace("{}", ""), personal.replace("{}", ""))


def _signed_for(call: Call) -> str | None:
    """The tenant of a call that a provider has signed. Any other call without credentials belongs to none."""
    return call.tenant_id if call.method.access is Access.PROVIDER_SIGNATURE else None


def _is_stranger(call: Call, problem: problems.Problem) -> bool:
    """Whether the call was refused as that of a caller outside the tenant, who gets NOT_FOUND."""
    return problem.code is grpc.StatusCode.NOT_FOUND and call.principal is not None and call.access is None


def _asked_for(request: Request) -> str:
    """The tenant that a refused caller named, or empty text."""
    return str(getattr(request, "tenant_id", "") or "")[:64]
