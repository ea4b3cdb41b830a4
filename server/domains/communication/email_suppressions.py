"""Suppressions, as callers of a tenant see and make them."""

from datetime import UTC

from plinth.communication.v1 import email_suppression_pb2
from plinth.communication.v1.email_suppression_pb2 import EmailSuppression

from server.data.statements import Row
from server.domains.communication.suppressions import HIDDEN, MANUAL, address_hash
from server.domains.communication.tables import email_suppressions
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.mail_addresses import normal_address
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service


class EmailSuppressionService(Service[EmailSuppression]):
    """Suppressions of a tenant."""

    descriptor = email_suppression_pb2.DESCRIPTOR.services_by_name["EmailSuppressionService"]
    resource = Resource(
        EmailSuppression,
        email_suppressions,
        filterable=("id", "address", "category", "reason", "expire_time", "create_time", "update_time"),
        sortable=("create_time",),
        hidden=HIDDEN,
    )

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def prepare(self, call: Call, resource: EmailSuppression, before: EmailSuppression | None) -> None:
        """Normalise the address. No RPC updates a suppression."""
        del call, before
        resource.address = normal_address(resource.address, "email_suppression.address")
        resource.reason = MANUAL

    def check(self, call: Call, resource: EmailSuppression, before: EmailSuppression | None) -> None:
        """Refuse one that would be over at once."""
        del call, before
        if resource.HasField("expire_time") and resource.expire_time.ToDatetime(UTC) <= self._clock():
            field = "email_suppression.expire_time"
            raise broken_rules([Violation(field, "is not in the future", "suppression.over")])

    def before_write(self, call: Call, values: Row, before: EmailSuppression | None) -> None:
        """Fill in what the address is compared by."""
        del before
        values["address_hash"] = address_hash(str(call.tenant_id), values["address"])
