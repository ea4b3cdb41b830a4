"""Tables of webhooks."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from server.data.tables import OWN_TENANT, global_table, tenant_table, time_column, uuid_column

webhooks = tenant_table(
    "webhooks",
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("signature_scheme", SmallInteger, nullable=False),
    # Sealed with a key that the deployment's secret gives (secrets.py); the key's id is in front.
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary, nullable=True),
    time_column("previous_secret_expire_time", nullable=True),
    # Since when every attempt has failed; when the tenant was told; when and why it was disabled.
    time_column("failing_since_time", nullable=True),
    time_column("warn_time", nullable=True),
    time_column("disable_time", nullable=True),
    Column("disable_reason", SmallInteger, nullable=False, server_default=text("0")),
    time_column("last_success_time", nullable=True),
    # When it was deleted; it is hidden until a job has removed its deliveries.
    time_column("removal_time", nullable=True),
    # Until when nothing is sent, since the receiver asked for a pause.
    time_column("resume_time", nullable=True),
)
Index("webhooks_create_time_idx", webhooks.c.tenant_id, webhooks.c.create_time, webhooks.c.id)

# One event for one webhook.
webhook_deliveries = global_table(
    "webhook_deliveries",
    uuid_column("tenant_id"),
    uuid_column("id"),
    uuid_column("webhook_id"),
    # The event, which is in the log under this id and time; a test has one of its own, which is nowhere else.
    uuid_column("event_id"),
    Column("event_type", Text, nullable=False),
    # What happened in this order is delivered in this order: the resource of the event.
    Column("subject", Text, nullable=False),
    time_column("event_time"),
    # The order of deliveries for one subject.
    Column("number", BigInteger, nullable=False, server_default=text("nextval('webhook_deliveries_number_seq')")),
    # As the enums of webhook.proto have it.
    Column("kind", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_status_code", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text, nullable=False, server_default=text("''")),
    time_column("next_attempt_time", nullable=True),
    time_column("finish_time", nullable=True),
    time_column("create_time", server_default=text("now()")),
    PrimaryKeyConstraint("tenant_id", "id"),
    ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
    row_security=OWN_TENANT,
)
Index(
    "webhook_deliveries_webhook_id_idx",
    webhook_deliveries.c.tenant_id,
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.create_time,
    webhook_deliveries.c.id,
)
Index(
    "webhook_deliveries_pending_idx",
    webhook_deliveries.c.tenant_id,
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.subject,
    webhook_deliveries.c.number,
    postgresql_where=webhook_deliveries.c.status == text("1"),
)
Index("webhook_deliveries_create_time_idx", webhook_deliveries.c.create_time)

# One row per webhook and subject that has something to deliver: what workers claim. Its deliveries go out one by one.
webhook_queues = global_table(
    "webhook_queues",
    uuid_column("tenant_id"),
    uuid_column("webhook_id"),
    Column("subject", Text, nullable=False),
    time_column("next_attempt_time"),
    # Until when a worker has it for itself; whoever dies lets go of it by then.
    time_column("lease_time", nullable=True),
    PrimaryKeyConstraint("tenant_id", "webhook_id", "subject"),
    ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
    row_security=OWN_TENANT,
)
# Without the tenant: nothing but a look for what is due can take it for the primary key.
Index("webhook_queues_next_attempt_time_idx", webhook_queues.c.webhook_id, webhook_queues.c.next_attempt_time)

# Every attempt, with what was sent and answered, credentials left out.
webhook_attempts = global_table(
    "webhook_attempts",
    uuid_column("tenant_id"),
    uuid_column("delivery_id"),
    Column("number", Integer, nullable=False),
    time_column("create_time"),
    Column("duration_ms", Integer, nullable=False),
    # The status that was answered; 0 when none was.
    Column("status_code", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("request_headers", JSONB, nullable=False),
    Column("request_body", Text, nullable=False),
    Column("response_headers", JSONB, nullable=False),
    Column("response_body", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "delivery_id", "number", "create_time"),
    row_security=OWN_TENANT,
    partition_by="RANGE (create_time)",
)
