"""Reports as mail servers send them."""

from typing import Any

import httpx

from tests.clients import Rest
from tests.domains.communication.signing import BOUNCE_DOMAIN, REPORT_SECRET
from tests.stack import Stack

PATH = "/api/v1/email/reports"


def delivery_report(to: str, action: str, status: str, words: str, headers: str = "") -> bytes:
    """A report of delivery (RFC 3464). `headers` are those of our message."""
    return f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example.org
To: {to}
Subject: Delivery Status Notification
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain

This is the mail system.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; ada@example.org
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {words}

--b1
Content-Type: text/rfc822-headers

{headers}Subject: Your car is ready

--b1--
""".replace("\n", "\r\n").encode()


def complaint(headers: str, kind: str = "abuse") -> bytes:
    """A report of a complaint (RFC 5965), sent to an address that names no message."""
    return f"""\
From: feedback@mx.example.org
To: fbl@{BOUNCE_DOMAIN}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b1"

--b1
Content-Type: text/plain

Somebody has pressed a button.

--b1
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Mx/1.0
Version: 1

--b1
Content-Type: message/rfc822

{headers}Subject: Your car is ready

Come until six.

--b1--
""".replace("\n", "\r\n").encode()


def send_report(stack: Stack, report: bytes, secret: str = REPORT_SECRET, **headers: Any) -> httpx.Response:
    """Send a report as the mail server of the bounce domain does."""
    sent = {"content-type": "message/rfc822", "x-report-secret": secret, **headers}
    return Rest(stack).request("POST", PATH, headers=sent, content=report)
