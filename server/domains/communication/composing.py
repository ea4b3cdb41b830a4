"""Composing: a stored message as it goes over the wire (RFC 5322, MIME), with its text as plain text and as HTML."""

import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage as MimeMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from html import escape

_LINK = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")
_PAGE = """\
<!doctype html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"></head>
<body style="font-family: system-ui, sans-serif; line-height: 1.5; color: #1f2933">
{}
</body></html>
"""


def compose(
    *, sender: str, to: str, subject: str, text: str, reply_to: str, message_id: str, time: datetime
) -> MimeMessage:
    """The message. `sender` may have a name in front. `message_id` is in angle brackets."""
    message = MimeMessage(policy=SMTP if f"{to}{reply_to}".isascii() else SMTPUTF8)
    name, address = parseaddr(sender)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = to
    message["Subject"] = " ".join(subject.split())
    message["Date"] = format_datetime(time)
    message["Message-ID"] = message_id
    if reply_to:
        message["Reply-To"] = reply_to
    # RFC 3834: no holiday notice answers it.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html_of(text), subtype="html", cte="quoted-printable")
    return message


def html_of(text: str) -> str:
    """A text in paragraphs, with its web addresses as links."""
    paragraphs = (each for each in re.split(r"\n\s*\n", text.strip()) if each)
    return _PAGE.format("\n".join(f"<p>{_linked(each)}</p>" for each in paragraphs))


def _linked(paragraph: str) -> str:
    parts, end = [], 0
    for found in _LINK.finditer(paragraph):
        address = escape(found[0])
        parts += [escape(paragraph[end : found.start()]), f'<a href="{address}">{address}</a>']
        end = found.end()
    return "".join([*parts, escape(paragraph[end:])]).replace("\n", "<br>\n")
