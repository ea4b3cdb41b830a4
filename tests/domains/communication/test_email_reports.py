"""Reports of mail servers: what they change, and whose reports count."""

from typing import Any

import pytest

from tests.clients import Tenant, new_tenant, problem, reason
from tests.domains.communication.reports import complaint, delivery_report, send_report
from tests.domains.communication.signing import BOUNCE_DOMAIN
from tests.domains.communication.test_mail import in_status, queue, read
from tests.domains.communication.test_suppressions import of
from tests.domains.events import events_of
from tests.mailbox import address, mailbox_of
from tests.stack import Stack


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


class Sent:
    """A message that was accepted."""

    def __init__(self, stack: Stack, tenant: Tenant) -> None:
        self.to = address()
        self.message = in_status(tenant, queue(tenant, self.to), "STATUS_ACCEPTED")
        (self.mail,) = mailbox_of(stack).wait_for(self.to)
        self.return_path = str(self.mail["Return-Path"]).strip("<>")

    @property
    def headers(self) -> str:
        """Those that reports quote."""
        return f"X-Message-Token: {self.mail['X-Message-Token']}\nMessage-ID: {self.mail['Message-ID']}\n"


@pytest.mark.parametrize(
    ("action", "status", "becomes"),
    [
        ("failed", "5.1.1", "STATUS_BOUNCED"),
        ("failed", "5.2.1", "STATUS_BOUNCED"),
        ("failed", "5.7.1", "STATUS_FAILED"),
        ("failed", "5.1.8", "STATUS_FAILED"),
        ("failed", "4.4.7", "STATUS_FAILED"),
        ("delivered", "2.0.0", "STATUS_DELIVERED"),
    ],
)
def test_a_report_of_delivery(stack: Stack, tenant: Tenant, action: str, status: str, becomes: str) -> None:
    sent = Sent(stack, tenant)
    assert sent.return_path == f"b+{sent.mail['X-Message-Token']}@{BOUNCE_DOMAIN}"
    report = delivery_report(sent.return_path, action, status, f"550 {status} because")
    for _ in range(2):
        answer = send_report(stack, report)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["id"], answer.json()["status"]) == (sent.message["id"], becomes)
    assert read(tenant, sent.message)["lastAnswer"] == f"{status} 550 {status} because"
    assert [each["reason"] for each in of(tenant, sent.to)] == ["REASON_BOUNCED"] * (becomes == "STATUS_BOUNCED")
    event = becomes.replace("STATUS_", "email_message.").lower()
    told = [each.type for each in events_of(stack, tenant.id) if each.resource_id == sent.message["id"]]
    assert told.count(event) == 1
    assert [each for each in told if each not in ("email_message.queued", "email_message.accepted")] == [event]


def test_a_delay_changes_nothing_and_a_failure_after_a_delivery_counts(stack: Stack, tenant: Tenant) -> None:
    sent = Sent(stack, tenant)
    assert send_report(stack, delivery_report(sent.return_path, "delayed", "4.4.1", "later")).status_code == 200
    assert read(tenant, sent.message) == sent.message
    assert send_report(stack, delivery_report(sent.return_path, "delivered", "2.0.0", "in")).status_code == 200
    assert send_report(stack, delivery_report(sent.return_path, "failed", "5.1.1", "gone")).status_code == 200
    assert read(tenant, sent.message)["status"] == "STATUS_BOUNCED"
    assert send_report(stack, delivery_report(sent.return_path, "delivered", "2.0.0", "in")).status_code == 200
    assert read(tenant, sent.message)["status"] == "STATUS_BOUNCED"


def test_a_complaint_keeps_all_mail_back(stack: Stack, tenant: Tenant) -> None:
    sent = Sent(stack, tenant)
    assert send_report(stack, complaint(sent.headers, "not-spam")).json()["status"] == "STATUS_ACCEPTED"
    assert send_report(stack, complaint(sent.headers)).json()["status"] == "STATUS_COMPLAINED"
    (made,) = of(tenant, sent.to)
    assert made["reason"] == "REASON_COMPLAINED"
    assert "expireTime" not in made
    in_status(tenant, queue(tenant, sent.to), "STATUS_SUPPRESSED")
    told = [each.type for each in events_of(stack, tenant.id) if each.resource_id in (sent.message["id"], made["id"])]
    assert {"email_message.complained", "email_suppression.created"} <= set(told)


def test_a_report_names_its_message_by_the_headers_it_quotes(stack: Stack, tenant: Tenant) -> None:
    sent = Sent(stack, tenant)
    report = delivery_report("postmaster@example.com", "delivered", "2.0.0", "in", sent.headers)
    assert send_report(stack, report).json()["status"] == "STATUS_DELIVERED"


def test_reports_of_strangers_and_about_nothing(stack: Stack, tenant: Tenant) -> None:
    sent = Sent(stack, tenant)
    report = delivery_report(sent.return_path, "failed", "5.1.1", "gone")
    for secret in ("", "the mail server of tests says that"):
        assert send_report(stack, report, secret).status_code == 401
    wrong: list[Any] = [
        delivery_report(f"b+{'a' * 26}@{BOUNCE_DOMAIN}", "failed", "5.1.1", "gone"),
        delivery_report("postmaster@example.com", "failed", "5.1.1", "gone"),
        report.replace(b"multipart/report", b"multipart/mixed"),
        b"Subject: hello\r\n\r\nhello",
        b"\xff\xfe\x00",
    ]
    for each in wrong:
        answer = send_report(stack, each)
        assert reason(answer) == (422, "RULE_VIOLATED"), each
        assert problem(answer).rules == ("report.unknown",)
    assert send_report(stack, report, **{"content-type": "text/plain"}).status_code == 415
    assert read(tenant, sent.message) == sent.message
