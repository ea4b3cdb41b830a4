"""What is over is gone for good: what was deleted longer ago than the retention time, and what has expired."""

import secrets
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Boolean, Text, bindparam, text

from server.data import partitions
from server.data.connections import DatabaseUnavailable, Result
from server.data.statements import Statement
from server.data.tables import metadata
from server.data.transactions import Database, Patience, Scope, WriteTransaction
from server.domains.tenancy.purging import Purging, Unfinished
from server.kernel.module import Expire
from server.modules import MODULES
from server.settings import Settings
from server.workers import maintenance as module
from server.workers.maintenance import SLOTS, Maintenance
from tests.clients import Tenant, database, new_tenant, rows, sign_up
from tests.stack import Stack
from tests.workers.machinery import own_database
from tests.workers.world import queued

RETENTION = [each for declared in MODULES for each in declared.retention]


def maintenance_on(
    database: Database, dispatch: Database, settings: Settings, queue: str = "maintenance"
) -> Maintenance:
    return Maintenance(database, dispatch, settings, metadata.sorted_tables, RETENTION, queue=queue)


@pytest.fixture
def maintenance(stack: Stack, queue: str) -> Iterator[Maintenance]:
    """The jobs of maintenance, to be called one by one."""
    with own_database(stack.settings.runtime_dsn) as database, own_database(stack.settings.dispatch_dsn) as dispatch:
        yield maintenance_on(database, dispatch, stack.settings, queue)


@pytest.fixture
def runtime(stack: Stack) -> Iterator[Database]:
    with own_database(stack.settings.runtime_dsn) as database:
        yield database


def purge(maintenance: Maintenance, table: str) -> None:
    """Do the job of a table, as its schedule has it."""
    (job,) = [plan.job for plan in maintenance.schedules() if plan.job.name == f"maintenance.purge_{table}"]
    assert not job.is_async
    job.run()


def purging(stack: Stack, database: Database) -> Purging:
    return Purging(database, timedelta(days=stack.settings.deleted_retention_days))


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
    maintenance.purge_deleted_rows()
    assert left(stack, "pages", tenant.id) == {kept, recent}


def test_a_deleted_tenant_is_purged_with_everything_under_it(stack: Stack, runtime: Database) -> None:
    gone, other = new_tenant(stack), new_tenant(stack)
    for tenant in (gone, other):
        tenant.rest.post(f"tenants/{tenant.id}/pages", {"title": "page"})
    assert gone.rest.delete(f"tenants/{gone.id}").status_code == 204
    rows(stack, "UPDATE tenants SET delete_time = now() - interval '31 days' WHERE id = %s RETURNING id", gone.id)
    purging(stack, runtime).run()
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
    purge(maintenance, "sessions")
    after = rows(stack, "SELECT id FROM sessions WHERE user_id = %s", user)
    assert {row["id"] for row in before} - {row["id"] for row in after} == {before[0]["id"]}


def test_networks_are_forgotten_where_nobody_has_signed_in_from_for_long(
    stack: Stack, maintenance: Maintenance
) -> None:
    user = sign_up(stack).id
    with database(stack) as connection:
        connection.execute(
            "INSERT INTO sign_in_networks (user_id, network, last_time)"
            " SELECT %s, '10.0.0.' || n, now() - n * interval '1 day' FROM unnest('{89,91,400}'::int[]) n",
            (user,),
        )
    purge(maintenance, "sign_in_networks")
    kept = rows(stack, "SELECT network FROM sign_in_networks WHERE user_id = %s", user)
    assert [row["network"] for row in kept] == ["10.0.0.89"]


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
    purge(maintenance, "ip_blocks")
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
    purge(maintenance, "idempotency_records")
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
    purge(maintenance, "api_key_usage")
    found = rows(stack, "SELECT day FROM api_key_usage WHERE api_key_id = %s", key)
    assert {row["day"] for row in found} == set(days[:2])


def test_batches_go_on_until_nothing_is_left(
    stack: Stack, maintenance: Maintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    prefix = secrets.token_bytes(8)
    with database(stack) as connection:
        for number in range(5):
            connection.execute(
                "INSERT INTO idempotency_records (id, request_hash, http_status, answer, expire_time) "
                "VALUES (%s, '', 200, '', now() - interval '1 second')",
                (prefix + bytes([number]),),
            )
    purge(maintenance, "idempotency_records")
    assert not rows(stack, "SELECT id FROM idempotency_records WHERE substr(id, 1, 8) = %s", prefix)


class PartlyAway(Database):
    """A database in which nothing can be had of one tenant."""

    lacks = ""

    def write(self, scope: Scope, patience: Patience | None = None) -> WriteTransaction:
        transaction = super().write(scope, patience)
        run = transaction.run

        def refuse(statement: Statement, **parameters: Any) -> Result:
            if parameters.get("tenant") == self.lacks:
                raise DatabaseUnavailable
            return run(statement, **parameters)

        transaction.run = refuse  # type: ignore[method-assign]
        return transaction


def test_all_tenants_have_their_turn_though_one_fails(stack: Stack, runtime: Database) -> None:
    broken, other = new_tenant(stack), new_tenant(stack)
    for tenant, days in ((broken, 32), (other, 31)):
        assert tenant.rest.delete(f"tenants/{tenant.id}").status_code == 204
        rows(
            stack,
            "UPDATE tenants SET delete_time = now() - make_interval(days => %s) WHERE id = %s RETURNING id",
            days,
            tenant.id,
        )
    partly = PartlyAway(runtime.connections)
    partly.lacks = broken.id
    with pytest.raises(Unfinished, match=broken.id):
        purging(stack, partly).run()
    left = {str(row["id"]) for row in rows(stack, "SELECT id FROM tenants WHERE id IN (%s, %s)", broken.id, other.id)}
    assert left == {broken.id}
    purging(stack, runtime).run()


def test_the_role_that_purges_sees_nothing_but_what_is_deleted(stack: Stack) -> None:
    """It removes rows of all tenants, and could not read a page that is alive."""
    tenant = new_tenant(stack)
    page = tenant.rest.post(f"tenants/{tenant.id}/pages", {"title": "alive"}).json()["id"]
    gone = deleted_page(stack, tenant, "gone", days=1)
    with psycopg.connect(stack.settings.dispatch_dsn) as connection:
        seen = connection.execute("SELECT id::text FROM pages WHERE tenant_id = %s", (tenant.id,)).fetchall()
        assert seen == [(gone,)]
        assert connection.execute("DELETE FROM pages WHERE id = %s", (page,)).rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE pages SET title = 'x' WHERE id = %s", (gone,))


def test_old_deliveries_of_webhooks_are_purged_in_every_tenant(stack: Stack, maintenance: Maintenance) -> None:
    tenant, hook, old, young = new_tenant(stack), uuid4(), uuid4(), uuid4()
    with database(stack) as connection:
        connection.execute(
            "INSERT INTO webhooks (tenant_id, id, url, event_types, signature_scheme, secret, enabled) "
            "VALUES (%s, %s, 'https://example.com', '{}', 1, '', false)",
            (tenant.id, hook),
        )
        for delivery, days in ((old, 31), (young, 29)):
            connection.execute(
                "INSERT INTO webhook_deliveries (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, "
                "kind, status, create_time) VALUES (%s, %s, %s, %s, 'page.created', '', now(), 1, 2, "
                "now() - make_interval(days => %s))",
                (tenant.id, delivery, hook, uuid4(), days),
            )
    purge(maintenance, "webhook_deliveries")
    assert left(stack, "webhook_deliveries", tenant.id) == {str(young)}


def test_failed_jobs_are_kept_for_a_month(stack: Stack, maintenance: Maintenance, queue: str) -> None:
    for status, days in (("failed", 29), ("failed", 31), ("aborted", 31), ("todo", 31)):
        job_id = rows(
            stack,
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, scheduled_at) "
            "VALUES (%s, %s, %s::procrastinate_job_status, now() + interval '1 day') RETURNING id",
            queue,
            f"{status} {days}",
            status,
        )[0]["id"]
        earlier = "UPDATE procrastinate_jobs SET plinth_end_time = plinth_end_time - make_interval(days => %s)"
        rows(stack, f"{earlier} WHERE id = %s RETURNING id", days, job_id)
    maintenance.purge_jobs()
    assert [job["task_name"] for job in queued(stack, queue)] == ["failed 29", "todo 31"]


# Partitions, in a database of our own: dropping one locks out those who write.


def partitions_of(database_: Database, table: str) -> set[str]:
    found = Statement(
        text(
            "SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = CAST(:parent AS regclass)"
        )
        .bindparams(bindparam("parent", type_=Text()))
        .columns(name=Text())
    )
    with database_.read(Scope()) as transaction:
        return {row["name"].removeprefix(f"{table}_") for row in transaction.run(found, parent=table).all()}


def month(distance: int) -> str:
    """The name of the month so far from this one."""
    now = datetime.now(UTC)
    number = now.year * 12 + now.month - 1 + distance
    return f"{number // 12}_{number % 12 + 1:02d}"


def test_partitions_are_made_ahead_and_dropped_when_their_time_is_over(migrated: str) -> None:
    old = {f"{month(-ago)}" for ago in (1, 2, 5, 6, 23, 26, 27)}
    with psycopg.connect(migrated) as connection:
        for table in partitions.PARTITIONED:
            for name in old:
                connection.execute("SELECT plinth_make_partition(%s, to_date(%s, 'YYYY_MM'))", (table, name))
            connection.execute(f"DROP TABLE {table}_{month(3)}".encode())
    with own_database(migrated) as own:
        maintenance = maintenance_on(own, own, Settings(_env_file=None))
        maintenance.make_partitions()
        maintenance.drop_partitions()
        found = {table: partitions_of(own, table) for table in partitions.PARTITIONED}
    ahead = {month(distance) for distance in range(4)}
    # A partition goes when its youngest row may: up to a month after its oldest.
    assert found["audit_entries"] == ahead | old - {month(-26), month(-27)}
    assert found["events"] == ahead | {month(-1), month(-2)}
    assert ahead | {month(-1)} <= found["webhook_attempts"] <= ahead | {month(-1), month(-2)}


def test_every_topic_has_a_schedule(maintenance: Maintenance) -> None:
    plans = maintenance.schedules()
    names = {plan.job.name.removeprefix("maintenance.") for plan in plans}
    expiring = {f"purge_{each.table.name}" for each in RETENTION if isinstance(each, Expire)}
    own = {"purge_deleted_rows", "purge_idempotency_records", "purge_moves", "purge_jobs"}
    own |= {"make_partitions", "drop_partitions"}
    assert names == expiring | own
    assert len(names) == len(plans)
    # They share a minute only where none is free.
    hourly = Counter(plan.cron for plan in plans if plan.cron.endswith(" * * * *"))
    assert len(hourly) == min(SLOTS, hourly.total())
    assert max(hourly.values()) - min(hourly.values()) <= 1


@pytest.mark.parametrize(
    "expiring",
    [each for each in RETENTION if isinstance(each, Expire) and each.every_tenant],
    ids=lambda e: e.table.name,
)
def test_what_expires_in_every_tenant_may_be_deleted(stack: Stack, expiring: Expire) -> None:
    with own_database(stack.settings.dispatch_dsn) as dispatch, dispatch.read(Scope()) as transaction:
        table = expiring.table.name
        asked = Statement(text(f"SELECT has_table_privilege('{table}', 'DELETE') AS may").columns(may=Boolean()))
        assert transaction.run(asked).value(), f"name {table} in `dispatch_writes` of its module"
