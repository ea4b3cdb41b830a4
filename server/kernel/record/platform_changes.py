"""Changes that the platform makes without a call: each gets an event and an audit entry, as a mutation does."""

from datetime import datetime
from typing import Protocol

from google.protobuf.message import Message

from server.data.audit import APPEND as APPEND_ENTRY
from server.data.events import APPEND as APPEND_EVENT
from server.data.events import NO_TENANT
from server.data.statements import Statement
from server.kernel.actors import PLATFORM, Actor
from server.kernel.ids import new_id
from server.kernel.messages.changes import changes_of
from server.kernel.messages.fields import value_of
from server.kernel.messages.redact import redacted
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.record.audit import OK, entry_row

PLATFORM_ACTOR = Actor(PLATFORM)


class Writes(Protocol):
    """A transaction, or a stand-in for one."""

    def queue(self, statement: Statement, **parameters: object) -> None:
        """Run a statement before the commit."""


def record_platform_change(
    transaction: Writes,
    event: str,
    *,
    cause: str,
    before: Message | None,
    after: Message,
    now: datetime,
    tenant_id: str | None = None,
    security: bool = False,
    audience: str | None,
) -> None:
    """Write the event, whose payload is `after`, and the entry. `cause` takes the place of the RPC in the entry.

    `audience` is the user whose event it is; None for an event of the whole tenant.
    """
    # There is no request. A search for this request id finds the event.
    event_id = request_id = new_id()
    _append(transaction, event, event_id, after, tenant_id=tenant_id or NO_TENANT, audience=audience)
    changes = changes_of(before, after)
    row = entry_row(
        entry_id=new_id(),
        tenant_id=tenant_id,
        create_time=now,
        actor=PLATFORM_ACTOR,
        method=cause,
        action=event,
        resource_type=resource_type_of(after),
        resource_id=value_of(after, "id"),
        outcome=OK,
        reason="",
        security=security,
        request_id=request_id,
        event_id=event_id,
        changes=changes.plain,
        personal={"changes": changes.personal},
    )
    transaction.queue(APPEND_ENTRY, **row)


def _append(
    transaction: Writes, event: str, event_id: str, after: Message, *, tenant_id: str, audience: str | None
) -> None:
    payload = redacted(after)
    transaction.queue(
        APPEND_EVENT,
        tenant_id=tenant_id,
        id=event_id,
        type=event,
        resource_id=value_of(after, "id"),
        message_type=payload.DESCRIPTOR.full_name,
        payload=payload.SerializeToString(),
        actor_id=None,
        audience=audience,
        for_webhooks=True,
        request_id=event_id,
    )
