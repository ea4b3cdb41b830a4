"""The audit log past every wall: what it holds, and entries that nobody made, with hashes that hold."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from psycopg import sql

from server.data.audit import WRITTEN
from server.data.connections import Connections
from server.data.transactions import Database
from server.domains.audit.checkpoints import CheckpointKeys
from server.domains.audit.sealing import Sealer
from server.kernel.actors import Actor
from server.kernel.clock import utc_now
from server.kernel.ids import new_id
from server.kernel.record.audit import OK, entry_row
from tests.clients import database, rows
from tests.stack import Stack

METHOD = "plinth.sites.v1.PageService/UpdatePage"
COPY = sql.SQL("COPY audit_entries ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, WRITTEN)))

SELECT = "SELECT *, tenant_id::text, id::text, actor_id::text, session_id::text, event_id::text FROM audit_entries"
ORDER = "ORDER BY audit_entries.create_time, audit_entries.id"


def entry(tenant_id: str, **facts: Any) -> dict[str, Any]:
    """The row of an entry; facts are arguments of entry_row."""
    usual: dict[str, Any] = {
        "entry_id": new_id(),
        "tenant_id": tenant_id,
        "create_time": utc_now(),
        "actor": Actor(),
        "method": METHOD,
        "action": "page.updated",
        "resource_type": "plinth.dev/Page",
        "resource_id": new_id(),
        "outcome": OK,
        "reason": "",
        "security": False,
        "request_id": new_id(),
        "event_id": None,
        "changes": "",
        "personal": {"ip": "192.0.2.7", "user_agent": "planted/1"},
    }
    return entry_row(**usual | facts)


def stored_by_request(stack: Stack, request_ids: Iterable[str]) -> list[dict[str, Any]]:
    """The entries of requests, whoever's they are, as `stored` has them."""
    return rows(stack, f"{SELECT} WHERE request_id = ANY(%s) {ORDER}", list(request_ids))


def stored(stack: Stack, *tenants: str) -> list[dict[str, Any]]:
    """The entries of tenants as they are stored, oldest first; ids as text, as canonical forms have them."""
    return rows(stack, f"{SELECT} WHERE tenant_id = ANY(%s::uuid[]) {ORDER}", list(tenants))


def plant(stack: Stack, *entries: dict[str, Any]) -> None:
    """Put rows into the log."""
    with database(stack) as connection, connection.cursor().copy(COPY) as copy:
        for row in entries:
            copy.write_row([row[name] for name in WRITTEN])


def plant_many(stack: Stack, tenant_id: str, count: int, width: int) -> None:
    """Put many entries into a tenant's log, a millisecond after each other up to now, each with changes this wide."""
    start = utc_now() - timedelta(milliseconds=count)
    changes = json.dumps({"title": {"after": "x" * width}})
    times = (start + timedelta(milliseconds=number) for number in range(count))
    plant(stack, *(entry(tenant_id, create_time=time, changes=changes) for time in times))


@contextmanager
def sealer(stack: Stack) -> Iterator[Sealer]:
    """What seals, beside the stack's own worker."""
    connections = Connections(
        stack.settings.dispatch_dsn, size=1, idle=1, wait=20.0, statement_timeout=30.0, name="test sealer"
    )
    connections.open()
    try:
        yield Sealer(Database(connections), CheckpointKeys(stack.settings.secrets))
    finally:
        connections.close()
