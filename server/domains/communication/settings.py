"""Settings of communication."""

from email.utils import parseaddr
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from server.setting_values import UNLESS_EMPTY, Domain, MailAddress, Secret, SmtpUrl
from server.settings import DomainSettings


def _signs(path: Path | None) -> Path | None:
    """A file with a key that signs mail."""
    if path is not None:
        # Imported only where it is needed: every command reads the settings.
        from server.domains.communication.dkim_signing import private_key_in  # noqa: PLC0415

        try:
            private_key_in(path)
        except (OSError, ValueError):
            raise ValueError("a file with an RSA key of at least 2,048 bits, in PEM") from None
    return path


class CommunicationSettings(DomainSettings):
    """How mail is sent, and how long it is kept what became of it."""

    communication_smtp_url: Annotated[SmtpUrl | None, UNLESS_EMPTY] = Field(
        None,
        description="The SMTP server that takes mail: `smtps://user:password@host:465` (TLS from the start), or "
        "`smtp://user:password@host:587` (STARTTLS, without which nothing is sent). Only a server on this machine may "
        "be without TLS: `smtp://127.0.0.1:25`. Unset: mail is kept, HELD.",
    )
    communication_mail_from: MailAddress = Field(
        "Plinth <no-reply@localhost>", description="The sender of mail, such as `Acme <no-reply@acme.example>`."
    )
    communication_smtp_timeout: float = Field(
        30.0, gt=0, le=45, description="How long one answer of the SMTP server may take."
    )
    communication_smtp_connections: int = Field(
        4, ge=1, le=100, description="Messages that a background worker hands over at once."
    )
    communication_bounce_domain: Annotated[Domain | None, UNLESS_EMPTY] = Field(
        None,
        description="The domain that reports about mail are sent to, such as `bounces.example.com`. Its mail server "
        "passes them on (docs/mail.md). Unset: they go to the sender, and nobody reads them.",
    )
    communication_report_secret: Annotated[Secret | None, UNLESS_EMPTY] = Field(
        None, description="What that mail server says in `x-report-secret`, 32 characters at least."
    )
    communication_dkim_key_file: Annotated[Path | None, UNLESS_EMPTY, AfterValidator(_signs)] = Field(
        None,
        description="The RSA key, in PEM, that signs mail (DKIM) for the domain of COMMUNICATION_MAIL_FROM. Unset: it "
        "is not signed, or the SMTP server does it.",
    )
    communication_dkim_selector: str = Field(
        "plinth",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Where the public key is in DNS: at `<selector>._domainkey.<domain>`.",
    )
    communication_mail_retention_days: int = Field(
        90, ge=1, description="How long messages are kept after they have expired."
    )

    @property
    def mail_domain(self) -> str:
        """The domain of the sender."""
        return parseaddr(self.communication_mail_from)[1].rpartition("@")[2]
