"""What is over is gone for good: what was deleted longer ago than the retention time, and what has expired."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

import server.app  # noqa: F401 - describes every table
from server.data.connections import Connections
from server.data.tables import metadata
from server.data.transactions import Database
from server.workers.maintenance import Maintenance
from tests.clients import Tenant, database, new_tenant, rows
from tests.stack import Stack

RETENTION = timedelta(days=30)


@pytest.fixture
def maintenance(stack: Stack) -> Iterator[Maintenance]:
    connections = Connections(stack.settings.runtime_dsn, size=2, wait=3, statement_timeout=10, name="maintenance test")
    connections.open()
    yield Maintenance(Database(connections), metadata.sorted_tables, RETENTION)
    connections.close()


def deleted_page(stack: Stack, tenant: Tenant, title: str, days: int) -> str:
    """A page that was deleted so many days ago."""
    page = tenant.rest.post(f"tenants/{tenant.id}/pages", {"title": title}).json()
    assert tenant.rest.delete(f"tenants/{tenant.id}/pages/{page['id']}").status_code == 204
    rows(
        stack,
        "UPDATE pages SET delete_time = now() - make_interval(days => %s) WHERE id = %s RETURNING id",
        days,
        page["id"],
    )
    return str(page["id"])


def left(stack: Stack, table: str, tenant_id: str) -> set[str]:
    return {str(row["id"]) for row in rows(stack, f"SELECT id FROM {table} WHERE tenant_id = %s", tenant_id)}


def test_deleted_pages_are_purged_after_the_retention_time(stack: Stack, maintenance: Maintenance) -> None:
    tenant = new_tenant(stack)
    kept = tenant.rest.post(f"tenants/{tenant.id}/pages", {"title": "kept"}).json()["id"]
    recent = deleted_page(stack, tenant, "recent", days=29)
    deleted_page(stack, tenant, "old", days=31)
    maintenance.run_once()
    assert left(stack, "pages", tenant.id) == {kept, recent}


def test_a_deleted_tenant_is_purged_with_everything_under_it(stack: Stack, maintenance: Maintenance) -> None:
    gone, other = new_tenant(stack), new_tenant(stack)
    for tenant in (gone, other):
        tenant.rest.post(f"tenants/{tenant.id}/pages", {"title": "page"})
    assert gone.rest.delete(f"tenants/{gone.id}").status_code == 204
    rows(stack, "UPDATE tenants SET delete_time = now() - interval '31 days' WHERE id = %s RETURNING id", gone.id)
    maintenance.run_once()
    assert not left(stack, "pages", gone.id)
    assert not left(stack, "brandings", gone.id)
    assert not rows(stack, "SELECT id FROM tenants WHERE id = %s", gone.id)
    assert len(left(stack, "pages", other.id)) == 1


def test_expired_sessions_are_removed(stack: Stack, maintenance: Maintenance) -> None:
    tenant = new_tenant(stack)
    user = tenant.rest.get("auth/me").json()["user"]["id"]
    before = rows(stack, "SELECT id FROM sessions WHERE user_id = %s", user)
    rows(
        stack,
        "UPDATE sessions SET expire_time = now() - interval '1 minute' WHERE id = %s RETURNING id",
        before[0]["id"],
    )
    maintenance.run_once()
    after = rows(stack, "SELECT id FROM sessions WHERE user_id = %s", user)
    assert {row["id"] for row in before} - {row["id"] for row in after} == {before[0]["id"]}


def test_blocks_are_purged_a_month_after_they_ended(stack: Stack, maintenance: Maintenance) -> None:
    # Addresses for documentation: nobody calls from them.
    prefix = f"2001:db8:{secrets.token_hex(2)}"
    expiry = {
        f"{prefix}:1::/64": "now() - interval '31 days'",
        f"{prefix}:2::/64": "now() - interval '29 days'",
        f"{prefix}:3::/64": "now() + interval '1 day'",
        f"{prefix}:4::/64": "NULL",
    }
    with database(stack) as connection:
        for network, moment in expiry.items():
            connection.execute(
                f"INSERT INTO ip_blocks (id, network, expire_time) VALUES (%s, %s, {moment})".encode(),
                (uuid4(), network),
            )
    maintenance.run_once()
    found = rows(stack, "DELETE FROM ip_blocks WHERE starts_with(network, %s) RETURNING network", prefix)
    assert {row["network"] for row in found} == set(expiry) - {f"{prefix}:1::/64"}


def test_idempotency_records_are_purged_when_they_expire(stack: Stack, maintenance: Maintenance) -> None:
    expired, fresh = secrets.token_bytes(16), secrets.token_bytes(16)
    with database(stack) as connection:
        for record, distance in ((expired, "-1 second"), (fresh, "1 hour")):
            connection.execute(
                "INSERT INTO idempotency_records (id, request_hash, http_status, answer, expire_time) "
                "VALUES (%s, '', 200, '', now() + %s::interval)",
                (record, distance),
            )
    maintenance.run_once()
    found = rows(stack, "SELECT id FROM idempotency_records WHERE id = ANY (%s)", [expired, fresh])
    assert {bytes(row["id"]) for row in found} == {fresh}


def test_counts_of_calls_with_an_api_key_are_kept_for_a_quarter(stack: Stack, maintenance: Maintenance) -> None:
    tenant, key = new_tenant(stack), uuid4()
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=ago)).isoformat() for ago in (0, 91, 93, 400)]
    with database(stack) as connection:
        connection.execute(
            "INSERT INTO api_keys (tenant_id, id, name, environment, permissions, prefix, secret_hash) "
            "VALUES (%s, %s, 'key', 1, '{}', %s, '')",
            (tenant.id, key, key.hex),
        )
        for day in days:
            connection.execute(
                "INSERT INTO api_key_usage (tenant_id, api_key_id, day, method, calls, failures) "
                "VALUES (%s, %s, %s, 'GetPage', 1, 0)",
                (tenant.id, key, day),
            )
    maintenance.run_once()
    found = rows(stack, "SELECT day FROM api_key_usage WHERE api_key_id = %s", key)
    assert {row["day"] for row in found} == set(days[:2])
