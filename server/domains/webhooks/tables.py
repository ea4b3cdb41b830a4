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

from server.data.quotas import limited_by_plan
from server.data.tables import OWN_TENANT, global_table, tenant_table, time_column, uuid_column

webhooks = tenant_table(
    "webhooks",
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("signature_scheme", SmallInteger, nullable=False),
    # Sealed with a key derived from the deployment's secret (secrets.py). The id of the key comes first.
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary, nullable=True),
    time_column("previous_secret_expire_time", nullable=True),
    # The first failure without a later success; when the tenant was warned; when and why it was disabled.
    time_column("failing_since_time", nullable=True),
    time_column("warn_time", nullable=True),
    time_column("disable_time", nullable=True),
    Column("disable_reason", SmallInteger, nullable=False, server_default=text("0")),
    time_column("last_success_time", nullable=True),
    # When it was deleted. It is hidden until a job has removed its deliveries.
    time_column("removal_time", nullable=True),
    # The end of a pause that the receiver asked for.
    time_column("resume_time", nullable=True),
)
limited_by_plan(webhooks, "webhooks")
Index("webhooks_create_time_idx", webhooks.c.tenant_id, webhooks.c.create_time, webhooks.c.id)

# One event for one webhook.
webhook_deliveries = global_table(
    "webhook_deliveries",
    uuid_column("tenant_id"),
    uuid_column("id"),
    uuid_column("webhook_id"),
    # The event, which is in the log under this id and time. The event of a test exists only here.
    uuid_column("event_id"),
    Column("event_type", Text, nullable=False),
    # The resource of the event. Deliveries of the same subject keep the order of its events.
    Column("subject", Text, nullable=False),
    time_column("event_time"),
    # The order of deliveries for one subject.
    Column("number", BigInteger, nullable=False, server_default=text("nextval('webhook_deliveries_number_seq')")),
    # The numbers of the enums in webhook.proto.
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
Index(
    "webhook_deliveries_event_id_idx",
    webhook_deliveries.c.tenant_id,
    webhook_deliveries.c.event_id,
    webhook_deliveries.c.webhook_id,
)
Index("webhook_deliveries_create_time_idx", webhook_deliveries.c.create_time)

# One row per webhook and subject with waiting deliveries, which workers claim. They are sent one after another.
webhook_queues = global_table(
    "webhook_queues",
    uuid_column("tenant_id"),
    uuid_column("webhook_id"),
    Column("subject", Text, nullable=False),
    time_column("next_attempt_time"),
    # The end of a worker's claim, which also ends the claim of a worker that died.
    time_column("lease_time", nullable=True),
    PrimaryKeyConstraint("tenant_id", "webhook_id", "subject"),
    ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
    row_security=OWN_TENANT,
)
# Without the tenant, so that only queries for due queues can use it instead of the primary key.
Index("webhook_queues_next_attempt_time_idx", webhook_queues.c.webhook_id, webhook_queues.c.next_attempt_time)

# Every attempt, with request and answer, without credentials.
webhook_attempts = global_table(
    "webhook_attempts",
    uuid_column("tenant_id"),
    uuid_column("delivery_id"),
    Column("number", Integer, nullable=False),
    time_column("create_time"),
    Column("duration_ms", Integer, nullable=False),
    # The status of the answer; 0 without an answer.
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
