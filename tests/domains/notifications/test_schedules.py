"""What is scheduled is sent when its time has come, to who wants it then."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.data.transactions import Database
from server.domains.notifications.scheduled_sending import ScheduledSending
from server.kernel.clock import utc_now
from tests.clients import Rest, Tenant, new_member, new_tenant, problem, reason, rows
from tests.domains.notifications.instances import new_message, next_year
from tests.domains.notifications.parts import own_teller
from tests.kernel.database import connections
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications/schedule"
EVENTS = """SELECT type FROM events WHERE tenant_id = %s AND type LIKE 'notification%%'
             ORDER BY transaction_id, sequence"""
DUE = "UPDATE notification_schedules SET send_time = now() - interval '1 second' WHERE id = %s RETURNING id"


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture(scope="module")
def sending(stack: Stack) -> Iterator[ScheduledSending]:
    with connections(stack.settings.dispatch_dsn) as dispatch, connections(stack.settings.runtime_dsn) as runtime:
        yield ScheduledSending(Database(dispatch), Database(runtime), own_teller(), utc_now)


def scheduled(tenant: Tenant, *user_ids: str, **message: Any) -> dict[str, Any]:
    body = {"userIds": list(user_ids) or [tenant.owner.id], "message": new_message() | message, "sendTime": next_year()}
    answer = tenant.rest.post(PATH, body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def state_of(tenant: Tenant, schedule: dict[str, Any]) -> tuple[str, int]:
    shown = tenant.rest.get(f"{PATH}/{schedule['id']}").json()
    return shown["state"], shown["toldCount"]


def titles(rest: Rest) -> list[str]:
    return [each["title"] for each in rest.get("/api/v1/notifications").json()["notifications"]]


def test_it_is_sent_once_to_who_wants_it_then(tenant: Tenant, stack: Stack, sending: ScheduledSending) -> None:
    account, session = new_member(tenant, "member")
    gone, _ = new_member(tenant, "member")
    schedule = scheduled(tenant, tenant.owner.id, account.id, gone.id, title="Later", workflow="announcement")
    assert (schedule["state"], schedule["toldCount"], schedule["actorId"]) == ("STATE_WAITING", 0, tenant.owner.id)
    tenant.rest.delete(f"{tenant.path}/users/{gone.id}")
    tenant.rest.put("/api/v1/notifications/preferences", {"rules": [{"scope": "SCOPE_ALL"}]})
    sending.run()
    assert titles(Rest(stack, session.access_token)) == []
    rows(stack, DUE, schedule["id"])
    sending.run()
    # A worker of the stack may have been first, and not be done yet.
    wait_for(lambda: state_of(tenant, schedule) == ("STATE_SENT", 1), what="the end of the schedule")
    sending.run()
    assert (titles(Rest(stack, session.access_token)), titles(tenant.rest)) == (["Later"], [])
    query = (
        "SELECT type FROM events WHERE tenant_id = %s AND type LIKE 'notification%%' ORDER BY transaction_id, sequence"
    )
    assert [row["type"] for row in rows(stack, query, tenant.id)] == [
        "notification_schedule.created",
        "notification_preferences.updated",
        "notification.created",
        "notification_schedule.sent",
    ]
    assert reason(tenant.rest.delete(f"{PATH}/{schedule['id']}")) == (409, "STATE_FORBIDS")


def test_a_worker_sends_what_is_due(tenant: Tenant) -> None:
    schedule = scheduled(tenant, title="Now")
    rows(tenant.stack, DUE, schedule["id"])
    wait_for(lambda: titles(tenant.rest) == ["Now"], what="the notification")


def test_what_is_cancelled_is_not_sent(tenant: Tenant, sending: ScheduledSending) -> None:
    schedule = scheduled(tenant)
    assert tenant.rest.delete(f"{PATH}/{schedule['id']}").status_code == 204
    assert tenant.rest.get(PATH).json()["notificationSchedules"] == []
    sending.run()
    assert titles(tenant.rest) == []


def test_times_that_are_over_or_far_away_are_refused(tenant: Tenant) -> None:
    for ahead in (timedelta(minutes=-2), timedelta(days=800)):
        moment = (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"userIds": [tenant.owner.id], "message": new_message(), "sendTime": moment}
        refused = tenant.rest.post(PATH, body)
        assert (refused.status_code, problem(refused).rules) == (422, ("schedule.time",))
    body = {"userIds": [tenant.owner.id], "message": new_message() | {"workflow": "account-security"}}
    refused = tenant.rest.post(PATH, body | {"sendTime": next_year()})
    assert (refused.status_code, problem(refused).rules) == (422, ("notification.workflow",))
