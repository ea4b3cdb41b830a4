"""How mail is queued and changed."""

from typing import Any

from plinth.communication.v1.email_message_pb2 import EmailMessage

from tests.clients import Tenant, database
from tests.contract.instances import MARK, Instance, Mutation, Named, made

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


INSTANCES = {"plinth.communication.v1.EmailMessage": Instance(_message, new_message)}
MUTATIONS = (
    Mutation("EmailMessageService/CreateEmailMessage"),
    Mutation("EmailMessageService/CancelEmailMessage"),
    Mutation("EmailMessageService/RetryEmailMessage", before="CancelEmailMessage"),
)
