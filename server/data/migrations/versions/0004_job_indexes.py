"""Indexes for what is asked of the queue: what is due, what is being done, what is over."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = (
    """CREATE INDEX plinth_jobs_due_idx ON procrastinate_jobs
        (coalesce(scheduled_at, '-infinity'::timestamptz), id) INCLUDE (queue_name, scheduled_at)
        WHERE status = 'todo'""",
    "CREATE INDEX plinth_jobs_doing_idx ON procrastinate_jobs (id) INCLUDE (queue_name) WHERE status = 'doing'",
    """CREATE INDEX plinth_jobs_over_idx ON procrastinate_jobs (queue_name, id) INCLUDE (status)
        WHERE status IN ('succeeded', 'failed', 'cancelled', 'aborted')""",
)


def upgrade() -> None:
    for index in INDEXES:
        op.execute(index)
