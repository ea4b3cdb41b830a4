"""Reports about mail: who may send them, and what they change."""

import hmac
from collections.abc import Mapping
from typing import ClassVar

from plinth.communication.v1 import email_report_pb2
from plinth.communication.v1.email_message_pb2 import EmailMessage
from sqlalchemy import Integer, Text, any_, bindparam, func, literal_column, null, select, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Statement
from server.data.transactions import Database
from server.domains.communication.queue import (
    ACCEPTED,
    BOUNCED,
    COMPLAINED,
    DELIVERED,
    FAILED,
    PLAN,
    UNCERTAIN,
)
from server.domains.communication.report_parsing import Report, report_of
from server.domains.communication.suppressions import BOUNCED as HAS_BOUNCED
from server.domains.communication.suppressions import COMPLAINED as HAS_COMPLAINED
from server.domains.communication.suppressions import CREATED, suppress
from server.domains.communication.tables import email_messages
from server.domains.communication.unsubscribing import BY_TOKEN, EVERYWHERE
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.inbound import BadSignature, InboundCall, InboundSignature, Sender
from server.kernel.problems import Problem, Violation, broken_rules
from server.kernel.resources import EventFacts, Service

SIGNATURE = "email_reports"
SECRET_HEADER = "x-report-secret"  # noqa: S105 - the name of a header
EVENTS: Mapping[int, str] = {
    DELIVERED: "email_message.delivered",
    BOUNCED: "email_message.bounced",
    FAILED: "email_message.failed",
    COMPLAINED: "email_message.complained",
}
REASONS: Mapping[int, int] = {BOUNCED: HAS_BOUNCED, COMPLAINED: HAS_COMPLAINED}
_SENT = (ACCEPTED, UNCERTAIN)
BEFORE: Mapping[int, tuple[int, ...]] = {
    DELIVERED: _SENT,
    BOUNCED: (*_SENT, DELIVERED),
    FAILED: (*_SENT, DELIVERED),
    COMPLAINED: (*_SENT, DELIVERED),
}
"""Where a message has to stand for a report to change it."""
_c = email_messages.c
_is_it = (_c.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)), _c.token == bindparam("token", type_=Text()))
READ = Statement(select(*PLAN.columns).where(*_is_it).with_for_update())
CHANGE = Statement(
    update(email_messages)
    .where(*_is_it, _c.status == any_(bindparam("before", type_=ARRAY(Integer()))))
    .values(
        status=bindparam("after", type_=_c.status.type),
        last_answer=bindparam("answer", type_=Text()),
        next_attempt_time=null(),
        lease_time=null(),
        secret=null(),
        version=_c.version + literal_column("1"),
        update_time=func.now(),
    )
    .returning(*PLAN.columns)
)


class EmailReportService(Service):
    """Reports about mail."""

    descriptor = email_report_pb2.DESCRIPTOR.services_by_name["EmailReportService"]
    events: ClassVar[Mapping[str, EventFacts]] = {
        EVENTS[COMPLAINED]: EventFacts(EmailMessage, "The receiver of a message has reported it as spam."),
    }

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def receive_email_report(self, call: Call, request: email_report_pb2.ReceiveEmailReportRequest) -> EmailMessage:
        """Change the message that a report is about."""
        report = report_of(request.report.data)
        found = call.writes.run(READ, tenant=call.tenant_id, token=report.token) if report else None
        if report is None or found is None or not found.returned:
            raise unknown_report()
        before = PLAN.message(found.raw(0))
        after = self._changed(call, report)
        if after is None:
            call.changes_nothing = True
            return before
        call.note_change(before, after)
        call.emits = call.action = EVENTS[report.status]
        return after

    def _changed(self, call: Call, report: Report) -> EmailMessage | None:
        """The message after a report; None if that changes nothing."""
        if not report.status:
            return None
        key = {"tenant": call.tenant_id, "token": report.token}
        states = {"before": list(BEFORE[report.status]), "after": report.status}
        changed = call.writes.run(CHANGE, **key, **states, answer=report.answer)
        if not changed.returned:
            return None
        after = PLAN.message(changed.raw(0))
        if report.status in REASONS:
            row = {"id": after.id, "tenant_id": call.tenant_id, "to": after.to}
            made = suppress(call.writes, row, REASONS[report.status], self._clock())
            if made is not None:
                call.emit(CREATED, made.id, made)
        return after


def report_signature(database: Database, secret: str) -> InboundSignature:
    """How reports are verified: by the secret of the settings. None is taken without one."""

    def verify(call: InboundCall) -> Sender:
        if not secret or not hmac.compare_digest(call.header(SECRET_HEADER).encode(), secret.encode()):
            raise BadSignature
        report = report_of(call.body)
        if report is None:
            raise unknown_report()
        with database.read(EVERYWHERE) as transaction:
            message = transaction.run(BY_TOKEN, token=report.token).first()
        if message is None:
            raise unknown_report()
        return Sender(message["tenant_id"], message["id"])

    return InboundSignature(SIGNATURE, verify)


def unknown_report() -> Problem:
    """The problem of a mail that is no report about a message that is still kept."""
    return broken_rules([Violation("report", "is no report about a message that is still kept", "report.unknown")])
