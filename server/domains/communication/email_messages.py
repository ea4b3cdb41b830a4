"""Mail of a tenant, as its callers queue and see it."""

from email.utils import parseaddr
from typing import ClassVar

from plinth.communication.v1 import email_message_pb2
from plinth.communication.v1.email_message_pb2 import EMAIL_CATEGORY_TRANSACTIONAL, EmailMessage

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
    SUPPRESSED,
    UNCERTAIN,
    new_token,
)
from server.domains.communication.tables import HIDDEN, email_messages
from server.domains.communication.template_use import TemplateUse
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.mail_addresses import normal_address
from server.kernel.resources import EventFacts, Resource, Service, States


class EmailMessageService(Service[EmailMessage]):
    """Mail of a tenant."""

    descriptor = email_message_pb2.DESCRIPTOR.services_by_name["EmailMessageService"]
    resource = Resource(
        EmailMessage,
        email_messages,
        filterable=("id", "to", "status", "attempts", "create_time", "update_time"),
        sortable=("create_time",),
        hidden=HIDDEN,
        computed=("template",),
        states=States(
            "status",
            first=(QUEUED,),
            actions={
                "retry": ((FAILED, BOUNCED, EXPIRED, UNCERTAIN, CANCELLED, SUPPRESSED), QUEUED),
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
        "email_message.suppressed": EventFacts(
            EmailMessage, "A message was not sent, since its address is suppressed."
        ),
    }

    def __init__(self, sender: str, template_use: TemplateUse, clock: Clock) -> None:
        """`sender` is the address that mail comes from."""
        super().__init__()
        self._template_use = template_use
        self._domain = parseaddr(sender)[1].rpartition("@")[2]
        self._clock = clock

    def prepare(self, call: Call, resource: EmailMessage, before: EmailMessage | None) -> None:
        """Fill a new message, and normalise its addresses. Schedule a message that is queued, and no other."""
        if before is None:
            self._template_use.fill(call, resource)
            resource.to = normal_address(resource.to, "email_message.to")
            if resource.reply_to:
                resource.reply_to = normal_address(resource.reply_to, "email_message.reply_to")
            resource.category = resource.category or EMAIL_CATEGORY_TRANSACTIONAL
        if resource.status == QUEUED:
            now = self._clock()
            resource.next_attempt_time.FromDatetime(now)
            resource.expire_time.FromDatetime(now + LIFETIME)
            resource.attempts = 0
        else:
            resource.ClearField("next_attempt_time")

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
                "token": new_token(),
            }
