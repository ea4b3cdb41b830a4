"""Transactions that stay open: those of other databases hold nobody back, and one of the own database is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from server.data.open_transactions import OpenTransactions, without_values
from server.faults import Ailing
from tests.clients import Rest, Tenant, new_tenant
from tests.contract.scratch import administrator, scratch_database
from tests.domains.webhooks.receiver import Receiver
from tests.stack import Stack, free_port, wait_for
from tests.streams import sse
from tests.telemetry.scrapes import scrape

pytestmark = pytest.mark.heavy
PROGRAM = "forgotten"
STATEMENT = "SELECT pg_current_xact_id(), 'a secret' AS text, 4711 AS number"
SHOWN = "SELECT pg_current_xact_id(),..."


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A stack that nobody else's transactions are in."""
    stack = Stack(api_workers=1, metrics_port=free_port())
    stack.start()
    yield stack
    stack.remove()


@pytest.fixture
def tenant(own: Stack) -> Tenant:
    return new_tenant(own)


@contextmanager
def open_transaction(dsn: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(dsn, application_name=PROGRAM) as connection:
        connection.execute(STATEMENT)
        yield connection


def transactions(stack: Stack) -> dict[str, Any]:
    """What health says of open transactions."""
    checks = Rest(stack).get("health").json()["checks"]
    return next(check for check in checks if check["name"] == "transactions")


def publish(tenant: Tenant, slug: str) -> None:
    answer = tenant.rest.post(f"{tenant.path}/pages", {"title": slug, "slug": slug})
    assert answer.status_code == 201, answer.text


def lag(stack: Stack, reader: str) -> float:
    return scrape(stack.metrics_url).total("plinth_event_lag_seconds", reader=reader)


def is_sealed(tenant: Tenant) -> bool:
    with psycopg.connect(administrator(tenant.stack)) as connection:
        row = connection.execute(
            "SELECT count(*) = (SELECT max(tree_size) FROM audit_checkpoints WHERE tenant_id = %(tenant)s)"
            "  FROM audit_entries WHERE tenant_id = %(tenant)s",
            {"tenant": tenant.id},
        ).fetchone()
    return row == (True,)


def test_a_transaction_of_another_database_holds_nobody_back(own: Stack, tenant: Tenant) -> None:
    with scratch_database(own) as foreign, Receiver() as receiver, open_transaction(foreign):
        hook = {"url": receiver.url("/"), "eventTypes": ["page.created"]}
        assert tenant.rest.post(f"{tenant.path}/webhooks", hook).status_code == 201
        with sse.listening(tenant) as reader:
            publish(tenant, "meanwhile")
            assert reader.events(1)[0].data["slug"] == "meanwhile"
        wait_for(receiver.count, what="the webhook's message")
        wait_for(lambda: is_sealed(tenant), what="the seal")
        wait_for(lambda: scrape(own.metrics_url).total("plinth_oldest_transaction_seconds", database="other") > 0)
        assert transactions(own)["status"] == "STATUS_SERVING"


def test_a_transaction_of_the_own_database_is_named_until_it_ends(own: Stack, tenant: Tenant) -> None:
    with sse.listening(tenant) as reader:
        with open_transaction(administrator(own)) as holder:
            publish(tenant, "held-back")
            wait_for(lambda: transactions(own)["status"] == "STATUS_NOT_SERVING", what="the finding")
            message = transactions(own)["message"]
            assert f"{holder.info.backend_pid} ({PROGRAM}) for " in message
            assert message.endswith(f"s: {SHOWN}")
            metrics = scrape(own.metrics_url)
            assert metrics.total("plinth_oldest_transaction_seconds", database="own") > 0
            readers = ("live", "audit", "webhooks")
            wait_for(lambda: all(lag(own, reader) > 0 for reader in readers), what="the lag of every reader")
        assert reader.events(1)[0].data["slug"] == "held-back"
    wait_for(lambda: transactions(own)["status"] == "STATUS_SERVING", what="the end of the finding")


def test_without_the_right_to_see_sessions_the_age_counts_from_the_first_look(own: Stack) -> None:
    with open_transaction(administrator(own)), psycopg.connect(administrator(own), autocommit=True) as blind:
        blind.execute("CREATE ROLE blind; SET ROLE blind")
        try:
            with pytest.raises(Ailing, match="is open") as found:
                asked(blind).ask()
            assert PROGRAM in str(found.value)
            assert SHOWN not in str(found.value)
        finally:
            blind.execute("RESET ROLE; DROP ROLE blind")


def asked(connection: "psycopg.Connection[Any]") -> OpenTransactions:
    """One that takes every transaction for old."""

    class Answer:
        def __init__(self, rows: list[dict[str, Any]]) -> None:
            self._rows = rows

        def all(self) -> list[dict[str, Any]]:
            return self._rows

    def run(statement: Any) -> Any:
        cursor = connection.execute(statement.sql)
        names = [column.name for column in cursor.description or ()]
        return Answer([dict(zip(names, row, strict=True)) for row in cursor.fetchall()])

    return OpenTransactions(run, patience=-1)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT  1,\n x1 FROM t WHERE n = 2.5 AND m = $1", "SELECT ?, x1 FROM t WHERE n = ? AND m = $?"),
        ("SELECT 1, 'it''s' FROM t", "SELECT ?,..."),
        (r"SELECT E'it\'s', 'secret'", "SELECT E..."),
        ("SELECT $tag$secret$tag$", "SELECT..."),
        ("SELECT 1 -- secret", "SELECT ?..."),
        ("SELECT /* secret */ 1", "SELECT..."),
        ("SELECT 'a secret that was cut in the mid", "SELECT..."),
        ("<insufficient privilege>", ""),
        ("x" * 200, f"{'x' * 120}..."),
    ],
)
def test_statements_are_shown_without_values(statement: str, shown: str) -> None:
    assert without_values(statement) == shown
