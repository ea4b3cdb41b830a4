"""Jobs: enqueued in the transaction of the change, so that a job exists if and only if the change was committed.

The queue is procrastinate's (a migration applies its schema). This is its own function for enqueueing, called on a
connection of Plinth.
"""

from sqlalchemy import bindparam, text
from sqlalchemy.types import Interval, Text

from server.data.statements import Statement

DEFER = Statement(
    text(
        "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(:queue, :task, 0, NULL, NULL, CAST(:arguments AS jsonb), NULL)"
        "::procrastinate_job_to_defer_v1])::text AS ids"
    ).columns(ids=Text())
)
"""Takes `queue`, `task` and `arguments` (a JSON object)."""
DEFER_IN = Statement(
    text(
        "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(:queue, :task, 0, NULL, NULL, CAST(:arguments AS jsonb),"
        " now() + :delay)::procrastinate_job_to_defer_v1])::text AS ids"
    )
    .bindparams(bindparam("delay", type_=Interval()))
    .columns(ids=Text())
)
"""Takes `queue`, `task`, `arguments` and `delay`, after which the job is due."""
