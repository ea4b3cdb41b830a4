"""The open streams of inboxes, as administrators see them."""

from typing import Any

import pytest
from plinth.notifications.v1.notification_connection_pb2 import NotificationConnections

from server.domains.notifications.notification_connections import Told, health_of
from tests.clients import Tenant, new_member, new_tenant
from tests.domains.notifications.instances import sent
from tests.domains.notifications.test_inbox import stack_stream
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications/connections"


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def connections(tenant: Tenant) -> dict[str, Any]:
    found: dict[str, Any] = tenant.rest.get(PATH).json()
    return found


def test_streams_are_shown_while_they_are_open(tenant: Tenant, stack: Stack) -> None:
    other = new_tenant(stack)
    account, session = new_member(tenant, "member")
    assert connections(tenant)["openCount"] == 0
    with stack_stream(stack, tenant.access_token) as own, stack_stream(stack, session.access_token) as live:
        for stream in (own, live):
            next(stream)
        sent(tenant, account.id)
        wait_for(lambda: connections(tenant)["openCount"] == 2, what="two streams")
        wait_for(
            lambda: (
                {each["userId"]: each.get("sentCount", 0) for each in connections(tenant)["connections"]}
                == {tenant.owner.id: 0, account.id: 1}
            ),
            what="the event",
        )
        shown = connections(tenant)
        assert shown["userCount"] == 2
        # The lag is that of all tenants of the stack, which other tests keep busy.
        is_late = float(shown["lagP95"].removesuffix("s")) > 5
        assert shown["health"] == ("HEALTH_DEGRADED" if is_late else "HEALTH_OK")
        assert all(each["process"] and each["openTime"] for each in shown["connections"])
        # Nobody sees those of another tenant.
        assert connections(other)["openCount"] == 0
    wait_for(lambda: connections(tenant)["openCount"] == 0, what="no stream")


@pytest.mark.parametrize(
    ("waiting", "lags", "expected"),
    [
        (0, [], NotificationConnections.HEALTH_OK),
        (99, [5.0], NotificationConnections.HEALTH_OK),
        (0, [0.1, 5.1], NotificationConnections.HEALTH_DEGRADED),
        (100, [0.1], NotificationConnections.HEALTH_DEGRADED),
    ],
)
def test_streams_that_are_late_or_full_are_not_healthy(
    waiting: int, lags: list[float], expected: "NotificationConnections.Health"
) -> None:
    assert health_of([Told("tenant", "user", 0.0, 1, 0.0, waiting)], lags) == expected
