"""Dispatch: each event is queued once for each webhook that wants it, whatever else goes on."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest

from server.data.events import READ_HORIZON
from server.domains.webhooks import dispatch, result_statements
from server.domains.webhooks.dispatch import Dispatcher
from server.domains.webhooks.queues import Visit, open_pool
from server.domains.webhooks.results import Result, Results
from server.kernel.ids import new_id
from tests.domains.webhooks.scene import Scene, often, silence
from tests.stack import PATIENCE, wait_for

NOWHERE = "http://127.0.0.1:1/"


def dispatch_once(place: Scene) -> int:
    """Dispatch what can be; how many events that were."""

    async def run() -> int:
        async with open_pool(place.dispatch, "test", size=1) as pool:
            async with pool.connection() as connection:
                await connection.execute(dispatch.MAKE_CURSOR, {"cursor": dispatch.CURSOR})
            dispatcher = Dispatcher(place.dispatch, silence, lambda: None, name="test", clock=place.clock)
            return await dispatcher.dispatch(pool)

    return asyncio.run(run())


def dispatch_all(place: Scene, number: int) -> None:
    """Dispatch exactly so many events. What other tests write at the same time in this PostgreSQL is waited for."""
    done: list[int] = []

    def go_on() -> bool:
        done.append(dispatch_once(place))
        return sum(done) >= number

    wait_for(go_on, what=f"the dispatch of {number} events")
    assert sum(done) == number


def queued(place: Scene, webhook: str) -> list[str]:
    """Ids of the events that are queued for it, in the order of delivery."""
    return [str(row["event_id"]) for row in place.deliveries(webhook)]


def test_every_webhook_gets_what_it_named(shared: Scene) -> None:
    ours, theirs = shared.add_tenant(), shared.add_tenant()
    patterns = (["*"], ["page.*"], ["page.updated"], ["page.created", "branding.*"], ["pag.*", "page", "page."])
    everything, pages, updated, mixed, nothing = (shared.add_webhook(ours, NOWHERE, *one) for one in patterns)
    foreign = shared.add_webhook(theirs, NOWHERE, "*")
    (updated_event,) = shared.add_events(ours, new_id())
    (created_event,) = shared.add_events(ours, new_id(), event_type="page.created")
    (other_event,) = shared.add_events(ours, new_id(), event_type="branding.updated")
    dispatch_all(shared, 3)
    assert queued(shared, everything) == [updated_event, created_event, other_event]
    assert queued(shared, pages) == [updated_event, created_event]
    assert queued(shared, updated) == [updated_event]
    assert queued(shared, mixed) == [created_event, other_event]
    assert queued(shared, nothing) == queued(shared, foreign) == []


def test_what_a_delivery_says(shared: Scene) -> None:
    tenant, subject = shared.add_tenant(), new_id()
    webhook = shared.add_webhook(tenant, NOWHERE)
    (event,) = shared.add_events(tenant, subject)
    before = datetime.now(UTC)
    dispatch_all(shared, 1)
    (row,) = shared.deliveries(webhook)
    (logged,) = shared.run("SELECT create_time FROM events WHERE id = %s", event)
    assert (str(row["tenant_id"]), str(row["event_id"]), row["event_type"]) == (tenant, event, "page.updated")
    assert (row["subject"], row["event_time"], row["kind"], row["status"]) == (subject, logged["create_time"], 1, 1)
    assert (row["attempts"], row["last_error"], row["finish_time"]) == (0, "", None)
    assert abs(row["next_attempt_time"] - before) < timedelta(minutes=5)
    # UUIDv7, by the time at which it was queued.
    delivery = row["id"]
    assert (delivery.version, delivery.variant) == (7, "specified in RFC 4122")
    assert abs((delivery.int >> 80) / 1000 - row["create_time"].timestamp()) < 300
    (queue,) = [one for one in shared.queues() if str(one["webhook_id"]) == webhook]
    assert (queue["subject"], queue["lease_time"]) == (subject, None)


def test_events_about_nothing_have_queues_of_their_own(shared: Scene) -> None:
    tenant = shared.add_tenant()
    webhook = shared.add_webhook(tenant, NOWHERE)
    events = shared.add_events(tenant, "", "")
    dispatch_all(shared, 2)
    assert [row["subject"] for row in shared.deliveries(webhook)] == events


def test_who_is_disabled_or_younger_gets_nothing(shared: Scene) -> None:
    tenant = shared.add_tenant()
    disabled, younger = shared.add_webhook(tenant, NOWHERE), shared.add_webhook(tenant, NOWHERE)
    shared.run("UPDATE webhooks SET enabled = false WHERE id = %s", disabled)
    shared.run("UPDATE webhooks SET create_time = now() + interval '1 minute' WHERE id = %s", younger)
    shared.add_events(tenant, new_id())
    dispatch_all(shared, 1)
    assert queued(shared, disabled) == queued(shared, younger) == []


def test_a_queue_that_waits_for_its_retry_goes_on_waiting(shared: Scene) -> None:
    tenant, failing, idle = shared.add_tenant(), new_id(), new_id()
    webhook = shared.add_webhook(tenant, NOWHERE)
    later = datetime.now(UTC) + timedelta(hours=3)
    add = "INSERT INTO webhook_queues (tenant_id, webhook_id, subject, next_attempt_time) VALUES (%s, %s, %s, %s)"
    shared.run(add, tenant, webhook, failing, later)
    shared.add_events(tenant, failing, idle)
    dispatch_all(shared, 2)
    times = {one["subject"]: one["next_attempt_time"] for one in shared.queues() if str(one["webhook_id"]) == webhook}
    assert times[failing] == later
    assert times[idle] < later


def test_what_commits_late_is_not_passed_over(shared: Scene) -> None:
    """A transaction that began first and commits last: nothing after it is read before it is decided."""
    tenant, late, early = shared.add_tenant(), new_id(), new_id()
    webhook = shared.add_webhook(tenant, NOWHERE)
    insert = "INSERT INTO events (tenant_id, id, type, resource_id, message_type, payload, request_id)"
    with psycopg.connect(shared.administrator) as slow, psycopg.connect(shared.administrator) as undone:
        for connection, event in ((slow, late), (undone, new_id())):
            connection.execute(f"{insert} VALUES (%s, %s, 'page.updated', 'a', '', '', '')".encode(), (tenant, event))
        shared.run(f"{insert} VALUES (%s, %s, 'page.updated', 'b', '', '', '')", tenant, early)
        assert dispatch_once(shared) == 0
        slow.commit()
        dispatch_all(shared, 1)
        assert dispatch_once(shared) == 0
        undone.rollback()
    dispatch_all(shared, 1)
    assert queued(shared, webhook) == [late, early]


async def working(place: Scene, busy: Callable[[], bool], done: Callable[[], bool]) -> None:
    """Three dispatchers, which are cut off from the database again and again while others are busy."""
    dispatchers = [Dispatcher(place.dispatch, often, lambda: None, name=f"d{number}") for number in range(3)]
    tasks = [asyncio.create_task(one.run()) for one in dispatchers]
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE %s AND datname = current_database()"
    )
    while busy():
        await asyncio.to_thread(place.run, terminate, "plinth d_ dispatch")
        await asyncio.sleep(0.05)
    await place.until(done, "the end of the dispatch")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# Others at the same time ---------------------------------------------------------------------------------------------


@contextmanager
def dispatching(place: Scene) -> Iterator[None]:
    """Somebody is in the middle of it; committed at the end."""
    with psycopg.connect(place.administrator) as connection:
        connection.execute(cast("Any", dispatch.MAKE_CURSOR), {"cursor": dispatch.CURSOR})
        connection.commit()
        row = connection.execute(READ_HORIZON.encode()).fetchone()
        connection.commit()
        parameters = {"cursor": dispatch.CURSOR, "limit": 500, "now": place.clock(), "horizon": str((row or [0])[0])}
        connection.execute(cast("Any", dispatch.DISPATCH), parameters)
        yield


def test_who_does_not_get_the_cursor_does_nothing(shared: Scene) -> None:
    tenant = shared.add_tenant()
    webhook = shared.add_webhook(tenant, NOWHERE)
    events = shared.add_events(tenant, new_id(), new_id())
    wait_for(lambda: is_readable(shared))
    with dispatching(shared):
        assert dispatch_once(shared) == 0
    assert dispatch_once(shared) == 0
    assert queued(shared, webhook) == events


def test_a_queue_that_is_being_emptied_is_not_removed_when_something_is_added(shared: Scene) -> None:
    """The worker waits for whoever adds, and sees what was added."""
    tenant, subject = shared.add_tenant(), new_id()
    webhook = shared.add_webhook(tenant, NOWHERE)
    visit = visited(shared, tenant, webhook, subject)
    shared.add_events(tenant, subject)
    wait_for(lambda: is_readable(shared))

    async def end() -> None:
        async with open_pool(shared.dispatch, "test", size=1) as pool:
            results = Results(pool, [], shared.clock)
            with dispatching(shared):
                writing = asyncio.create_task(results.run())
                written = results.add(Result(visit, ends=True))
                await shared.until_somebody_waits()
                assert not written.done()
            await written
            results.close()
            await writing

    asyncio.run(end())
    assert [one["lease_time"] for one in shared.queues() if one["subject"] == subject] == [None]


def test_a_queue_that_was_removed_is_made_anew(shared: Scene) -> None:
    """Whoever adds waits for the worker that is about to remove the queue."""
    tenant, subject = shared.add_tenant(), new_id()
    webhook = shared.add_webhook(tenant, NOWHERE)
    visit = visited(shared, tenant, webhook, subject)
    shared.add_events(tenant, subject)
    wait_for(lambda: is_readable(shared))
    key = {"tenants": [tenant], "webhooks": [webhook], "subjects": [subject], "leases": [visit.lease]}
    with ThreadPoolExecutor() as threads, psycopg.connect(shared.dispatch) as connection:
        connection.execute(cast("Any", result_statements.LOCK), key)
        adding = threads.submit(dispatch_once, shared)
        with pytest.raises(TimeoutError):
            adding.result(0.3)
        removed = connection.execute(cast("Any", result_statements.REMOVE), {**key, "again": [None]}).rowcount
        connection.commit()
        assert (removed, adding.result(PATIENCE)) == (1, 1)
    assert [one["lease_time"] for one in shared.queues() if one["subject"] == subject] == [None]


def visited(place: Scene, tenant: str, webhook: str, subject: str) -> Visit:
    """A visit that has delivered everything."""
    now = place.clock()
    visit = Visit(tenant, webhook, subject, failing=False, claim_time=now, lease=now + timedelta(minutes=1))
    place.run(
        "INSERT INTO webhook_queues (tenant_id, webhook_id, subject, next_attempt_time, lease_time)"
        " VALUES (%s, %s, %s, now(), %s)",
        *(tenant, webhook, subject, visit.lease),
    )
    return visit


def is_readable(place: Scene) -> bool:
    """Whether all that was written can be read: nobody who began before is still writing."""
    (row,) = place.run("SELECT max(transaction_id) < plinth_log_horizon_here() AS all FROM events")
    return bool(row["all"])


def test_several_dispatchers_that_die_now_and_then(shared: Scene) -> None:
    """Each event once, in order per subject, although writers commit out of order and dispatchers are cut off."""
    tenant = shared.add_tenant()
    webhooks = [shared.add_webhook(tenant, NOWHERE), shared.add_webhook(tenant, NOWHERE, "page.updated")]
    subjects = [new_id() for _ in range(10)]
    written: list[str] = []

    def write(number: int) -> None:
        for place in range(number, number + 15):
            written.extend(shared.add_events(tenant, *(subjects[(place * step) % 10] for step in (1, 3, 7, 1))))

    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(write, number) for number in range(4)]
        asyncio.run(
            working(
                shared,
                lambda: not all(writer.done() for writer in writers),
                lambda: len(queued(shared, webhooks[1])) >= len(written),
            )
        )
    assert len(written) == 240
    order = "SELECT id::text, resource_id FROM events WHERE tenant_id = %s ORDER BY transaction_id, sequence"
    logged = [(row["id"], row["resource_id"]) for row in shared.run(order, tenant)]
    for webhook in webhooks:
        assert Counter(queued(shared, webhook)) == Counter(written)
        assert [(str(row["event_id"]), row["subject"]) for row in shared.deliveries(webhook)] == logged
