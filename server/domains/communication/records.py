"""What a tenant learns of its mail: an event and an audit entry when a message has ended, in the same transaction."""

from datetime import datetime

from plinth.communication.v1.email_message_pb2 import EmailMessage

from server.data.statements import Row
from server.data.transactions import WriteTransaction
from server.domains.communication.queue import ACCEPTED, BOUNCED
from server.kernel.messages import etag_of
from server.kernel.record import record_platform_change

CAUSE = "communication.mailing"
EVENTS = {ACCEPTED: "email_message.accepted", BOUNCED: "email_message.bounced"}
OTHERWISE = "email_message.failed"
_PLAIN = ("id", "tenant_id", "to", "subject", "text", "reply_to", "status", "attempts", "last_answer")
_TIMES = ("next_attempt_time", "accept_time", "expire_time", "create_time", "update_time")


def record(transaction: WriteTransaction, before: Row, after: Row, now: datetime) -> None:
    """Record that a message of a tenant has ended."""
    record_platform_change(
        transaction,
        EVENTS.get(after["status"], OTHERWISE),
        cause=CAUSE,
        before=message_of(before),
        after=message_of(after),
        now=now,
        tenant_id=after["tenant_id"],
        audience=None,
    )


def message_of(row: Row) -> EmailMessage:
    """The resource in a row."""
    message = EmailMessage(etag=etag_of(row["id"], row["version"]), **{name: row[name] for name in _PLAIN})
    for name in _TIMES:
        if row[name] is not None:
            getattr(message, name).FromDatetime(row[name])
    return message
