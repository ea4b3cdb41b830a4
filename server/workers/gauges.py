"""Gauges of the database's content: the queues, and the partitions of the months to come."""

from collections.abc import Iterable
from concurrent.futures import Executor

from sqlalchemy import Integer, Text, bindparam, text

from server.data import partitions
from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.repeating import repeat
from server.workers import metrics
from server.workers.attendance import Attendance

INTERVAL = 10.0
STATUSES = ("todo", "doing", "failed")
# Jobs of a status are counted up to this number.
MOST_COUNTED = 10_000

COUNTS = Statement(
    text(
        """
        SELECT queue_name::text AS queue, status, count(*)::integer AS jobs FROM (
            (SELECT queue_name, 'todo' AS status FROM procrastinate_jobs WHERE status = 'todo' LIMIT :limit)
            UNION ALL
            (SELECT queue_name, 'doing' FROM procrastinate_jobs WHERE status = 'doing' LIMIT :limit)
            UNION ALL
            (SELECT queue_name, 'failed' FROM procrastinate_jobs
              WHERE status = 'failed' AND status IN ('succeeded', 'failed', 'cancelled', 'aborted') LIMIT :limit)
        ) AS jobs GROUP BY queue_name, status
        """
    )
    .bindparams(bindparam("limit", type_=Integer()))
    .columns(queue=Text(), status=Text(), jobs=Integer())
)


class Gauges:
    """A background service that sets the gauges."""

    def __init__(self, database: Database, queues: Iterable[str], patience: float, threads: Executor) -> None:
        """`queues` are also reported while they are empty. A job may be due for `patience` seconds."""
        self._database = database
        self._threads = threads
        self._attendance = Attendance(self._ask, patience)
        # A queue that was reported once is reported as 0 later.
        self._queues = set(queues)

    async def run(self) -> None:
        """Set them until cancelled."""
        await repeat("gauges of jobs", self.set, INTERVAL, self._threads)

    def set(self) -> None:
        """Set them once."""
        jobs = {(row["queue"], row["status"]): row["jobs"] for row in self._ask(COUNTS, limit=MOST_COUNTED).all()}
        waiting = self._attendance.look()
        self._queues |= {queue for queue, _ in jobs}
        for queue in self._queues:
            for status in STATUSES:
                metrics.QUEUE_JOBS.labels(queue, status).set(jobs.get((queue, status), 0))
            metrics.QUEUE_OLDEST.labels(queue).set(waiting.queues.get(queue, 0))
            metrics.QUEUE_UNATTENDED.labels(queue).set(queue in waiting.unattended)
        for table in partitions.PARTITIONED:
            metrics.PARTITIONS_AHEAD.labels(table).set(self._ask(partitions.AHEAD, table=table).value())

    def _ask(self, statement: Statement, **parameters: object) -> Result:
        with self._database.read(Scope()) as transaction:
            return transaction.run(statement, **parameters)
