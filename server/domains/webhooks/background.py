"""The background work of webhooks: events become deliveries, and deliveries are sent."""

from server.domains.webhooks.delivery import DeliveryEngine
from server.domains.webhooks.dispatch import Dispatcher
from server.domains.webhooks.gauges import WebhookGauges
from server.domains.webhooks.removal import Remover
from server.domains.webhooks.replay import Replayer
from server.domains.webhooks.secrets import SecretBox
from server.domains.webhooks.tables import webhooks
from server.kernel.module import Background, WorkerPlatform
from server.kernel.resealing import Resealer, SealedColumns

SECRETS = SealedColumns(table=webhooks, columns=("secret", "previous_secret"), row_id="id")
RESEAL = "webhooks.reseal_secrets"


def background(platform: WorkerPlatform) -> Background:
    """The jobs, schedules and services of webhooks."""
    settings, name = platform.settings, platform.process
    dsn, box = settings.dispatch_dsn, SecretBox(settings.secrets)
    engine = DeliveryEngine(
        dsn,
        platform.senders,
        box,
        name=name,
        concurrency=settings.webhook_concurrency,
        patience=settings.drain_timeout / 2,
        clock=platform.clock,
    )
    dispatcher = Dispatcher(dsn, platform.hints, engine.wake, name=name, clock=platform.clock)
    resealer = Resealer(platform.dispatch, box, SECRETS, RESEAL)
    replayer = Replayer(platform.database)
    return Background(
        jobs=(replayer.job, Remover(platform.database).job),
        long_jobs=(replayer.long_job,),
        schedules=(resealer.schedule,),
        services=(dispatcher, engine, WebhookGauges(dsn, name=name), resealer.at_start(platform.house_threads)),
    )
