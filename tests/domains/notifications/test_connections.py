"""The open streams of inboxes, as administrators see them."""

from typing import Any

import pytest

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
    assert (connections(tenant)["health"], connections(tenant)["openCount"]) == ("HEALTH_OK", 0)
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
        assert (shown["userCount"], shown["health"]) == (2, "HEALTH_OK")
        assert float(shown["lagP95"].removesuffix("s")) >= 0
        assert all(each["process"] and each["openTime"] for each in shown["connections"])
        # Nobody sees those of another tenant.
        assert connections(other)["openCount"] == 0
    wait_for(lambda: connections(tenant)["openCount"] == 0, what="no stream")
