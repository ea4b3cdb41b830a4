"""Webhooks: events of a tenant, sent to receivers of its choice."""

from datetime import timedelta

from server.data.grants import Grants
from server.domains.webhooks.erasure import COUNT, erase_attempts
from server.domains.webhooks.event_types import EventTypes
from server.domains.webhooks.secrets import SecretBox
from server.domains.webhooks.service import WebhookService
from server.domains.webhooks.settings import WebhookSettings
from server.domains.webhooks.tables import webhook_attempts, webhook_deliveries, webhook_queues, webhooks
from server.domains.webhooks.trial import Trials
from server.kernel.module import Background, DropPartitions, Expire, Module, Platform, Serve, WorkerPlatform
from server.kernel.privacy import Erase, NotPersonal
from server.settings import Settings


def _service(platform: Platform) -> WebhookService:
    box = SecretBox(platform.settings.secrets)
    return WebhookService(
        box=box,
        egress=platform.egress,
        event_types=EventTypes(platform.services, platform.reference.comments),
        trials=Trials(box, platform.senders, platform.clock),
        tokens=platform.page_tokens,
        clock=platform.clock,
    )


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.webhooks.background import background  # noqa: PLC0415 - in workers only

    return background(platform)


def _kept(settings: Settings) -> timedelta:
    return timedelta(days=settings.own(WebhookSettings).webhook_retention_days)


MODULE = Module(
    "webhooks",
    services=(Serve(WebhookService, _service),),
    settings=WebhookSettings,
    grants=Grants(dispatch_writes=("webhooks", "webhook_deliveries", "webhook_queues", "webhook_attempts")),
    retention=(
        Expire(table=webhook_deliveries, by="create_time", after=_kept, every_tenant=True),
        DropPartitions(table=webhook_attempts, after=_kept),
    ),
    erases=(
        Erase(
            table=webhook_attempts,
            columns=("request_headers", "request_body", "response_headers", "response_body"),
            run=erase_attempts,
            count=COUNT,
        ),
        NotPersonal(webhook_attempts, "error", why="why a connection failed"),
        NotPersonal(webhooks, "url", "description", "event_types", "secret", "previous_secret", why="of a program"),
        NotPersonal(webhook_deliveries, "event_type", "last_error", why="the type of an event, and why sending failed"),
        NotPersonal(webhook_deliveries, "subject", why="an id, which is a pseudonym once the account is erased"),
        NotPersonal(webhook_queues, "subject", why="an id, which is a pseudonym once the account is erased"),
    ),
    background=_background,
)
