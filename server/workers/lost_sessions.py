"""Ends sessions of PostgreSQL whose clients have fallen silent within a transaction.

Between two messages of one pipeline such a session is not idle, so idle_in_transaction_session_timeout does not apply,
and it is not in a statement either. It keeps its locks for as long as TCP considers its peer alive, and webhooks, seals
and streams wait for it. PostgreSQL 17 has transaction_timeout for that. An idle session ends by itself earlier; in a
drill, one did not.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor

import psycopg
from sqlalchemy import BigInteger, text

from server.data.connections import DatabaseUnavailable
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.repeating import repeat

log = logging.getLogger("plinth.worker")
INTERVAL = 5.0
# Seconds that a session may wait for its client within a pipeline, and between two.
IN_PIPELINE, BETWEEN = 15, 30

# A role may end its own sessions.
END = Statement(
    text(
        f"""
        SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
         WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
           AND starts_with(application_name, 'plinth ') AND wait_event_type = 'Client' AND xact_start IS NOT NULL
           AND state_change
               < now() - make_interval(secs => CASE state WHEN 'active' THEN {IN_PIPELINE} ELSE {BETWEEN} END)
        """  # noqa: S608 - constants
    ).columns(ended=BigInteger())
)


class LostSessions:
    """A background service that finds and ends such sessions."""

    def __init__(self, databases: Sequence[Database], threads: Executor) -> None:
        """`databases` has one per role."""
        self._databases = databases
        self._threads = threads

    async def run(self) -> None:
        """Run until cancelled."""
        await repeat("lost sessions", self.end, INTERVAL, self._threads)

    def end(self) -> None:
        """End the current ones. A database that does not answer has its own health check, and is tried again soon."""
        for database in self._databases:
            try:
                with database.read(Scope()) as transaction:
                    ended = transaction.run(END).value()
            except (psycopg.Error, DatabaseUnavailable):
                continue
            if ended:
                log.warning("%d sessions were ended: their clients fell silent in the middle of a transaction", ended)
