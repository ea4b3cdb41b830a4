"""Usage of API keys: every call is counted once, whoever counts, whatever became of the call."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plinth.identity.v1.api_key_pb2 import GetApiKeyUsageRequest
from plinth.sites.v1.page_pb2 import ListPagesRequest

from server.data.transactions import Database
from server.domains.identity.api_key_usage import UsageCounter
from server.kernel.call import Principal
from server.kernel.ids import new_id
from tests.clients import Rest, Tenant, another_tenant, database, reason, refused, rows, stubs
from tests.kernel.database import connections
from tests.stack import Stack, wait_for

LIST, GET = "plinth.sites.v1.PageService/ListPages", "plinth.sites.v1.PageService/GetPage"
CREATE = "plinth.sites.v1.PageService/CreatePage"
ABSENT = "01890000-0000-7000-8000-000000000000"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make(tenant: Tenant, *permissions: str) -> dict[str, Any]:
    """A new key."""
    body = {"name": "Importer", "permissions": permissions or ["sites.pages.read"]}
    response = tenant.rest.post(f"{tenant.path}/api-keys", body)
    assert response.status_code == 201, response.text
    key: dict[str, Any] = response.json()
    return key


def usage(tenant: Tenant, key: dict[str, Any], **query: Any) -> dict[str, Any]:
    """What is counted of a key by now."""
    response = tenant.rest.get(f"{tenant.path}/api-keys/{key['id']}/usage", query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def methods(tenant: Tenant, key: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Calls and failures by method."""
    return {one["name"]: (one["calls"], one["failures"]) for one in usage(tenant, key)["methods"]}


def write(tenant: Tenant, key: dict[str, Any], *counts: tuple[str, str, int, int]) -> None:
    """Counts as if they were from before: day, method, calls, failures."""
    with database(tenant.stack) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO api_key_usage VALUES (%s, %s, %s, %s, %s, %s)",
            [(tenant.id, key["id"], *count) for count in counts],
        )


def stored(stack: Stack, api_key_id: str) -> dict[tuple[str, str], tuple[int, int]]:
    """What the table has of a key: calls and failures by day and method."""
    found = rows(stack, "SELECT * FROM api_key_usage WHERE api_key_id = %s", api_key_id)
    return {(row["day"], row["method"]): (row["calls"], row["failures"]) for row in found}


def last_use(stack: Stack, api_key_id: str) -> datetime | None:
    """When a key was used last, as far as the table has it."""
    moment: datetime | None = rows(stack, "SELECT last_use_time FROM api_keys WHERE id = %s", api_key_id)[0][
        "last_use_time"
    ]
    return moment


def caller(tenant: Tenant, key: dict[str, Any]) -> Principal:
    """Whom a key stands for."""
    return Principal("", "", tenant.id, (), is_platform=False, expires_at=0, api_key_id=key["id"])


def days_ago(days: int) -> str:
    """A day in UTC."""
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


# Through the doors ---------------------------------------------------------------------------------------------------


def test_calls_are_counted_by_method_with_their_failures(tenant: Tenant) -> None:
    key, _ = make(tenant), make(tenant)
    rest, pages = Rest(tenant.stack, key["key"]), stubs(tenant.stack, key["key"]).pages
    before = datetime.now(UTC)
    for _ in range(3):
        assert rest.get(f"{tenant.path}/pages").status_code == 200
    pages.ListPages(ListPagesRequest(tenant_id=tenant.id))
    assert rest.get(f"{tenant.path}/pages", {"filter": "nope"}).status_code == 400
    assert rest.get(f"{tenant.path}/pages/{ABSENT}").status_code == 404
    assert rest.post(f"{tenant.path}/pages", {"slug": "by-key"}).status_code == 403
    expected = {LIST: (5, 1), GET: (1, 1), CREATE: (1, 1)}
    wait_for(lambda: methods(tenant, key) == expected, what="the usage")
    after = datetime.now(UTC)
    found = usage(tenant, key)
    assert found["apiKeyId"] == key["id"]
    assert next(iter(methods(tenant, key))) == LIST
    assert sum(day["calls"] for day in found["days"]) == 7
    assert sum(day["failures"] for day in found["days"]) == 3
    assert {day["date"] for day in found["days"]} <= {before.date().isoformat(), after.date().isoformat()}
    shown = tenant.rest.get(f"{tenant.path}/api-keys/{key['id']}").json()
    assert before <= datetime.fromisoformat(shown["lastUseTime"]) <= after
    assert (shown["etag"], shown["updateTime"]) == (key["etag"], key["updateTime"])
    assert tenant.rest.get(f"{tenant.path}/api-keys", {"filter": "last_use_time:*"}).json()["apiKeys"] == [shown]


def test_a_key_keeps_its_usage_through_rotation_and_end(tenant: Tenant) -> None:
    key = make(tenant)
    write(tenant, key, (days_ago(1), LIST, 5, 1))
    before = usage(tenant, key)
    rotated = tenant.rest.post(f"{tenant.path}/api-keys/{key['id']}/rotate", {}).json()
    assert usage(tenant, key) == before
    rest = Rest(tenant.stack, rotated["key"])
    assert rest.get(f"{tenant.path}/pages").status_code == 200
    tenant.rest.delete(f"{tenant.path}/api-keys/{key['id']}")
    assert reason(rest.get(f"{tenant.path}/pages")) == (401, "API_KEY_ENDED")
    # The call that was refused since the key had ended is one that failed.
    wait_for(lambda: methods(tenant, key) == {LIST: (7, 2)}, what="the usage")


def test_a_key_that_was_never_used_has_no_usage(tenant: Tenant) -> None:
    key = make(tenant)
    assert usage(tenant, key) == {"apiKeyId": key["id"], "days": [], "methods": []}


def test_usage_of_another_tenants_key_is_not_to_be_had(tenant: Tenant) -> None:
    key, other = make(tenant), another_tenant(tenant)
    write(tenant, key, (days_ago(0), LIST, 1, 0))
    for key_id in (key["id"], ABSENT):
        assert reason(other.rest.get(f"{other.path}/api-keys/{key_id}/usage")) == (404, "RESOURCE_NOT_FOUND")
    asked = GetApiKeyUsageRequest(tenant_id=other.id, api_key_id=key["id"])
    assert refused(lambda: other.stubs.api_keys.GetApiKeyUsage(asked)).reason == "RESOURCE_NOT_FOUND"


def test_as_many_days_are_told_as_asked_for(tenant: Tenant) -> None:
    key = make(tenant)
    write(tenant, key, *((days_ago(days), LIST, days + 1, days) for days in (0, 1, 29, 30, 91, 92)))

    def told(**query: Any) -> list[tuple[str, int, int]]:
        return [(day["date"], day["calls"], day["failures"]) for day in usage(tenant, key, **query)["days"]]

    all_days = [(days_ago(days), days + 1, days) for days in (0, 1, 29, 30, 91)]
    assert told() == told(days=0) == told(days=30) == all_days[:3]
    assert (told(days=1), told(days=2), told(days=31), told(days=92)) == (
        all_days[:1],
        all_days[:2],
        all_days[:4],
        all_days,
    )
    assert usage(tenant, key, days=2)["methods"] == [{"name": LIST, "calls": 3, "failures": 1}]
    for days in (93, -1):
        response = tenant.rest.get(f"{tenant.path}/api-keys/{key['id']}/usage", {"days": days})
        assert reason(response) == (422, "RULE_VIOLATED")


def test_the_most_used_methods_are_told(tenant: Tenant) -> None:
    key = make(tenant)
    write(tenant, key, *((days_ago(0), f"a.v1.B/C{number:03}", number, 0) for number in range(1, 202)))
    write(tenant, key, (days_ago(1), "a.v1.B/C002", 500, 0))
    told = usage(tenant, key)["methods"]
    assert [method["calls"] for method in told] == [502, *range(201, 2, -1)]
    assert told[0]["name"] == "a.v1.B/C002"


def test_counts_beyond_32_bits_stay_the_largest(tenant: Tenant) -> None:
    key = make(tenant)
    write(tenant, key, (days_ago(0), LIST, 2**40, 2**31 - 1), (days_ago(0), GET, 2**31, 0))
    told = usage(tenant, key)
    assert told["days"] == [{"date": days_ago(0), "calls": 2**31 - 1, "failures": 2**31 - 1}]
    assert [(method["calls"], method["failures"]) for method in told["methods"]] == [
        (2**31 - 1, 2**31 - 1),
        (2**31 - 1, 0),
    ]


# The counter ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtime(stack: Stack) -> Iterator[Database]:
    """The stack's database as its workers see it."""
    with connections(stack.settings.runtime_dsn, size=4) as pool:
        yield Database(pool)


def test_a_call_counts_for_the_day_it_ended_on(tenant: Tenant, runtime: Database) -> None:
    key, now = make(tenant), [NOON]
    counter = UsageCounter(runtime, lambda: now[0])
    for moment in (NOON, NOON.replace(hour=23, minute=59, second=59), NOON + timedelta(days=1)):
        now[0] = moment
        counter.note(caller(tenant, key), f"/{LIST}", succeeded=moment == NOON)
    counter.flush()
    assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (2, 1), ("2026-03-02", LIST): (1, 1)}
    assert last_use(tenant.stack, key["id"]) == NOON + timedelta(days=1)
    counter.flush()
    now[0] = NOON
    counter.note(caller(tenant, key), f"/{LIST}", succeeded=True)
    counter.flush()
    assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (3, 1), ("2026-03-02", LIST): (1, 1)}
    assert last_use(tenant.stack, key["id"]) == NOON + timedelta(days=1)


def test_keys_that_are_gone_are_passed_over(tenant: Tenant, runtime: Database) -> None:
    key, counter = make(tenant), UsageCounter(runtime, lambda: NOON)
    gone = {"id": new_id()}
    for one in (gone, key, gone):
        counter.note(caller(tenant, one), f"/{LIST}", succeeded=True)
    counter.flush()
    assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (1, 0)}
    assert stored(tenant.stack, gone["id"]) == {}


def test_what_many_count_at_once_adds_up(tenant: Tenant, runtime: Database) -> None:
    keys = [make(tenant) for _ in range(8)]
    counters = [UsageCounter(runtime, lambda: NOON) for _ in range(4)]
    start = threading.Barrier(len(counters))

    def count(number: int) -> None:
        start.wait()
        order = keys if number % 2 else keys[::-1]
        for _ in range(10):
            for key in order:
                counters[number].note(caller(tenant, key), f"/{LIST}", succeeded=True)
                counters[number].note(caller(tenant, key), f"/{GET}", succeeded=False)
            counters[number].flush()

    with ThreadPoolExecutor(len(counters)) as pool:
        list(pool.map(count, range(len(counters))))

    def adds_up() -> bool:
        # What cannot be written, since another test ended the connections, is kept for the next flush.
        for counter in counters:
            counter.flush()
        expected = {("2026-03-01", LIST): (40, 0), ("2026-03-01", GET): (40, 40)}
        return all(stored(tenant.stack, key["id"]) == expected for key in keys)

    wait_for(adds_up, what="every call, counted once")


def test_flushes_at_once_lock_keys_in_one_order(tenant: Tenant, runtime: Database) -> None:
    first, second = sorted((make(tenant) for _ in range(2)), key=lambda key: str(key["id"]))
    # The first is changed, and so comes after the second in the table, as it does in the notes.
    assert tenant.rest.post(f"{tenant.path}/api-keys/{first['id']}/rotate", {}).status_code == 200
    counter = UsageCounter(runtime, lambda: NOON)
    for key in (second, first):
        counter.note(caller(tenant, key), f"/{LIST}", succeeded=True)
    lock = "SELECT FROM api_keys WHERE id = %s FOR UPDATE NOWAIT"
    waiting = "SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with ThreadPoolExecutor(1) as pool, database(tenant.stack) as other:
        other.execute(lock, (first["id"],))
        flush = pool.submit(counter.flush)
        wait_for(lambda: rows(tenant.stack, waiting, other.info.backend_pid), what="the flush at the lock")
        # Raises when the flush, which waits for the first, has locked the second.
        other.execute(lock, (second["id"],))
        other.commit()
        flush.result()
    for key in (first, second):
        assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (1, 0)}


def test_no_note_is_lost_between_threads(tenant: Tenant, runtime: Database) -> None:
    key, counter = make(tenant), UsageCounter(runtime, lambda: NOON)

    def count(_: int) -> None:
        for _ in range(500):
            counter.note(caller(tenant, key), f"/{LIST}", succeeded=True)

    with ThreadPoolExecutor(4) as pool:
        noted = pool.map(count, range(4))
        counter.flush()
        list(noted)
    counter.flush()
    assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (2000, 0)}


def test_counts_wait_for_a_database_that_is_away(stack: Stack, tenant: Tenant) -> None:
    key = make(tenant)
    with connections("host=/nowhere user=nobody", wait=0.1) as away, connections(stack.settings.runtime_dsn) as there:
        database = Database(away)
        counter = UsageCounter(database, lambda: NOON)
        for _ in range(2):
            counter.note(caller(tenant, key), f"/{LIST}", succeeded=True)
            counter.flush()
        assert stored(stack, key["id"]) == {}
        database.connections = there
        counter.flush()
        counter.flush()
    assert stored(stack, key["id"]) == {("2026-03-01", LIST): (2, 0)}


def test_counts_that_wait_for_a_lock_in_vain_are_kept_and_told(
    stack: Stack, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    key = make(tenant)
    with connections(stack.settings.runtime_dsn, statement_timeout=0.2) as hasty, database(stack) as other:
        counter = UsageCounter(Database(hasty), lambda: NOON)
        counter.note(caller(tenant, key), f"/{LIST}", succeeded=True)
        other.execute("SELECT FROM api_keys WHERE id = %s FOR UPDATE", (key["id"],))
        counter.flush()
        assert "kept for the next flush: QueryCanceled" in caplog.text
        other.commit()

        def is_stored() -> bool:
            counter.flush()
            return bool(stored(stack, key["id"]))

        wait_for(is_stored, what="the count")
    assert stored(stack, key["id"]) == {("2026-03-01", LIST): (1, 0)}


def test_what_waits_is_bounded(tenant: Tenant, runtime: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.kernel.count_buffer.MOST_COUNTS", 2)
    monkeypatch.setattr("server.kernel.count_buffer.MOST_NOTES", 5)
    key, counter = make(tenant), UsageCounter(runtime, lambda: NOON)
    for method in ("old", LIST, GET, CREATE, LIST, CREATE):
        counter.note(caller(tenant, key), f"/{method}", succeeded=True)
    counter.flush()
    assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (2, 0), ("2026-03-01", GET): (1, 0)}


def test_what_can_never_be_written_keeps_nothing_else(
    tenant: Tenant, runtime: Database, caplog: pytest.LogCaptureFixture
) -> None:
    key, counter = make(tenant), UsageCounter(runtime, lambda: NOON)
    counter.note(caller(tenant, {"id": "no UUID"}), f"/{LIST}", succeeded=True)
    counter.flush()
    assert "lost" in caplog.text
    counter.note(caller(tenant, key), f"/{LIST}", succeeded=True)
    counter.flush()
    assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (1, 0)}


def test_a_counter_that_ends_writes_what_is_left(tenant: Tenant, runtime: Database) -> None:
    key, counter = make(tenant), UsageCounter(runtime, lambda: NOON)
    counter.start()
    counter.note(caller(tenant, key), f"/{LIST}", succeeded=True)
    counter.close()
    assert stored(tenant.stack, key["id"]) == {("2026-03-01", LIST): (1, 0)}
