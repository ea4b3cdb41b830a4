"""transaction: one transaction per call, bound to its tenant; the event of a mutation commits with it or not at all."""

from typing import Any, Protocol

from server.data.events import APPEND, NO_TENANT
from server.data.transactions import Database, WriteTransaction
from server.kernel.call import Call
from server.kernel.chain import Answer, Stream, Unary
from server.kernel.ids import new_id
from server.kernel.policy import MethodPolicy
from server.kernel.redact import redacted


class Announcer(Protocol):
    """Tells whoever follows the event log that it has grown. May fail silently: readers also look by themselves."""

    def announce(self) -> None:
        """Something was committed."""


class InTransaction:
    """Opens the transaction, writes the declared event, commits. Handlers do neither."""

    name = "transaction"

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Read-only for reads; nothing is sent to PostgreSQL before the handler asks for something."""
        return self._reading(proceed) if method.read_only else self._writing(proceed)

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """A stream outlives any transaction; it reads the event log by itself."""
        del method
        return proceed

    def _reading(self, proceed: Unary) -> Unary:
        database = self._database

        def read(call: Call, request: Any) -> Answer:
            with database.read(call.scope) as call.transaction:
                return proceed(call, request)

        return read

    def _writing(self, proceed: Unary) -> Unary:
        database, announce = self._database, self._announcer.announce

        def write(call: Call, request: Any) -> Answer:
            with database.write(call.scope) as transaction:
                call.transaction = transaction
                answer = proceed(call, request)
                if call.refusal is None and call.emits:
                    payload = call.event_payload if call.event_payload is not None else answer
                    call.emit(call.emits, getattr(payload, "id", ""), payload)
                _append(call, transaction)
            announce()
            if call.refusal is not None:
                raise call.refusal
            return answer

        return write


def _append(call: Call, transaction: WriteTransaction) -> None:
    for event, resource_id, payload in call.events:
        message = redacted(payload)
        transaction.queue(
            APPEND,
            tenant_id=call.tenant_id or NO_TENANT,
            id=new_id(),
            type=event,
            resource_id=resource_id,
            message_type=message.DESCRIPTOR.full_name,
            payload=message.SerializeToString(),
            actor_id=call.user_id,
            request_id=call.request_id,
        )
