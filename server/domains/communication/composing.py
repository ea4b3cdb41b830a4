"""Composing: a stored message as it goes over the wire (RFC 5322, MIME), with its text as plain text and as HTML."""

import re
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage as MimeMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from html import escape

TOKEN_HEADER = "X-Message-Token"  # noqa: S105 - the name of a header
"""Names a message in reports that quote its headers."""
RETURN_PREFIX = "b+"
"""Begins the address that reports about a message are sent to; its token follows."""
_LINK = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")
_PAGE = """\
<!doctype html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"></head>
<body style="font-family: system-ui, sans-serif; line-height: 1.5; color: #1f2933">
{}
</body></html>
"""
_END = """\
<p style="font-family: system-ui, sans-serif; font-size: 12px; text-align: center; color: #52606d">
{}
</p>
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it is handed over."""

    content: bytes
    has_utf8_headers: bool
    """Whether only servers with SMTPUTF8 (RFC 6531) may take it."""


def compose(
    *,
    sender: str,
    sender_name: str = "",
    to: str,
    subject: str,
    text: str,
    html: str = "",
    footer: str = "",
    reply_to: str,
    message_id: str,
    time: datetime,
    token: str = "",
    unsubscribe_url: str = "",
) -> Letter:
    """The message. `sender` may have a name in front; `sender_name` replaces it. `message_id` is in angle brackets.

    `html` is what readers of HTML see; if it is empty, they see the text. With `unsubscribe_url` it has the headers of
    RFC 8058, and a line with a link at its end.
    """
    has_utf8_headers = not f"{to}{reply_to}".isascii()
    message = MimeMessage(policy=SMTPUTF8 if has_utf8_headers else SMTP)
    name, address = parseaddr(sender)
    message["From"] = Address(sender_name or name, addr_spec=address)
    message["To"] = to
    message["Subject"] = " ".join(subject.split())
    message["Date"] = format_datetime(time)
    message["Message-ID"] = message_id
    if reply_to:
        message["Reply-To"] = reply_to
    # RFC 3834: no holiday notice answers it.
    message["Auto-Submitted"] = "auto-generated"
    if token:
        message[TOKEN_HEADER] = token
    if unsubscribe_url:
        message["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    end = "\n".join(each for each in (footer, unsubscribe_url and f"Unsubscribe: {unsubscribe_url}") if each)
    if end:
        text = f"{text.rstrip()}\n\n--\n{end}\n"
        html = with_end(html, footer, unsubscribe_url) if html else ""
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html or html_of(text), subtype="html", cte="quoted-printable")
    return Letter(message.as_bytes(), has_utf8_headers)


def html_of(text: str) -> str:
    """A text in paragraphs, with its web addresses as links."""
    paragraphs = (each for each in re.split(r"\n\s*\n", text.strip()) if each)
    return _PAGE.format("\n".join(f"<p>{_linked(each)}</p>" for each in paragraphs))


def with_end(html: str, footer: str, unsubscribe_url: str) -> str:
    """A document with a footer at its end, and a link by which its reader unsubscribes. Either may be empty."""
    body, end, rest = html.rpartition("</body>") if "</body>" in html else (html, "", "")
    link = f'<a href="{escape(unsubscribe_url)}">Unsubscribe</a>' if unsubscribe_url else ""
    return f"{body}{_END.format('<br>'.join(filter(None, (_linked(footer), link))))}{end}{rest}"


def _linked(paragraph: str) -> str:
    parts, end = [], 0
    for found in _LINK.finditer(paragraph):
        address = escape(found[0])
        parts += [escape(paragraph[end : found.start()]), f'<a href="{address}">{address}</a>']
        end = found.end()
    return "".join([*parts, escape(paragraph[end:])]).replace("\n", "<br>\n")
