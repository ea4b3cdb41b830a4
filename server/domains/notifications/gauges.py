"""Gauges of deliveries, measured every few seconds by a service that does not send."""

from concurrent.futures import Executor

from prometheus_client import Gauge
from sqlalchemy import text
from sqlalchemy.types import BigInteger, Double

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.repeating import Repeating

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


def delivery_gauges(database: Database, threads: Executor) -> Repeating:
    """A service that measures how much waits, and for how long. `database` is that of the dispatch role."""

    def measure() -> None:
        with database.read(Scope()) as transaction:
            row = transaction.run(LOOK).one()
        WAITING.set(row["waiting"])
        OLDEST_SECONDS.set(row["oldest"] or 0.0)

    return Repeating(measure, threads, interval=INTERVAL, what="deliveries of notifications cannot be measured")
