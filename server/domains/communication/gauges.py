"""Gauges of mail, measured every few seconds by a service that does not send."""

from concurrent.futures import Executor

from sqlalchemy import text
from sqlalchemy.types import BigInteger, Double

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.communication.metrics import OLDEST_SECONDS, WAITING
from server.kernel.repeating import repeat

INTERVAL = 10.0
MOST_COUNTED = 100_000
LOOK = Statement(
    text(
        f"""
SELECT (SELECT count(*) FROM (SELECT FROM email_messages WHERE next_attempt_time IS NOT NULL LIMIT {MOST_COUNTED})
            AS waiting) AS waiting,
       (SELECT greatest(0, extract(epoch FROM now() - min(next_attempt_time)))::float8
          FROM email_messages WHERE next_attempt_time <= now()) AS oldest
"""  # noqa: S608 - all of it stands here
    ).columns(waiting=BigInteger(), oldest=Double())
)


class MailGauges:
    """A background service that measures how much mail waits, and for how long."""

    def __init__(self, database: Database, threads: Executor) -> None:
        """`database` is that of the dispatch role."""
        self._database, self._threads = database, threads

    async def run(self) -> None:
        """Measure until cancelled."""
        await repeat("gauges of mail", self._measure, INTERVAL, self._threads)

    def _measure(self) -> None:
        with self._database.read(Scope()) as transaction:
            row = transaction.run(LOOK).one()
        WAITING.set(row["waiting"])
        OLDEST_SECONDS.set(row["oldest"] or 0.0)
