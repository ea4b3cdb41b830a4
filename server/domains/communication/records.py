"""What a tenant learns of its mail: an event and an audit entry when a message has ended, in the same transaction."""

from datetime import datetime

from plinth.communication.v1.email_message_pb2 import EmailMessage

from server.data.transactions import WriteTransaction
from server.domains.communication.queue import ACCEPTED, BOUNCED, SENDING
from server.kernel.record import record_platform_change

CAUSE = "communication.mailing"
EVENTS = {ACCEPTED: "email_message.accepted", BOUNCED: "email_message.bounced"}
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
