"""Mail of a tenant, as its callers queue and see it."""

from email.utils import parseaddr
from typing import ClassVar

from email_validator import EmailNotValidError, validate_email
from plinth.communication.v1 import email_message_pb2
from plinth.communication.v1.email_message_pb2 import EmailMessage

from server.data.statements import Row
from server.domains.communication.outcomes import LIFETIME
from server.domains.communication.queue import (
    BOUNCED,
    CANCELLED,
    DEFERRED,
    EXPIRED,
    FAILED,
    HELD,
    ORDINARY,
    QUEUED,
    UNCERTAIN,
)
from server.domains.communication.tables import email_messages
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import EventFacts, Resource, Service, States


class EmailMessageService(Service[EmailMessage]):
    """Mail of a tenant."""

    descriptor = email_message_pb2.DESCRIPTOR.services_by_name["EmailMessageService"]
    resource = Resource(
        EmailMessage,
        email_messages,
        filterable=("id", "to", "status", "attempts", "create_time", "update_time"),
        sortable=("create_time",),
        hidden=("user_id", "to_folded", "secret", "message_id", "priority", "doubts", "lease_time"),
        states=States(
            "status",
            first=(QUEUED,),
            actions={
                "retry": ((FAILED, BOUNCED, EXPIRED, UNCERTAIN, CANCELLED), QUEUED),
                "cancel": ((QUEUED, DEFERRED, HELD), CANCELLED),
            },
        ),
    )
    events: ClassVar = {
        "email_message.accepted": EventFacts(EmailMessage, "The SMTP server has taken a message."),
        "email_message.bounced": EventFacts(EmailMessage, "A message was refused, since its address does not exist."),
        "email_message.failed": EventFacts(
            EmailMessage, "A message was refused for good, has expired, or its outcome stays unknown."
        ),
    }

    def __init__(self, sender: str, clock: Clock) -> None:
        """`sender` is the address that mail comes from."""
        super().__init__()
        self._domain = parseaddr(sender)[1].rpartition("@")[2]
        self._clock = clock

    def prepare(self, call: Call, resource: EmailMessage, before: EmailMessage | None) -> None:
        """Give a message that is queued, new or again, its first attempt and its time; take both from others."""
        del call
        if resource.status == QUEUED:
            now = self._clock()
            resource.next_attempt_time.FromDatetime(now)
            resource.expire_time.FromDatetime(now + LIFETIME)
            resource.attempts = 0
        elif before is not None:
            resource.ClearField("next_attempt_time")

    def check(self, call: Call, resource: EmailMessage, before: EmailMessage | None) -> None:
        """Check the addresses of a new message."""
        del call
        if before is not None:
            return
        violations = [
            *_address_violations("email_message.to", resource.to),
            *(_address_violations("email_message.reply_to", resource.reply_to) if resource.reply_to else ()),
        ]
        if violations:
            raise broken_rules(violations)

    def before_write(self, call: Call, values: Row, before: EmailMessage | None) -> None:
        """Fill in what the message does not show."""
        del call
        if before is None:
            values |= {
                "user_id": None,
                "to_folded": values["to"].lower(),
                "secret": None,
                "message_id": f"<{values['id']}@{self._domain}>",
                "priority": ORDINARY,
                "doubts": 0,
                "lease_time": None,
            }


def _address_violations(field: str, address: str) -> list[Violation]:
    try:
        validate_email(address, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        return [Violation(field, str(error), "string.email")]
    return []
