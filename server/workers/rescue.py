"""Rescue: jobs whose worker is lost are put back, so that another worker does them."""

import logging
from concurrent.futures import Executor
from datetime import timedelta

from sqlalchemy import Integer, Interval, Text, bindparam, text

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.repeating import repeat
from server.workers.metrics import JOB_FAILURES, JOBS_RESCUED

log = logging.getLogger("plinth.jobs")
# Seconds without a heartbeat after which a worker counts as lost.
SILENCE = 30.0
INTERVAL = 10.0
# Attempts, including lost workers, after which a job is assumed to kill its workers.
MOST_ATTEMPTS = 20
AT_ONCE = 1000
FAILED = "failed"

# The worker of a running job is unset when the worker is removed: by itself when it ends, or here.
FORGET_LOST = Statement(
    text("DELETE FROM procrastinate_workers WHERE last_heartbeat < now() - :silence").bindparams(
        bindparam("silence", type_=Interval())
    )
)
PUT_BACK = Statement(
    text(
        """
        WITH lost AS (
            SELECT id FROM procrastinate_jobs
             WHERE status = 'doing' AND worker_id IS NULL ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
        ), found AS (
            UPDATE procrastinate_jobs j
               SET status = (CASE WHEN j.attempts + 1 < :most THEN 'todo' ELSE 'failed' END)::procrastinate_job_status,
                   attempts = j.attempts + 1, scheduled_at = now(), abort_requested = false
              FROM lost
             WHERE j.id = lost.id
            RETURNING j.id, j.task_name, j.queue_name, j.status
        )
        SELECT id::text AS id, task_name::text AS task, status::text AS status,
               pg_notify('procrastinate_queue_v1#' || queue_name,
                         json_build_object('type', 'job_inserted', 'job_id', id)::text)::text AS told
          FROM found
        """
    )
    .bindparams(bindparam("limit", type_=Integer()), bindparam("most", type_=Integer()))
    .columns(id=Text(), task=Text(), status=Text(), told=Text())
)


def stalled_after(patience: float) -> float:
    """Seconds without a heartbeat after which a worker is lost. A worker that ends shows none for up to `patience`."""
    return SILENCE + patience


class Rescue:
    """A background service that finds lost workers. Several may run at the same time."""

    def __init__(self, database: Database, silence: float, threads: Executor) -> None:
        """`silence` is the seconds without a heartbeat after which a worker is lost."""
        self._database = database
        self._silence = silence
        self._threads = threads

    async def run(self) -> None:
        """Run until cancelled."""
        await repeat("rescue of jobs", self.put_back, INTERVAL, self._threads)

    def put_back(self) -> None:
        """Put back the jobs of lost workers. A job that has lost too many workers fails permanently."""
        with self._database.write(Scope()) as transaction:
            transaction.run(FORGET_LOST, silence=timedelta(seconds=self._silence))
            found = transaction.run(PUT_BACK, limit=AT_ONCE, most=MOST_ATTEMPTS).all()
        for job in found:
            if job["status"] == FAILED:
                JOB_FAILURES.labels(job["task"]).inc()
                log.error("job %s %s failed: it has lost its worker too often", job["task"], job["id"])
            else:
                JOBS_RESCUED.inc()
                log.warning("job %s %s is put back: its worker is lost", job["task"], job["id"])
