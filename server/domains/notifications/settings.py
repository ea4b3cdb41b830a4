"""Settings of notifications."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from server.domains.notifications.workflows import EMAIL, PUSH
from server.kernel.rates import Rate as ParsedRate
from server.setting_values import UNLESS_EMPTY, ProviderUrl, Rate
from server.settings import DomainSettings

FCM_SETTING = "PLINTH_NOTIFICATION_FCM_CREDENTIALS_FILE"


def _is_service_account(path: Path | None) -> Path | None:
    """A file with a service account."""
    if path is not None:
        # Imported only where it is needed: every command reads the settings.
        from server.domains.notifications.fcm import NoCredentials, ServiceAccount  # noqa: PLC0415

        try:
            ServiceAccount.read(path)
        except (OSError, NoCredentials):
            raise ValueError("a file of a service account of Google, in JSON") from None
    return path


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

    notification_fcm_credentials_file: Annotated[Path | None, UNLESS_EMPTY, AfterValidator(_is_service_account)] = (
        Field(
            None,
            description="The file of a service account that may send by Firebase Cloud Messaging, as Google's console "
            "gives it. Unset: only browsers can be registered as devices.",
        )
    )
    notification_fcm_url: ProviderUrl = Field(
        "https://fcm.googleapis.com", description="Another address of that, such as of a gateway."
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
