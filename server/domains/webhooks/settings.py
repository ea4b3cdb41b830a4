"""Settings of webhooks."""

from pydantic import Field

from server.settings import DomainSettings


class WebhookSettings(DomainSettings):
    """How webhooks are sent, and how long it is kept what became of it."""

    webhook_retention_days: int = Field(
        30, ge=7, description="How long deliveries of webhooks are kept, and likewise their attempts."
    )
