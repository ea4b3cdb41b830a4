"""How mail is queued and changed."""

import base64
from typing import Any

from plinth.communication.v1.email_message_pb2 import EmailMessage

from tests.clients import Tenant, database, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made
from tests.domains.communication.reports import delivery_report
from tests.domains.communication.signing import BOUNCE_DOMAIN, REPORT_SECRET

ATTEMPTS = 10
OK = 200
TEMPLATES = "/api/v1/email/templates"
MJML = "<mjml><mj-body><mj-section><mj-column><mj-text>{}</mj-text></mj-column></mj-section></mj-body></mjml>"


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


def new_template(key: str = "", locale: str = "de") -> dict[str, Any]:
    """The JSON of a new template."""
    mjml = MJML.format("Hello {{ name }}")
    return {"key": key or unique("planted"), "locale": locale, "subject": "Planted for {{ name }}", "mjml": mjml}


def _template(tenant: Tenant) -> Named:
    """With two versions, so that a page of one has a next, and a draft that is another one. The older one is named."""
    named = {"displayName": f"{MARK}-{tenant.subdomain}"}
    template = made(tenant, TEMPLATES, new_template(locale="en") | named | {"subject": "First for {{ name }}"})
    url = f"{TEMPLATES}/{template['id']}"
    for subject in ("Second", "Third"):
        made(tenant, f"{url}/publish", {}, status=OK)
        changed = tenant.rest.patch(url, {"subject": subject})
        assert changed.status_code == OK, changed.text
    _, older = tenant.rest.get(f"{url}/versions").json()["emailTemplateVersions"]
    etag = changed.json()["etag"]
    return {"email_template_id": template["id"], "email_template_version_id": older["id"], "etag": etag}


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
    "plinth.communication.v1.EmailTemplate": Instance(_template, new_template),
    "plinth.communication.v1.EmailTemplateVersion": Instance(_template),
}
MUTATIONS = (
    Mutation("EmailMessageService/CreateEmailMessage"),
    Mutation("EmailMessageService/CancelEmailMessage"),
    Mutation("EmailMessageService/RetryEmailMessage", before="CancelEmailMessage"),
    Mutation("EmailSuppressionService/CreateEmailSuppression"),
    Mutation("EmailSuppressionService/DeleteEmailSuppression"),
    Mutation("EmailTemplateService/CreateEmailTemplate"),
    Mutation("EmailTemplateService/UpdateEmailTemplate", lambda _: {"updateMask": "subject"}, mask=("subject",)),
    Mutation("EmailTemplateService/PublishEmailTemplate"),
    Mutation("EmailTemplateService/RestoreEmailTemplateVersion"),
    Mutation("EmailTemplateService/DeleteEmailTemplate"),
    Mutation("UnsubscribeService/Unsubscribe", _token),
    Mutation("EmailReportService/ReceiveEmailReport", _report, headers={"x_report_secret": REPORT_SECRET}),
)
