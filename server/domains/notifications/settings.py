"""Settings of notifications."""

from typing import Annotated

from pydantic import Field

from server.domains.notifications.workflows import EMAIL, PUSH
from server.kernel.rates import Rate as ParsedRate
from server.setting_values import UNLESS_EMPTY, Rate
from server.settings import DomainSettings


class NotificationSettings(DomainSettings):
    """How notifications go out."""

    notification_email_rate: Rate = Field(
        "20/3600",
        description="Mails with notifications that one person gets in a while, as `mails/seconds`. More of them come "
        "together.",
    )
    notification_push_rate: Rate = Field(
        "60/3600", description="Push notifications that one device gets in a while; more of them come together."
    )
    notification_push_contact: Annotated[str | None, UNLESS_EMPTY] = Field(
        None,
        pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+)$",
        description="Where operators of push services write to about our messages, such as "
        "`mailto:operations@example.com`. Apple takes no message without an address that exists. Unset: the address "
        "of the API.",
    )
    notification_front_end_url: Annotated[str | None, UNLESS_EMPTY] = Field(
        None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        description="Where the front end is, such as `https://app.example.com`. Mail and push lead there where a "
        "notification has a URL that begins with `/`. Unset: they do not.",
    )
    notification_push_concurrency: int = Field(
        50, ge=1, le=1000, description="Push notifications that a background worker sends at once."
    )

    @property
    def outgoing_rates(self) -> dict[int, ParsedRate]:
        """The rates of the channels."""
        return {
            EMAIL: ParsedRate.parse(self.notification_email_rate),
            PUSH: ParsedRate.parse(self.notification_push_rate),
        }

    def link(self, url: str) -> str:
        """The whole address of what a notification leads to; empty if it leads nowhere outside of the front end."""
        if not url.startswith("/"):
            return url
        return f"{self.notification_front_end_url.rstrip('/')}{url}" if self.notification_front_end_url else ""
