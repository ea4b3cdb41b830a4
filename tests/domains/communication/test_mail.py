"""Mail of a tenant: queued over the API, handed to a real SMTP server, and what becomes of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clients import Rest, Tenant, database, new_member, new_tenant, problem, rows
from tests.domains.events import events_of
from tests.mailbox import address, mailbox_of, text_of
from tests.stack import Stack, wait_for

PATH = "/api/v1/email/messages"
ENDED = {"STATUS_ACCEPTED", "STATUS_BOUNCED", "STATUS_FAILED", "STATUS_EXPIRED"}


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def queue(tenant: Tenant, to: str, **facts: Any) -> dict[str, Any]:
    """Queue a message."""
    answer = tenant.rest.post(PATH, {"to": to, "subject": "Your car is ready", "text": "Come until six.", **facts})
    assert answer.status_code == 201, answer.text
    queued: dict[str, Any] = answer.json()
    return queued


def read(tenant: Tenant, message: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tenant.rest.get(f"{PATH}/{message['id']}").json()
    return found


def in_status(tenant: Tenant, message: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """The message, once it is in one of these states."""
    wait_for(lambda: read(tenant, message)["status"] in statuses, what=lambda: str(read(tenant, message)))
    return read(tenant, message)


def move(stack: Stack, message: dict[str, Any], **by: float) -> None:
    """Let time pass for a message: what it waits for comes earlier."""
    with database(stack) as connection:
        connection.execute(
            "UPDATE email_messages SET next_attempt_time = next_attempt_time - %(by)s, lease_time = lease_time - %(by)s"
            " WHERE id = %(id)s",
            {"by": timedelta(**by), "id": message["id"]},
        )


def test_a_message_arrives_as_text_and_html(stack: Stack, tenant: Tenant) -> None:
    to = address()
    text = "Ready: <b>now</b>\n.a line with a dot\n\nSee https://example.com/cars?id=7&all=1."
    queued = queue(tenant, to, subject="Fertig: schöner Wagen", text=text, replyTo="workshop@example.com")
    assert queued["status"] == "STATUS_QUEUED"
    (message,) = mailbox_of(stack).wait_for(to)
    assert message["Subject"] == "Fertig: schöner Wagen"
    assert message["To"] == to
    assert message["From"] == "Plinth <no-reply@localhost>"
    assert message["Reply-To"] == "workshop@example.com"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == f"<{queued['id']}@localhost>"
    assert text_of(message).replace("\r\n", "\n").strip() == text
    html = message.get_body(("html",))
    assert html is not None
    content = html.get_content()
    assert "<p>Ready: &lt;b&gt;now&lt;/b&gt;<br>" in content
    link = "https://example.com/cars?id=7&amp;all=1"
    assert f'<a href="{link}">{link}</a>.</p>' in content
    sent = in_status(tenant, queued, "STATUS_ACCEPTED")
    assert sent["lastAnswer"] == "250 2.0.0 taken"
    assert sent["attempts"] == 1
    assert "acceptTime" in sent
    assert "nextAttemptTime" not in sent
    wait_for(lambda: "email_message.accepted" in {event.type for event in events_of(stack, tenant.id)})


@pytest.mark.parametrize(
    ("prefix", "status", "event"),
    [
        ("rcpt-550-5.1.1-", "STATUS_BOUNCED", "email_message.bounced"),
        ("rcpt-550--", "STATUS_BOUNCED", "email_message.bounced"),
        ("rcpt-550-5.7.1-", "STATUS_FAILED", "email_message.failed"),
        ("data-554-5.7.1-", "STATUS_FAILED", "email_message.failed"),
    ],
)
def test_a_refusal_for_good_ends_it(stack: Stack, prefix: str, status: str, event: str) -> None:
    tenant = new_tenant(stack)
    ended = in_status(tenant, queue(tenant, address(prefix)), *ENDED)
    assert ended["status"] == status
    assert ended["lastAnswer"].startswith(prefix[5:8])
    assert "nextAttemptTime" not in ended
    wait_for(lambda: event in {each.type for each in events_of(stack, tenant.id)})
    (entry,) = rows(stack, "SELECT * FROM audit_entries WHERE tenant_id = %s AND action = %s", tenant.id, event)
    assert entry["resource_id"] == ended["id"]


@pytest.mark.parametrize("prefix", ["rcpt-450-4.2.1-", "rcpt-552-5.2.2-", "data-451-4.3.0-"])
def test_a_refusal_for_now_defers_it(stack: Stack, tenant: Tenant, prefix: str) -> None:
    queued = queue(tenant, address(prefix))
    deferred = in_status(tenant, queued, "STATUS_DEFERRED")
    again = datetime.fromisoformat(deferred["nextAttemptTime"])
    assert timedelta(seconds=30) < again - datetime.now(UTC) < timedelta(seconds=70)
    move(stack, queued, minutes=2)
    wait_for(lambda: read(tenant, queued)["attempts"] == 2)


def test_what_is_not_accepted_in_time_expires(stack: Stack, tenant: Tenant) -> None:
    queued = queue(tenant, address("rcpt-450-4.2.1-"))
    in_status(tenant, queued, "STATUS_DEFERRED")
    with database(stack) as connection:
        # Less than the pause that would follow.
        connection.execute(
            "UPDATE email_messages SET expire_time = now() + interval '3 minutes' WHERE id = %s", (queued["id"],)
        )
    move(stack, queued, minutes=2)
    assert in_status(tenant, queued, "STATUS_EXPIRED")["attempts"] == 2


def test_what_is_claimed_too_late_is_not_sent(stack: Stack, tenant: Tenant) -> None:
    """Such as after a day without workers: the SMTP server is not asked."""
    to = address("rcpt-450-4.2.1-")
    queued = queue(tenant, to)
    in_status(tenant, queued, "STATUS_DEFERRED")
    with database(stack) as connection:
        connection.execute(
            "UPDATE email_messages SET expire_time = now(), next_attempt_time = now() WHERE id = %s", (queued["id"],)
        )
    expired = in_status(tenant, queued, "STATUS_EXPIRED")
    assert (expired["attempts"], expired["lastAnswer"]) == (1, "it was not sent before it expired")


def test_an_address_with_an_international_domain_needs_no_smtputf8(stack: Stack, tenant: Tenant) -> None:
    local = address().partition("@")[0]
    queued = queue(tenant, f"{local}@bücher.example", replyTo="info@bücher.example")
    assert queued["to"] == f"{local}@bücher.example"
    (message,) = mailbox_of(stack).wait_for(f"{local}@xn--bcher-kva.example")
    assert message["Reply-To"] == "info@xn--bcher-kva.example"


def test_a_lost_answer_is_tried_once_more_under_the_same_id(stack: Stack, tenant: Tenant) -> None:
    to = address("drop-250-2.0.0-")
    queued = queue(tenant, to)
    in_doubt = in_status(tenant, queued, "STATUS_UNCERTAIN")
    again = datetime.fromisoformat(in_doubt["nextAttemptTime"])
    assert timedelta(minutes=14) < again - datetime.now(UTC) < timedelta(minutes=16)
    move(stack, queued, minutes=16)
    wait_for(lambda: read(tenant, queued)["attempts"] == 2)
    assert "nextAttemptTime" not in read(tenant, queued)
    assert len({message["Message-ID"] for message in mailbox_of(stack).wait_for(to, 2)}) == 1


def test_what_a_lost_worker_was_sending_is_uncertain(stack: Stack, tenant: Tenant) -> None:
    queued = queue(tenant, address("rcpt-450-4.2.1-"))
    in_status(tenant, queued, "STATUS_DEFERRED")
    with database(stack) as connection:
        connection.execute(
            "UPDATE email_messages SET status = 2, lease_time = now(), next_attempt_time = now() WHERE id = %s",
            (queued["id"],),
        )
    lost = in_status(tenant, queued, "STATUS_UNCERTAIN")
    assert lost["lastAnswer"] == "the worker that sent it was lost"


def test_what_waits_is_cancelled_and_what_failed_is_tried_again(tenant: Tenant) -> None:
    queued = queue(tenant, address("rcpt-450-4.2.1-"))
    deferred = in_status(tenant, queued, "STATUS_DEFERRED")
    where = f"{PATH}/{queued['id']}"
    cancelled = tenant.rest.post(f"{where}/cancel", {"etag": deferred["etag"]}).json()
    assert cancelled["status"] == "STATUS_CANCELLED"
    assert "nextAttemptTime" not in cancelled
    assert problem(tenant.rest.post(f"{where}/cancel", {})).reason == "STATE_FORBIDS"
    assert tenant.rest.post(f"{where}/retry", {}).json()["status"] == "STATUS_QUEUED"
    in_status(tenant, queued, "STATUS_DEFERRED")
    assert problem(tenant.rest.post(f"{where}/retry", {})).reason == "STATE_FORBIDS"
    failed = in_status(tenant, queue(tenant, address("rcpt-550-5.7.1-")), "STATUS_FAILED")
    again = tenant.rest.post(f"{PATH}/{failed['id']}/retry", {}).json()
    assert (again["status"], again.get("attempts", 0)) == ("STATUS_QUEUED", 0)
    in_status(tenant, failed, "STATUS_FAILED")


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"to": "nobody"}, "emailMessage.to"),
        ({"to": "a@example.com\r\nBcc: b@example.com"}, "emailMessage.to"),
        ({"to": "a@example.com, b@example.com"}, "emailMessage.to"),
        ({"subject": "one\r\nBcc: b@example.com"}, "emailMessage.subject"),
        ({"replyTo": "x@example.com\nBcc: b@example.com"}, "emailMessage.replyTo"),
    ],
)
def test_headers_cannot_be_written(tenant: Tenant, facts: dict[str, str], field: str) -> None:
    body = {"to": address(), "subject": "One", "text": "Two", **facts}
    refused = problem(tenant.rest.post(PATH, body))
    assert [name for name in refused.violations if name.removeprefix("emailMessage.") in field], refused


def test_a_second_message_cannot_be_smuggled(stack: Stack, tenant: Tenant) -> None:
    """Ends of data that some servers see where others do not (CVE-2023-51764 and kin)."""
    to = address()
    smuggled = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nHello\r\n.\r\n"
    for end in ("\r\n.\r\n", "\n.\n", "\n.\r\n", "\r.\r", "\r\n.\r"):
        queue(tenant, to, text=f"One{end}{smuggled}")
    messages = mailbox_of(stack).wait_for(to, 5)
    assert len(messages) == 5
    assert all("MAIL FROM" in text_of(message) for message in messages)
    assert not mailbox_of(stack).to("b@example.com")


def test_who_may_send(stack: Stack, tenant: Tenant) -> None:
    for role, status in (("admin", 201), ("editor", 201), ("employee", 201), ("member", 403), ("viewer", 403)):
        _, session = new_member(tenant, role)
        body = {"to": address(), "subject": "One", "text": "Two"}
        assert Rest(stack, session.access_token).post(PATH, body).status_code == status


def test_every_door_leads_to_the_queue(tenant: Tenant) -> None:
    sent = tenant.rest.post("/api/v1/communication/email", {"to": address(), "subject": "One", "text": "Two"})
    assert sent.status_code == 201
    for path in (PATH, "/api/v1/communication/email", "/api/v1/pending-emails"):
        listed = tenant.rest.get(path, {"filter": f'id = "{sent.json()["id"]}"'}).json()["emailMessages"]
        assert [message["id"] for message in listed] == [sent.json()["id"]]


def test_mail_has_the_letterhead_of_the_tenant(stack: Stack) -> None:
    tenant, to, invited = new_tenant(stack), address(), address()
    mail = {"senderName": "Caf\u00e9 Acme, Ltd.", "replyTo": "office@acme.example", "footer": "Acme <Ltd>\nMadrid"}
    changed = tenant.rest.patch("settings", {"mail": mail})
    assert changed.status_code == 200, changed.text
    assert tenant.rest.get("settings/mail").json()["mail"] == mail
    queue(tenant, to, html="<html><body><p>Ready</p></body></html>", category="MARKETING")
    (message,) = mailbox_of(stack).wait_for(to)
    (sender,) = message["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Caf\u00e9 Acme, Ltd.", "no-reply@localhost")
    assert message["Reply-To"] == "office@acme.example"
    lines = text_of(message).replace("\r\n", "\n").splitlines()
    assert lines[-4:-1] == ["--", "Acme <Ltd>", "Madrid"]
    assert lines[-1].startswith("Unsubscribe: http")
    body = message.get_body(("html",))
    assert body is not None
    html = body.get_content()
    assert html.startswith("<html><body><p>Ready</p><p ")
    assert "Acme &lt;Ltd&gt;<br>" in html
    assert html.rstrip().endswith("</body></html>")
    own = address()
    queue(tenant, own, replyTo="workshop@acme.example")
    assert mailbox_of(stack).wait_for(own)[0]["Reply-To"] == "workshop@acme.example"
    assert tenant.rest.post("employees/invite", {"email": invited, "roles": ["employee"]}).status_code == 201
    (invitation,) = mailbox_of(stack).wait_for(invited)
    assert invitation["From"].addresses[0].display_name == "Caf\u00e9 Acme, Ltd."
    assert "Acme <Ltd>" in text_of(invitation)


@pytest.mark.parametrize(
    ("mail", "field"),
    [
        ({"senderName": "Acme\r\nBcc: eve@example.com"}, "mail.senderName"),
        ({"senderName": "PayPal <pay@paypal.com>"}, "mail.senderName"),
        ({"replyTo": "nobody"}, "mail.replyTo"),
        ({"footer": "x" * 1001}, "mail.footer"),
    ],
)
def test_a_letterhead_that_could_deceive_is_refused(tenant: Tenant, mail: dict[str, str], field: str) -> None:
    assert [*problem(tenant.rest.patch("settings", {"mail": mail})).violations] == [field]
