"""Jobs cost PostgreSQL less: no history of each job, and a notification only for what a schedule enqueues.

NOTIFY makes a commit hold a lock of the whole cluster until it is on disk. A hint over Redis wakes the workers instead
(server/adapters/redis.py), and they poll. The history was read for two moments, which are columns now.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE procrastinate_jobs
    ADD COLUMN plinth_enqueue_time timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN plinth_end_time timestamptz
"""
FILL = """
UPDATE procrastinate_jobs j
   SET plinth_end_time = coalesce((SELECT max(e.at) FROM procrastinate_events e WHERE e.job_id = j.id), now())
 WHERE status IN ('succeeded', 'failed', 'cancelled', 'aborted')
"""
NOTE_END = """
CREATE FUNCTION plinth_note_end_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.plinth_end_time := CASE WHEN NEW.plinth_end_time IS NULL THEN now() END;
    RETURN NEW;
END $$;
"""
NOTE_ENDS = """
CREATE TRIGGER plinth_note_end_of_job BEFORE INSERT OR UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (
        (NEW.status IN ('succeeded', 'failed', 'cancelled', 'aborted')) = (NEW.plinth_end_time IS NULL)
    )
    EXECUTE FUNCTION plinth_note_end_of_job()
"""
ENDED = """
CREATE INDEX plinth_jobs_end_time_idx ON procrastinate_jobs (plinth_end_time) WHERE plinth_end_time IS NOT NULL
"""
HISTORY = (
    "procrastinate_trigger_status_events_insert_v1",
    "procrastinate_trigger_status_events_update_v1",
    "procrastinate_trigger_scheduled_events_v1",
    "procrastinate_trigger_abort_requested_events_v1",
)
NOTIFY = "procrastinate_jobs_notify_queue_job_inserted_v1"
# Only schedules have locks. They enqueue in workers, which send no hints.
NOTIFY_OF_SCHEDULES = f"""
CREATE TRIGGER {NOTIFY} AFTER INSERT ON procrastinate_jobs
    FOR EACH ROW WHEN (NEW.status = 'todo' AND NEW.lock IS NOT NULL)
    EXECUTE FUNCTION procrastinate_notify_queue_job_inserted_v1()
"""
# Jobs without a lock were in these indexes as well, though NULL conflicts with nothing.
LOCKS = (
    ("procrastinate_jobs_queueing_lock_idx_v1", "queueing_lock", "todo"),
    ("procrastinate_jobs_lock_idx_v1", "lock", "doing"),
)


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(FILL)
    op.execute(NOTE_END)
    op.execute(NOTE_ENDS)
    for trigger in (*HISTORY, NOTIFY):
        op.execute(f"DROP TRIGGER {trigger} ON procrastinate_jobs")
    op.execute(NOTIFY_OF_SCHEDULES)
    op.execute("TRUNCATE procrastinate_events")
    op.execute(ENDED)
    for index, column, status in LOCKS:
        op.execute(f"DROP INDEX {index}")
        op.execute(
            f"CREATE UNIQUE INDEX {index} ON procrastinate_jobs ({column}) "
            f"WHERE status = '{status}' AND {column} IS NOT NULL"
        )
