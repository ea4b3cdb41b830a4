"""Removal of deleted webhooks in the background, with any number of deliveries."""

from sqlalchemy import BigInteger, bindparam, delete, false, func, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.webhooks.replay import QUEUE
from server.domains.webhooks.tables import webhooks
from server.kernel.jobs import Job

REMOVE = "webhooks.remove_webhook"
BATCH = 1000
# Seconds. Each batch is committed by itself.
TIMEOUT = 1800.0

_is_own = (
    webhooks.c.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
    webhooks.c.id == bindparam("webhook", type_=UUID(as_uuid=False)),
)
HIDE = Statement(update(webhooks).where(*_is_own).values(removal_time=func.now(), enabled=false()))
"""Takes `tenant` and `webhook`."""
REMOVE_DELIVERIES = Statement(
    text(
        """
WITH batch AS (
    SELECT tenant_id, id FROM webhook_deliveries
     WHERE tenant_id = CAST(:tenant AS uuid) AND webhook_id = CAST(:webhook AS uuid)
     LIMIT CAST(:limit AS bigint)
), attempts AS (
    DELETE FROM webhook_attempts USING batch
     WHERE webhook_attempts.tenant_id = batch.tenant_id AND webhook_attempts.delivery_id = batch.id
), deliveries AS (
    DELETE FROM webhook_deliveries USING batch
     WHERE webhook_deliveries.tenant_id = batch.tenant_id AND webhook_deliveries.id = batch.id
)
SELECT count(*) AS count FROM batch
"""
    ).columns(count=BigInteger())
)
"""Takes `tenant`, `webhook` and `limit`."""
REMOVE_WEBHOOK = Statement(delete(webhooks).where(*_is_own, webhooks.c.removal_time.is_not(None)))
"""Takes `tenant` and `webhook`."""


class Remover:
    """Removes deleted webhooks with their deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def job(self) -> Job:
        """The job of workers."""
        return Job(REMOVE, self.run, QUEUE, timeout=TIMEOUT)

    def run(self, *, tenant_id: str, webhook_id: str) -> None:
        """Remove attempts and deliveries, and at the end the webhook, which removes its queues."""
        named = {"tenant": tenant_id, "webhook": webhook_id}
        while True:
            with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
                removed = transaction.run(REMOVE_DELIVERIES, **named, limit=BATCH).value()
                if removed < BATCH:
                    transaction.run(REMOVE_WEBHOOK, **named)
                    return
