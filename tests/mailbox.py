"""A real SMTP server that keeps what it is sent as files, and refuses what the address of a recipient asks it to.

`rcpt-552-5.2.2-ada@example.com` is answered `552 5.2.2` to RCPT TO, `data-554-5.7.1-ada@example.com` to DATA, and with
`drop-250-2.0.0-` the connection ends after the last dot. Any other address gets its mail.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.stack import Stack, free_port, wait_for

REFUSAL = re.compile(r"^(rcpt|data|drop)-(\d{3})-(\d\.\d+\.\d+)?-?")
TAKEN = "250 2.0.0 taken"


class Mailbox:
    """The mail of one stack. It is read by any process that knows the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def to(self, address: str) -> list[EmailMessage]:
        """What somebody got, oldest first."""
        found = sorted((self.folder / _name(address)).glob("*.eml"))
        return [_read(path) for path in found]

    def wait_for(self, address: str, number: int = 1) -> list[EmailMessage]:
        """Their mail, once there is as much of it."""
        wait_for(lambda: len(self.to(address)) >= number, what=f"{number} messages to {address}")
        return self.to(address)


def mailbox_of(stack: Stack) -> Mailbox:
    """The mailbox of the shared stack."""
    return Mailbox(stack.data_dir.parent / "mail")


def text_of(message: EmailMessage) -> str:
    """The plain text of a message."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


class Handler:
    """What aiosmtpd asks at each command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        refusal = REFUSAL.match(address)
        if refusal and refusal[1] == "rcpt":
            return f"{refusal[2]} {refusal[3] or ''} refused"
        envelope.rcpt_tos.append(address)
        return TAKEN

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        del session
        (address,) = envelope.rcpt_tos
        refusal = REFUSAL.match(address)
        if refusal and refusal[1] == "data":
            return f"{refusal[2]} {refusal[3] or ''} refused"
        folder = self._folder / _name(address)
        folder.mkdir(exist_ok=True)
        self._number += 1
        draft = folder / f".{self._number}"
        # As the last server on the way says who sent it (RFC 5321, 4.4).
        draft.write_bytes(f"Return-Path: <{envelope.mail_from}>\r\n".encode() + (envelope.original_content or b""))
        draft.rename(folder / f"{self._number:09}.eml")
        if refusal and refusal[1] == "drop":
            transport: Any = server.transport
            transport.abort()
        return TAKEN


@contextmanager
def mail_server(folder: Path) -> Iterator[str]:
    """Run one on loopback. Its URL for the settings."""
    port = free_port()
    controller = Controller(Handler(folder), hostname="127.0.0.1", port=port, enable_SMTPUTF8=True)
    controller.start()
    try:
        yield f"smtp://127.0.0.1:{port}"
    finally:
        controller.stop()


def address(prefix: str = "") -> str:
    """An address that nobody else has."""
    return f"{prefix}{secrets.token_hex(6)}@example.com"


def _name(address: str) -> str:
    """An address as the name of a folder."""
    return re.sub(r"[^\w@.+-]", "_", address.lower())


def _read(path: Path) -> EmailMessage:
    message = message_from_bytes(path.read_bytes(), policy=SMTPUTF8)
    assert isinstance(message, EmailMessage)
    return message
