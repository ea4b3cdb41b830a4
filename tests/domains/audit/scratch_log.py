"""An audit log of one's own: its tables in a scratch database, with what seals and verifies it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from server.data.audit import APPEND, audit_entries
from server.data.connections import Connections
from server.data.cursors import event_cursors
from server.data.epochs import log_epochs
from server.data.transactions import Database, Scope
from server.domains.audit.checkpoints import CheckpointKeys
from server.domains.audit.sealing import Sealer
from server.domains.audit.tables import audit_checkpoints, audit_leaves, audit_nodes
from server.domains.audit.verification import Verifier
from server.kernel.actors import USER, Actor
from server.kernel.ids import new_id
from server.kernel.record.audit import entry_row
from server.secrets import Secrets
from tests.contract.scratch import scratch_database
from tests.stack import Stack, wait_for

SECRET = b"the secret of this log, and of no other"
TABLES = (audit_entries, audit_leaves, audit_nodes, audit_checkpoints, event_cursors, log_epochs)
EPOCHS = import_module("server.data.migrations.versions.0009_log_epochs")
# NULL while there is no entry.
SETTLED = """
SELECT coalesce(max(transaction_id) < plinth_log_horizon_here(), true) FROM audit_entries
"""


class ScratchLog:
    """The log, as the role that may do everything with it: those who tamper are not asked for their rights."""

    def __init__(self, dsn: str, database: Database) -> None:
        self.dsn = dsn
        self.database = database
        self.keys = CheckpointKeys(Secrets(SECRET))
        self.sealer = Sealer(database, self.keys)
        self._sealed = 0

    def write(self, tenant_id: str, count: int = 1, **facts: Any) -> list[str]:
        """Write entries in one transaction; their ids, in order."""
        rows = [_row(tenant_id, **facts) for _ in range(count)]
        with self.database.write(Scope()) as transaction:
            for row in rows:
                transaction.queue(APPEND, **row)
        return [row["id"] for row in rows]

    def sealed(self, tenant_id: str, count: int = 1, **facts: Any) -> list[str]:
        """Write entries and seal them."""
        ids = self.write(tenant_id, count, **facts)
        self.settle()
        wait_for(lambda: self._are_sealed(ids), what="the seal")
        return ids

    def _are_sealed(self, ids: list[str]) -> bool:
        """Seal, and see whether these entries are among what is sealed; those of others may be first."""
        self.sealer.seal()
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute("SELECT count(*) FROM audit_leaves WHERE entry_id = ANY(%s::uuid[])", (ids,))
            return found.fetchone() == (len(ids),)

    def settle(self) -> None:
        """Wait until nothing holds up what was written."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            wait_for(lambda: connection.execute(SETTLED).fetchone() == (True,), what="the end of older transactions")

    def seal(self, count: int) -> None:
        """Seal so many entries, all at once."""
        self.settle()
        wait_for(lambda: self._seal_some() >= count, what="the seal")
        self._sealed -= count

    def _seal_some(self) -> int:
        self._sealed += self.sealer.seal()
        return self._sealed

    def faults(self, *tenants: str, notes: tuple[str, ...] = (), keys: CheckpointKeys | None = None) -> list[str]:
        """What is wrong with the logs of these tenants."""
        verifier = Verifier(self.database, keys or self.keys)
        found = [finding.text for finding in verifier.verify_with(notes, tenants) if finding.is_fault]
        assert verifier.summary.faults == len(found)
        return found

    def sql(self, statement: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """Run a statement as somebody who may; the rows it returns. It has to find something."""
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), named or values or None)
            assert cursor.rowcount, "nothing was found"
            return cursor.fetchall() if cursor.description else []

    columns = tuple(audit_entries.c)

    def note(self, tenant_id: str) -> str:
        """The newest checkpoint."""
        found = self.sql(
            "SELECT note FROM audit_checkpoints WHERE tenant_id = %s ORDER BY tree_size DESC LIMIT 1", tenant_id
        )
        return str(found[0]["note"])


def _row(tenant_id: str, **facts: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "entry_id": new_id(),
        "create_time": datetime.now(UTC),
        "actor": Actor(USER, new_id(), new_id()),
        "method": "plinth.sites.v1.PageService/UpdatePage",
        "action": "page.updated",
        "resource_type": "plinth.dev/Page",
        "resource_id": new_id(),
        "outcome": "OK",
        "reason": "NONE",
        "security": False,
        "request_id": 'request \\ "quoted" ü 🙂 \u2028 \x01',
        "event_id": new_id(),
        "changes": '{"title":{"after":"Grüße\\n"}}',
        "personal": {"ip": "192.0.2.7", "user_agent": 'a "browser" \\ 🙂', "changes": '{"phone":{"after":"+43"}}'},
    }
    return entry_row(tenant_id=tenant_id, **(given | facts))


@contextmanager
def scratch_log(stack: Stack) -> Iterator[ScratchLog]:
    """A log with nothing in it."""
    with scratch_database(stack) as dsn:
        with psycopg.connect(dsn) as connection:
            for statement in _definitions():
                connection.execute(statement.encode())
        connections = Connections(dsn, size=3, wait=20, statement_timeout=30, name="audit test")
        connections.open()
        try:
            yield ScratchLog(dsn, Database(connections))
        finally:
            connections.close()


def _definitions() -> Iterator[str]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    yield "CREATE SEQUENCE audit_entries_sequence_seq"
    yield EPOCHS.FUNCTIONS
    for table in TABLES:
        yield str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            yield str(CreateIndex(index).compile(dialect=dialect))
    yield EPOCHS.KEEP_EPOCH
    yield "INSERT INTO log_epochs (epoch, cluster) VALUES (0, plinth_cluster())"
    now = datetime.now(UTC)
    for offset in (-1, 0, 1):
        first, end = (_month(now, offset + distance) for distance in (0, 1))
        yield (
            f"CREATE TABLE audit_entries_{first:%Y_%m} PARTITION OF audit_entries"
            f" FOR VALUES FROM ('{first:%F} 00:00Z') TO ('{end:%F} 00:00Z')"
        )


def _month(now: datetime, offset: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 + offset, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
