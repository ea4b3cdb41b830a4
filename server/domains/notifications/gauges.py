"""Gauges of deliveries, measured every few seconds by a service that does not send."""

from concurrent.futures import Executor

from prometheus_client import Gauge
from sqlalchemy import text
from sqlalchemy.types import BigInteger, Double

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.repeating import repeat

INTERVAL = 10.0
MOST_COUNTED = 100_000
WAITING = Gauge(
    "plinth_notification_deliveries_waiting",
    "Notifications that have not gone out by mail or push yet, deferred ones too; 100,000 at most.",
    multiprocess_mode="livemostrecent",
)
OLDEST_SECONDS = Gauge(
    "plinth_notification_deliveries_oldest_seconds",
    "How long the delivery that has been due the longest has been so.",
    multiprocess_mode="livemostrecent",
)
LOOK = Statement(
    text(
        f"""
SELECT (SELECT count(*) FROM (SELECT FROM notification_deliveries WHERE next_attempt_time IS NOT NULL
                               LIMIT {MOST_COUNTED}) AS waiting) AS waiting,
       (SELECT greatest(0, extract(epoch FROM now() - min(oldest.next_attempt_time)))::float8
          FROM (VALUES (4), (3), (2), (1)) AS lanes (priority) CROSS JOIN LATERAL (
               SELECT next_attempt_time FROM notification_deliveries AS deliveries
                WHERE deliveries.priority = lanes.priority AND next_attempt_time <= now()
                ORDER BY next_attempt_time LIMIT 1) AS oldest) AS oldest
"""  # noqa: S608 - all of it stands here
    ).columns(waiting=BigInteger(), oldest=Double())
)


class DeliveryGauges:
    """A background service that measures how much waits, and for how long."""

    def __init__(self, database: Database, threads: Executor) -> None:
        """`database` is that of the dispatch role."""
        self._database, self._threads = database, threads

    async def run(self) -> None:
        """Measure until cancelled."""
        await repeat("gauges of notifications", self._measure, INTERVAL, self._threads)

    def _measure(self) -> None:
        with self._database.read(Scope()) as transaction:
            row = transaction.run(LOOK).one()
        WAITING.set(row["waiting"])
        OLDEST_SECONDS.set(row["oldest"] or 0.0)
