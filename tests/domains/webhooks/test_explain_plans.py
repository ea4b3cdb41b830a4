"""An explanation reads what belongs to its event, however many events and deliveries there are."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from server.domains.webhooks import explain
from server.domains.webhooks.dispatch import CURSOR
from tests.plans import MODES, plan_of, read_by, scans
from tests.search.database import Scratch, add_tenants, migrated, tenant
from tests.stack import Stack

TENANTS, EACH = 3, 20_000
HOOK = "01890000-0000-7000-9000-000000000001"
# Of one event: a replay, or two deliveries, and the partitions that have nothing.
FEW = 5
FILL = (
    f"""INSERT INTO webhooks (tenant_id, id, url, event_types, signature_scheme, secret)
        SELECT id, '{HOOK}', 'https://a', '{{*}}', 1, '' FROM tenants""",
    f"""INSERT INTO events (tenant_id, id, type, resource_id, message_type, payload, request_id)
        SELECT id, gen_random_uuid(), 'page.created', n::text, '', '', '' FROM tenants, generate_series(1, {EACH}) n""",
    f"""INSERT INTO webhook_deliveries
               (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status)
        SELECT tenant_id, gen_random_uuid(), '{HOOK}', id, type, resource_id, create_time, 1, 1 + sequence % 2
          FROM events""",
)


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Iterator[Scratch]:
    with migrated(stack) as scratch:
        add_tenants(scratch.owner, TENANTS)
        with psycopg.connect(scratch.owner, autocommit=True) as connection:
            for statement in FILL:
                connection.execute(statement.encode())
            connection.execute(b"VACUUM ANALYZE events, webhook_deliveries")
        yield scratch


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["BY_ID", "BY_POSITION", "DELIVERY"])
def test_one_event_is_found_among_many(filled: Scratch, name: str, mode: str) -> None:
    with psycopg.connect(filled.owner) as connection:
        query = "SELECT id::text, transaction_id::text, sequence FROM events WHERE tenant_id = %s LIMIT 1 OFFSET 500"
        row = connection.execute(query.encode(), (tenant(1),)).fetchone()
    assert row is not None
    event, transaction_id, sequence = row
    given: dict[str, Any] = {"tenant": tenant(1), "cursor": CURSOR, "webhook": HOOK, "event": event}
    statement = getattr(explain, name)
    parameters = given | {"transaction_id": transaction_id, "sequence": sequence}
    plan = plan_of(filled, 1, statement, {name: parameters[name] for name in statement.parameters}, mode)
    assert sum(map(read_by, scans(plan))) <= FEW, plan
