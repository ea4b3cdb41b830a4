"""How mail is queued and changed."""

import base64
from typing import Any

from plinth.communication.v1.email_message_pb2 import EmailMessage

from tests.clients import Tenant, database, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made
from tests.domains.communication.reports import delivery_report
from tests.domains.communication.signing import BOUNCE_DOMAIN, REPORT_SECRET

ATTEMPTS = 10


def new_message(to: str = "planted@example.com") -> dict[str, Any]:
    """The JSON of a new message."""
    return {"to": to, "subject": "Planted", "text": "Planted by a test."}


def _message(tenant: Tenant) -> Named:
    """One that nobody sends meanwhile. Where the mailer claims it before it is taken away, another is made."""
    claimed: list[str] = []
    while len(claimed) < ATTEMPTS:
        message = made(tenant, "/api/v1/email/messages", new_message(f"{MARK}-{tenant.subdomain}@example.com"))
        with database(tenant.stack) as connection:
            kept = connection.execute(
                "UPDATE email_messages SET next_attempt_time = NULL WHERE id = %s AND status = %s RETURNING id",
                (message["id"], EmailMessage.STATUS_QUEUED),
            ).fetchone()
        if kept:
            read = tenant.rest.get(f"/api/v1/email/messages/{message['id']}").json()
            return {"email_message_id": message["id"], "etag": read["etag"]}
        claimed.append(message["id"])
    raise AssertionError(f"The mailer claimed {claimed} within a moment of their creation.")


def new_suppression(to: str = "") -> dict[str, Any]:
    """The JSON of a new suppression."""
    return {"address": to or f"{unique('nobody')}@example.com"}


def _suppression(tenant: Tenant) -> Named:
    to = f"{unique(f'{MARK}-{tenant.subdomain}')}@example.com"
    made_one = made(tenant, "/api/v1/email/suppressions", new_suppression(to))
    return {"email_suppression_id": made_one["id"], "etag": made_one["etag"]}


def _token(sweep: Any) -> dict[str, Any]:
    """That of a message of the tenant."""
    return {"token": _sent(sweep.tenant)}


def _report(sweep: Any) -> dict[str, Any]:
    """What the server of a receiver says about a message of the tenant."""
    report = delivery_report(f"b+{_sent(sweep.tenant)}@{BOUNCE_DOMAIN}", "delivered", "2.0.0", "250 in the mailbox")
    return {"report": {"contentType": "message/rfc822", "data": base64.b64encode(report).decode()}}


def _sent(tenant: Tenant) -> str:
    """The token of a message that was accepted."""
    message = _message(tenant)
    with database(tenant.stack) as connection:
        found: Any = connection.execute(
            "UPDATE email_messages SET status = %s WHERE id = %s RETURNING token",
            (EmailMessage.STATUS_ACCEPTED, message["email_message_id"]),
        ).fetchone()
    return str(found["token"])


INSTANCES = {
    "plinth.communication.v1.EmailMessage": Instance(_message, new_message),
    "plinth.communication.v1.EmailSuppression": Instance(_suppression, new_suppression),
}
MUTATIONS = (
    Mutation("EmailMessageService/CreateEmailMessage"),
    Mutation("EmailMessageService/CancelEmailMessage"),
    Mutation("EmailMessageService/RetryEmailMessage", before="CancelEmailMessage"),
    Mutation("EmailSuppressionService/CreateEmailSuppression"),
    Mutation("EmailSuppressionService/DeleteEmailSuppression"),
    Mutation("UnsubscribeService/Unsubscribe", _token),
    Mutation("EmailReportService/ReceiveEmailReport", _report, headers={"x_report_secret": REPORT_SECRET}),
)
