"""How webhooks are made and changed."""

from tests.clients import Tenant, database
from tests.contract.instances import MARK, Instance, Mutation, Named, made


def _webhook(tenant: Tenant) -> Named:
    """With a delivery, its attempt and a queue. By SQL: what is sent would change by itself while the wall is tried."""
    url = f"https://example.com/{MARK}-{tenant.subdomain}"
    webhook_id = made(tenant, f"{tenant.path}/webhooks", {"url": url, "eventTypes": ["branding.reset"]})["id"]
    with database(tenant.stack) as connection:
        row = connection.execute(
            """INSERT INTO webhook_deliveries
                      (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status)
               SELECT tenant_id, gen_random_uuid(), %s, id, type, resource_id, create_time, 1, 2
                 FROM events WHERE tenant_id = %s LIMIT 1 RETURNING id::text, event_id::text""",
            (webhook_id, tenant.id),
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO webhook_attempts VALUES (%s, %s, 1, now(), 1, 200, '', '{}', '{}', '{}', '')",
            (tenant.id, row["id"]),
        )
        connection.execute(
            "INSERT INTO webhook_queues VALUES (%s, %s, 'later', '2999-01-01', NULL)", (tenant.id, webhook_id)
        )
    return {"webhook_id": webhook_id, "delivery_id": row["id"], "event_id": row["event_id"]}


INSTANCES = {
    "plinth.webhooks.v1.Webhook": Instance(
        _webhook, lambda: {"url": "https://example.com/planted", "eventTypes": ["page.*"]}
    )
}
MUTATIONS = (
    Mutation("WebhookService/CreateWebhook"),
    Mutation("WebhookService/UpdateWebhook"),
    Mutation("WebhookService/RotateWebhookSecret"),
    Mutation("WebhookService/TestWebhook"),
    Mutation("WebhookService/ReplayWebhookEvents"),
    Mutation("WebhookService/DeleteWebhook"),
)
