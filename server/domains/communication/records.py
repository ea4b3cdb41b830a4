"""What a tenant learns of its mail: an event and an audit entry when a message has ended, in the same transaction."""

from datetime import datetime

from plinth.communication.v1.email_message_pb2 import EmailMessage
from plinth.communication.v1.email_suppression_pb2 import EmailSuppression

from server.data.transactions import WriteTransaction
from server.domains.communication.queue import ACCEPTED, BOUNCED, SENDING, SUPPRESSED
from server.domains.communication.suppressions import CREATED
from server.kernel.record import record_platform_change

CAUSE = "communication.mailing"
EVENTS = {
    ACCEPTED: "email_message.accepted",
    BOUNCED: "email_message.bounced",
    SUPPRESSED: "email_message.suppressed",
}
OTHERWISE = "email_message.failed"


def record(transaction: WriteTransaction, after: EmailMessage, attempts: int, now: datetime) -> None:
    """Record that a message of a tenant has ended. `attempts` are those before the last one."""
    before = EmailMessage()
    before.CopyFrom(after)
    before.status, before.attempts, before.last_answer = SENDING, attempts, ""
    before.ClearField("accept_time")
    record_platform_change(
        transaction,
        EVENTS.get(after.status, OTHERWISE),
        cause=CAUSE,
        before=before,
        after=after,
        now=now,
        tenant_id=after.tenant_id,
        audience=None,
    )


def record_suppression(transaction: WriteTransaction, made: EmailSuppression | None, now: datetime) -> None:
    """Record that an address was suppressed by what became of a message. None if it was suppressed already."""
    if made is not None:
        record_platform_change(
            transaction,
            CREATED,
            cause=CAUSE,
            before=None,
            after=made,
            now=now,
            tenant_id=made.tenant_id,
            audience=None,
        )
