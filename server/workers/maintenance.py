"""Maintenance: what is over is removed.

Expired sessions and idempotency records, old blocks and counts, and what was deleted before the retention time.
"""

import logging
import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import psycopg
from sqlalchemy import BigInteger, Boolean, Table, bindparam, delete, func, literal, select

from server.data import idempotency
from server.data.connections import DatabaseUnavailable
from server.data.statements import Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.identity.tables import api_key_usage, sessions
from server.domains.operations.tables import ip_blocks
from server.domains.tenancy.tables import tenants
from server.kernel.clock import Clock, utc_now

log = logging.getLogger("plinth.maintenance")
INTERVAL = timedelta(hours=1).total_seconds()
LOCK = 0x6D61696E74
TENANTS_AT_ONCE = 1000
# How long it can be seen that an address was blocked, and how often an API key was used.
BLOCKS_KEPT = timedelta(days=30)
USAGE_KEPT = timedelta(days=92)
NIL = "00000000-0000-0000-0000-000000000000"

_before = bindparam("before", type_=sessions.c.expire_time.type)
_after = bindparam("after", type_=tenants.c.id.type)
TRY_LOCK = Statement(select(func.pg_try_advisory_xact_lock(literal(LOCK, BigInteger()), type_=Boolean()).label("mine")))
OLD_SESSIONS = Statement(delete(sessions).where(sessions.c.expire_time < _before))
OLD_BLOCKS = Statement(delete(ip_blocks).where(ip_blocks.c.expire_time < _before))
OLD_USAGE = Statement(
    delete(api_key_usage).where(api_key_usage.c.day < bindparam("day", type_=api_key_usage.c.day.type))
)
NEXT_TENANTS = Statement(
    select(tenants.c.id).where(tenants.c.id > _after).order_by(tenants.c.id).limit(TENANTS_AT_ONCE)
)
OLD_TENANTS = Statement(delete(tenants).where(tenants.c.delete_time < _before))


def _purges(tables: Iterable[Table]) -> list[Statement]:
    """One deletion per table whose rows can be brought back."""
    return [
        Statement(
            delete(table)
            .where(table.c.tenant_id == bindparam("tenant", type_=table.c.tenant_id.type))
            .where(table.c.delete_time < _before)
        )
        for table in tables
        if "delete_time" in table.c and "tenant_id" in table.c
    ]


class Maintenance:
    """Runs once an hour, in one process of the deployment at a time."""

    def __init__(
        self, database: Database, tables: Iterable[Table], retention: timedelta, clock: Clock = utc_now
    ) -> None:
        """`tables` are all there are; `retention` is how long deleted things can be brought back."""
        self._database = database
        self._purges = _purges(tables)
        self._retention = retention
        self._clock = clock

    def run_until(self, stopped: threading.Event) -> None:
        """Work now and every hour until told to stop. What fails is logged, and tried again in the next round."""
        while not stopped.is_set():
            try:
                self.run_once()
            except (psycopg.Error, DatabaseUnavailable) as error:
                log.warning("maintenance failed: %s", type(error).__name__)
            stopped.wait(INTERVAL)

    def run_once(self) -> None:
        """One round, unless another process is at it."""
        now = self._clock()
        before = now - self._retention
        with self._database.write(Scope(platform=True)) as lock:
            if not lock.run(TRY_LOCK).value():
                return
            lock.run(OLD_SESSIONS, before=now)
            lock.run(idempotency.PURGE, now=now)
            lock.run(OLD_BLOCKS, before=now - BLOCKS_KEPT)
            lock.run(OLD_USAGE, day=(now - USAGE_KEPT).date().isoformat())
            self._purge_tenants(lock, before)
            lock.run(OLD_TENANTS, before=before)

    def _purge_tenants(self, lock: WriteTransaction, before: Any) -> None:
        after = NIL
        while True:
            batch = lock.run(NEXT_TENANTS, after=after).all()
            for row in batch:
                self._purge(row["id"], before)
            if len(batch) < TENANTS_AT_ONCE:
                return
            after = batch[-1]["id"]

    def _purge(self, tenant_id: str, before: Any) -> None:
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            for statement in self._purges:
                transaction.queue(statement, tenant=tenant_id, before=before)
