"""Epochs of the logs: positions that stay in order when the database moves to another cluster."""

from alembic import op

from server.data.walls import every_row

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

EPOCHS = """
CREATE TABLE log_epochs (
    epoch bigint NOT NULL,
    cluster text NOT NULL,
    begin_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT log_epochs_pkey PRIMARY KEY (epoch)
);
"""

# The base is a constant in a function: a default that read a table would cost every insert a second statement.
# Planning puts all three functions in place, so that they cost nothing.
FUNCTIONS = """
CREATE FUNCTION plinth_log_base() RETURNS bigint LANGUAGE sql STABLE RETURN 0::bigint;

CREATE FUNCTION plinth_log_transaction() RETURNS xid8 LANGUAGE sql VOLATILE
    RETURN (plinth_log_base() + pg_current_xact_id()::text::bigint)::text::xid8;

CREATE FUNCTION plinth_log_horizon() RETURNS xid8 LANGUAGE sql STABLE
    RETURN (plinth_log_base() + pg_snapshot_xmin(pg_current_snapshot())::text::bigint)::text::xid8;

-- For statements that begin after this one has ended: a transaction of this database that is below is over by then.
-- Transactions of other databases never write here. Sessions are asked, since a transaction has its number some moments
-- before it has the lock on it; then what is prepared, which has no session.
CREATE FUNCTION plinth_log_horizon_here() RETURNS xid8 LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT (plinth_log_base() + newest.xid - coalesce(max((newest.xid - running.xid) & 4294967295), 0))::text::xid8
      FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xid) AS newest
      LEFT JOIN (
          SELECT backend_xid::text::bigint AS xid FROM pg_stat_get_activity(NULL)
           WHERE backend_xid IS NOT NULL
             AND coalesce(datid, 0) IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
           UNION ALL
          SELECT transaction::text::bigint FROM pg_prepared_xacts WHERE database = current_database()
      ) AS running ON (newest.xid - running.xid) & 4294967295 < 2147483648
     GROUP BY newest.xid;
END;
"""

# A cluster is known by its identifier and its timeline: a dump that is loaded elsewhere has another identifier, a
# recovery to an earlier moment and a promoted replica another timeline. Transactions count anew or go back there, so
# that positions get a base above all that there were. The base is told by the hour, so that it is also above those
# that were given out after the backup was made. Where a cluster does not tell its identifier, the database's number
# has to do, which a database that is made anew hardly gets again.
KEEP_EPOCH = """
CREATE FUNCTION plinth_cluster() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    identifier text;
BEGIN
    BEGIN
        SELECT system_identifier::text INTO identifier FROM pg_control_system();
    EXCEPTION WHEN insufficient_privilege THEN
        SELECT 'database ' || oid INTO identifier FROM pg_database WHERE datname = current_database();
    END;
    RETURN identifier || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
END $$;

CREATE FUNCTION plinth_begin_epoch() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    begun bigint;
BEGIN
    -- What was begun with the old base must have ended before readers go beyond it.
    LOCK TABLE events, audit_entries IN SHARE ROW EXCLUSIVE MODE;
    SELECT greatest(max(epoch) + 1, (extract(epoch FROM now() - timestamptz '2026-01-01 00:00Z') / 3600)::bigint)
      INTO begun FROM log_epochs;
    INSERT INTO log_epochs (epoch, cluster) VALUES (begun, plinth_cluster());
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION plinth_log_base() RETURNS bigint LANGUAGE sql STABLE RETURN %s::bigint',
        begun << 42
    );
    RETURN begun;
END $$;

CREATE FUNCTION plinth_is_same_cluster() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT cluster = plinth_cluster() FROM log_epochs ORDER BY epoch DESC LIMIT 1
$$;

CREATE FUNCTION plinth_keep_epoch() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- A connection outlives the end of the recovery, which begins a timeline: it must not be made before.
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'PostgreSQL is in recovery' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF NOT EXISTS (SELECT FROM log_epochs) THEN
        RAISE EXCEPTION 'this database has no epoch yet: it is being restored'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF plinth_is_same_cluster() THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(7092450872);
    -- Somebody else may have begun it meanwhile; a statement of its own sees that.
    IF NOT EXISTS (SELECT FROM log_epochs) THEN
        RAISE EXCEPTION 'this database has no epoch yet: it is being restored'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF plinth_is_same_cluster() THEN
        RETURN false;
    END IF;
    PERFORM plinth_begin_epoch();
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION plinth_begin_epoch FROM PUBLIC;
"""

DEFAULTS = """
ALTER TABLE events ALTER COLUMN transaction_id SET DEFAULT plinth_log_transaction();
ALTER TABLE audit_entries ALTER COLUMN transaction_id SET DEFAULT plinth_log_transaction();
INSERT INTO log_epochs (epoch, cluster) VALUES (0, plinth_cluster());
"""

# A database that was moved before there were epochs. What was written since has numbers of the younger cluster, and
# the sequence tells it apart, which a dump takes along: it gets numbers of the epoch that begins.
REPAIR = """
DO $$
DECLARE
    log text;
    newest xid8 := pg_current_xact_id();
    base bigint;
    last_before bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM events WHERE transaction_id > newest)
       AND NOT EXISTS (SELECT FROM audit_entries WHERE transaction_id > newest)
       AND NOT EXISTS (SELECT FROM event_cursors WHERE transaction_id > newest::text::bigint) THEN
        RETURN;
    END IF;
    base := plinth_begin_epoch() << 42;
    FOREACH log IN ARRAY ARRAY['events', 'audit_entries'] LOOP
        EXECUTE format('SELECT max(sequence) FROM %I WHERE transaction_id > $1', log) INTO last_before USING newest;
        EXECUTE format(
            'UPDATE %I SET transaction_id = ($1 + transaction_id::text::bigint)::text::xid8
              WHERE transaction_id <= $2 AND sequence > $3', log
        ) USING base, newest, last_before;
    END LOOP;
END $$;
"""


def upgrade() -> None:
    for part in (EPOCHS, FUNCTIONS, KEEP_EPOCH, DEFAULTS):
        _run(part)
    with every_row("events", "audit_entries"):
        _run(REPAIR)


def _run(script: str) -> None:
    """Run a script as it stands: neither SQLAlchemy nor psycopg may look for parameters in it."""
    connection = op.get_bind().connection.driver_connection
    if connection is None:
        raise LookupError("a migration runs on a connection")
    connection.execute(script)
