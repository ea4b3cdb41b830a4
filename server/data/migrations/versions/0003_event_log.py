"""Month partitions of the event log; the audit log and its seals; webhooks; jobs."""

from pathlib import Path

from alembic import op

from server.data.walls import every_row, wall

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OWN_WALL = "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
EVENT_WALL = (
    "tenant_id = (SELECT coalesce(nullif(current_setting('plinth.tenant_id', true), ''),"
    " '00000000-0000-0000-0000-000000000000')::uuid)"
)
AUDIT_WALL = f"{EVENT_WALL} OR (SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')"

# Whoever may call them can neither choose the table freely nor drop what is young.
PARTITION_FUNCTIONS = """
CREATE FUNCTION plinth_check_partitioned(parent text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF parent NOT IN ('events', 'audit_entries', 'webhook_attempts') THEN
        RAISE EXCEPTION '% is not partitioned by month', parent;
    END IF;
END $$;

CREATE FUNCTION plinth_make_partition(parent text, month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    child text := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
BEGIN
    IF to_regclass(format('public.%I', child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Attached instead of created in place: that does not lock out those who read and write meanwhile.
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS)', child, parent);
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', child);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', child);
    EXECUTE format(
        'ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
        parent, child, month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC'
    );
    RETURN true;
END $$;

CREATE FUNCTION plinth_make_partitions(months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    this_month date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7092450871);
    FOREACH parent IN ARRAY ARRAY['events', 'audit_entries', 'webhook_attempts'] LOOP
        FOR ahead IN 0..least(months, 24) LOOP
            IF plinth_make_partition(parent, (this_month + make_interval(months => ahead))::date) THEN
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

CREATE FUNCTION plinth_drop_partitions(parent text, before timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child text;
    dropped integer := 0;
BEGIN
    PERFORM plinth_check_partitioned(parent);
    IF before > now() - interval '7 days' THEN
        RAISE EXCEPTION 'nothing younger than 7 days is dropped';
    END IF;
    PERFORM pg_advisory_xact_lock(7092450871);
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = format('public.%I', parent)::regclass
           AND (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= before
    LOOP
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

CREATE FUNCTION plinth_partitions_ahead(parent text) RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    this_month date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
    ahead integer := -1;
    child text;
BEGIN
    PERFORM plinth_check_partitioned(parent);
    LOOP
        child := format('%s_%s', parent, to_char(this_month + make_interval(months => ahead + 1), 'YYYY_MM'));
        EXIT WHEN to_regclass(format('public.%I', child)) IS NULL;
        ahead := ahead + 1;
    END LOOP;
    RETURN ahead;
END $$;

REVOKE ALL ON FUNCTION plinth_check_partitioned, plinth_make_partition, plinth_make_partitions, plinth_drop_partitions,
    plinth_partitions_ahead FROM PUBLIC;
"""

# What the statement says that begins a write: nothing after it happens when the caller is gone.
REFUSE_WHO_IS_GONE = """
CREATE FUNCTION plinth_refuse_who_is_gone(gone text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF gone <> '' THEN
        RAISE EXCEPTION USING ERRCODE = 'PL001', MESSAGE = gone;
    END IF;
    RETURN gone;
END $$;
"""

RENAME_EVENTS = """
ALTER TABLE events RENAME TO events_before;
ALTER INDEX events_pkey RENAME TO events_before_pkey;
ALTER INDEX events_order_idx RENAME TO events_before_order_idx;
ALTER TABLE events_before ALTER COLUMN sequence DROP IDENTITY;
"""

SEQUENCE = """
CREATE SEQUENCE events_sequence_seq AS bigint;
SELECT setval('events_sequence_seq', coalesce((SELECT max(sequence) FROM events_before), 0) + 1, false);
"""

EVENTS = """
CREATE TABLE events (
    tenant_id uuid NOT NULL,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sequence bigint NOT NULL DEFAULT nextval('events_sequence_seq'),
    id uuid NOT NULL,
    type text NOT NULL,
    resource_id text NOT NULL,
    message_type text NOT NULL,
    payload bytea NOT NULL,
    actor_id uuid,
    request_id text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (tenant_id, transaction_id, sequence, create_time)
) PARTITION BY RANGE (create_time);
CREATE INDEX events_order_idx ON events (transaction_id, sequence);
CREATE INDEX events_id_idx ON events (tenant_id, id);
CREATE INDEX events_create_time_idx ON events (tenant_id, create_time);
"""

EVENTS_BEFORE = """
SELECT plinth_make_partition('events', month::date)
  FROM (SELECT DISTINCT date_trunc('month', create_time AT TIME ZONE 'UTC') AS month FROM events_before) months;
INSERT INTO events (tenant_id, transaction_id, sequence, id, type, resource_id, message_type, payload, actor_id,
                    request_id, create_time)
SELECT tenant_id, transaction_id, sequence, id, type, resource_id, message_type, payload, actor_id, request_id,
       create_time
  FROM events_before;
"""

CURSORS = """
CREATE TABLE event_cursors (
    name text NOT NULL,
    transaction_id bigint NOT NULL DEFAULT 0,
    sequence bigint NOT NULL DEFAULT 0,
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT event_cursors_pkey PRIMARY KEY (name)
);
"""

AUDIT = """
CREATE SEQUENCE audit_entries_sequence_seq AS bigint;
CREATE TABLE audit_entries (
    tenant_id uuid NOT NULL,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sequence bigint NOT NULL DEFAULT nextval('audit_entries_sequence_seq'),
    id uuid NOT NULL,
    create_time timestamptz NOT NULL,
    actor_kind smallint NOT NULL,
    actor_id uuid,
    session_id uuid,
    method text NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    security boolean NOT NULL,
    count integer NOT NULL DEFAULT 1,
    request_id text NOT NULL,
    event_id uuid,
    changes text NOT NULL,
    personal text NOT NULL,
    commitments text NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_entries_pkey PRIMARY KEY (tenant_id, id, create_time)
) PARTITION BY RANGE (create_time);
CREATE INDEX audit_entries_order_idx ON audit_entries (transaction_id, sequence);
CREATE INDEX audit_entries_create_time_idx ON audit_entries (tenant_id, create_time, id);
CREATE INDEX audit_entries_all_create_time_idx ON audit_entries (create_time, id);
CREATE INDEX audit_entries_actor_id_idx ON audit_entries (tenant_id, actor_id, create_time, id);
CREATE INDEX audit_entries_resource_id_idx ON audit_entries (tenant_id, resource_id, create_time, id);
CREATE INDEX audit_entries_action_idx ON audit_entries (tenant_id, action, create_time, id);
CREATE INDEX audit_entries_security_idx ON audit_entries (tenant_id, create_time, id) WHERE security;

CREATE TABLE audit_leaves (
    tenant_id uuid NOT NULL,
    leaf_index bigint NOT NULL,
    entry_id uuid NOT NULL,
    transaction_id bigint NOT NULL,
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_leaves_pkey PRIMARY KEY (tenant_id, leaf_index)
);
CREATE UNIQUE INDEX audit_leaves_entry_id_key ON audit_leaves (tenant_id, entry_id);
CREATE TABLE audit_nodes (
    tenant_id uuid NOT NULL,
    level smallint NOT NULL,
    node_index bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_nodes_pkey PRIMARY KEY (tenant_id, level, node_index)
);
CREATE TABLE audit_checkpoints (
    tenant_id uuid NOT NULL,
    tree_size bigint NOT NULL,
    root_hash bytea NOT NULL,
    note text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (tenant_id, tree_size)
);
"""

WEBHOOKS = """
CREATE TABLE webhooks (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    url text NOT NULL,
    description text NOT NULL DEFAULT '',
    event_types text[] NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    signature_scheme smallint NOT NULL,
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_secret_expire_time timestamptz,
    failing_since_time timestamptz,
    warn_time timestamptz,
    disable_time timestamptz,
    disable_reason smallint NOT NULL DEFAULT 0,
    last_success_time timestamptz,
    removal_time timestamptz,
    resume_time timestamptz,
    version bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT webhooks_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX webhooks_create_time_idx ON webhooks (tenant_id, create_time, id);
CREATE SEQUENCE webhook_deliveries_number_seq AS bigint;
CREATE TABLE webhook_deliveries (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    subject text NOT NULL,
    event_time timestamptz NOT NULL,
    number bigint NOT NULL DEFAULT nextval('webhook_deliveries_number_seq'),
    kind smallint NOT NULL,
    status smallint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    last_status_code integer NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    next_attempt_time timestamptz,
    finish_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT webhook_deliveries_tenant_id_webhook_id_fkey FOREIGN KEY (tenant_id, webhook_id)
        REFERENCES webhooks (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_webhook_id_idx ON webhook_deliveries (tenant_id, webhook_id, create_time, id);
CREATE INDEX webhook_deliveries_pending_idx ON webhook_deliveries (tenant_id, webhook_id, subject, number)
    WHERE status = 1;
CREATE INDEX webhook_deliveries_create_time_idx ON webhook_deliveries (create_time);
CREATE TABLE webhook_queues (
    tenant_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    subject text NOT NULL,
    next_attempt_time timestamptz NOT NULL,
    lease_time timestamptz,
    CONSTRAINT webhook_queues_pkey PRIMARY KEY (tenant_id, webhook_id, subject),
    CONSTRAINT webhook_queues_tenant_id_webhook_id_fkey FOREIGN KEY (tenant_id, webhook_id)
        REFERENCES webhooks (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_queues_next_attempt_time_idx ON webhook_queues (webhook_id, next_attempt_time);
CREATE TABLE webhook_attempts (
    tenant_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    create_time timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    status_code integer NOT NULL,
    error text NOT NULL,
    request_headers jsonb NOT NULL,
    request_body text NOT NULL,
    response_headers jsonb NOT NULL,
    response_body text NOT NULL,
    CONSTRAINT webhook_attempts_pkey PRIMARY KEY (tenant_id, delivery_id, number, create_time)
) PARTITION BY RANGE (create_time);
"""

WALLS = {
    "events": EVENT_WALL,
    "audit_entries": AUDIT_WALL,
    "audit_leaves": AUDIT_WALL,
    "audit_nodes": AUDIT_WALL,
    "audit_checkpoints": AUDIT_WALL,
    "webhooks": OWN_WALL,
    "webhook_deliveries": OWN_WALL,
    "webhook_queues": OWN_WALL,
    "webhook_attempts": OWN_WALL,
}


def upgrade() -> None:
    _run(PARTITION_FUNCTIONS)
    _run(REFUSE_WHO_IS_GONE)
    _run(RENAME_EVENTS)
    with every_row("events_before"):
        _run(SEQUENCE)
    for part in (EVENTS, CURSORS, AUDIT, WEBHOOKS):
        _run(part)
    for table, using in WALLS.items():
        wall(table, using)
    op.execute("SELECT plinth_make_partitions(3)")
    with every_row("events", "events_before"):
        _run(EVENTS_BEFORE)
    op.execute("DROP TABLE events_before")
    _run(_jobs())


def _jobs() -> str:
    """The queue's own schema as procrastinate 3.10 brings it: a copy, since later releases change it by migrations."""
    return Path(__file__).with_name("procrastinate_3_10.sql").read_text()


def _run(script: str) -> None:
    """Run a script as it stands: neither SQLAlchemy nor psycopg may look for parameters in it."""
    connection = op.get_bind().connection.driver_connection
    if connection is None:
        raise LookupError("a migration runs on a connection")
    connection.execute(script)
