"""Settings of communication."""

from typing import Annotated

from pydantic import Field

from server.setting_values import UNLESS_EMPTY, MailAddress, SmtpUrl
from server.settings import DomainSettings


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
    communication_mail_retention_days: int = Field(
        90, ge=1, description="How long messages are kept after they have expired."
    )
