"""Subscriptions: what tenants choose, what their plan allows, and what becomes of a period that is over."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.data.transactions import Database
from server.domains.billing.renewals import Renewals
from server.kernel.clock import utc_now
from tests.clients import Rest, Tenant, database, new_tenant, problem, reason, rows, sign_up, unique
from tests.domains.billing.instances import new_plan, planted_plan
from tests.domains.events import events_of
from tests.domains.platform import new_platform_admin
from tests.kernel.database import connections
from tests.stack import Stack

ABSENT = "01890000-0000-7000-8000-000000000000"
AT_ONCE = 8


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Rest:
    """A platform administrator."""
    return Rest(stack, new_platform_admin(stack).access_token)


def plan(admin: Rest, **fields: Any) -> dict[str, Any]:
    """A new plan that tenants may choose."""
    response = admin.post("/api/v1/plans", new_plan() | {"selfService": True} | fields)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def subscribe(tenant: Tenant, plan_id: str, **fields: Any) -> dict[str, Any]:
    response = tenant.rest.post(f"{tenant.path}/subscription", {"planId": plan_id} | fields)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def shown(tenant: Tenant) -> dict[str, Any]:
    answer: dict[str, Any] = tenant.rest.get(f"{tenant.path}/subscription").json()
    return answer


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def page(tenant: Tenant) -> Any:
    return tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("page"), "title": "One"})


# Choosing ------------------------------------------------------------------------------------------------------------


def test_a_tenant_subscribes_and_keeps_the_terms_of_that_day(admin: Rest, tenant: Tenant) -> None:
    assert reason(tenant.rest.get(f"{tenant.path}/subscription")) == (404, "RESOURCE_NOT_FOUND")
    chosen = plan(admin, price={"currencyCode": "EUR", "units": "29", "nanos": 900_000_000})
    made = subscribe(tenant, chosen["id"])
    assert (made["status"], made["tenantId"], made["quantity"]) == ("STATUS_ACTIVE", tenant.id, 1)
    start, end = moment(made["periodStartTime"]), moment(made["periodEndTime"])
    assert timedelta(days=28) <= end - start <= timedelta(days=31)
    price = {"currencyCode": "USD", "units": "99"}
    assert admin.patch(f"/api/v1/plans/{chosen['id']}", {"price": price, "retired": True}).status_code == 200
    assert shown(tenant)["price"] == made["price"] == {"currencyCode": "EUR", "units": "29", "nanos": 900_000_000}
    again = tenant.rest.post(f"{tenant.path}/subscription", {"planId": planted_plan(tenant)})
    assert reason(again) == (409, "RESOURCE_TAKEN")


def test_what_a_tenant_may_not_choose_the_platform_gives_it(admin: Rest, tenant: Tenant) -> None:
    own = plan(admin, selfService=False)
    path = f"{tenant.path}/subscription"
    assert reason(tenant.rest.post(path, {"planId": own["id"]})) == (409, "STATE_FORBIDS")
    assert reason(tenant.rest.post(path, {"planId": ABSENT})) == (404, "RESOURCE_NOT_FOUND")
    assert reason(tenant.rest.post(path, {"planId": plan(admin, retired=True)["id"]})) == (409, "STATE_FORBIDS")
    assert reason(tenant.rest.post(path, {"quantity": 2})) == (422, "RULE_VIOLATED")
    assert admin.post(path, {"planId": own["id"]}).status_code == 201
    assert shown(tenant)["planId"] == own["id"]


def test_one_trial_in_all(admin: Rest, tenant: Tenant) -> None:
    tried = plan(admin, trialDays=14)
    made = subscribe(tenant, tried["id"])
    assert made["status"] == "STATUS_TRIALING"
    assert moment(made["trialEndTime"]) - moment(made["periodStartTime"]) == timedelta(days=14)
    assert made["periodEndTime"] == made["trialEndTime"]
    assert tenant.rest.delete(f"{tenant.path}/subscription?now=true").status_code == 204
    assert subscribe(tenant, tried["id"])["status"] == "STATUS_ACTIVE"


def test_another_interval_begins_a_new_period(admin: Rest, tenant: Tenant) -> None:
    made = subscribe(tenant, plan(admin)["id"])
    same = tenant.rest.patch(f"{tenant.path}/subscription", {"planId": plan(admin)["id"], "quantity": 3}).json()
    assert (same["periodEndTime"], same["quantity"]) == (made["periodEndTime"], 3)
    yearly = tenant.rest.patch(
        f"{tenant.path}/subscription", {"planId": plan(admin, interval="INTERVAL_YEAR")["id"]}
    ).json()
    length = moment(yearly["periodEndTime"]) - moment(yearly["periodStartTime"])
    assert length in (timedelta(days=365), timedelta(days=366))
    assert moment(yearly["periodStartTime"]) > moment(made["periodStartTime"])


def test_a_cancellation_can_be_taken_back_until_the_end(admin: Rest, tenant: Tenant) -> None:
    path = f"{tenant.path}/subscription"
    subscribe(tenant, plan(admin)["id"])
    assert tenant.rest.delete(path).status_code == 204
    cancelled = shown(tenant)
    assert (cancelled["status"], cancelled["cancelAtPeriodEnd"]) == ("STATUS_ACTIVE", True)
    assert cancelled["cancelTime"]
    back = tenant.rest.patch(path, {"cancelAtPeriodEnd": False}).json()
    assert back.get("cancelTime") is None
    assert tenant.rest.delete(f"{path}?now=true").status_code == 204
    assert shown(tenant)["status"] == "STATUS_CANCELLED"
    assert reason(tenant.rest.patch(path, {"quantity": 2})) == (409, "STATE_FORBIDS")
    assert reason(tenant.rest.delete(path)) == (409, "STATE_FORBIDS")
    kinds = [event.type for event in events_of(tenant.stack, tenant.id) if event.type.startswith("subscription.")]
    assert kinds == [
        *("subscription.created", "subscription.cancelled", "subscription.updated"),
        "subscription.cancelled",
    ]


def test_plans_are_kept_by_the_platform_alone(admin: Rest, tenant: Tenant) -> None:
    assert reason(tenant.rest.post("/api/v1/plans", new_plan())) == (403, "PERMISSION_MISSING")
    made = plan(admin)
    assert tenant.rest.get(f"/api/v1/plans/{made['id']}").json()["code"] == made["code"]
    assert reason(admin.post("/api/v1/plans", new_plan() | {"code": made["code"]})) == (409, "RESOURCE_TAKEN")
    wrong = admin.post("/api/v1/plans", new_plan() | {"quotas": [{"name": "unicorns", "most": 1}]})
    assert list(problem(wrong).violations) == ["quotas[0].name"]
    negative = admin.post("/api/v1/plans", new_plan() | {"price": {"currencyCode": "EUR", "units": "-1"}})
    assert list(problem(negative).violations) == ["price"]
    assert "pages" in tenant.rest.get("/api/v1/quota-names").json()["names"]
    subscribe(tenant, made["id"])
    assert reason(admin.delete(f"/api/v1/plans/{made['id']}")) == (409, "REFERENCE_INVALID")
    assert admin.delete(f"/api/v1/plans/{plan(admin)['id']}").status_code == 204


# Quotas --------------------------------------------------------------------------------------------------------------


def test_a_plan_allows_so_many_and_no_more(admin: Rest, tenant: Tenant) -> None:
    chosen = plan(admin, quotas=[{"name": "pages", "most": 2}])
    subscribe(tenant, chosen["id"])
    first = page(tenant).json()
    assert page(tenant).status_code == 201
    refused = page(tenant)
    assert reason(refused) == (409, "LIMIT_REACHED")
    assert problem(refused).metadata["limit"] == "2"
    # Deleted pages do not count, until they are restored.
    assert tenant.rest.delete(f"{tenant.path}/pages/{first['id']}").status_code == 204
    assert page(tenant).status_code == 201
    assert reason(tenant.rest.post(f"{tenant.path}/pages/{first['id']}/undelete", {})) == (409, "LIMIT_REACHED")
    quotas = {each["name"]: each for each in tenant.rest.get(f"{tenant.path}/quotas").json()["quotas"]}
    assert (quotas["pages"]["used"], quotas["pages"]["most"]) == (2, 2)
    assert quotas["members"]["used"] == 1
    assert quotas["members"].get("most") is None
    # A change of the plan holds at once.
    admin.patch(f"/api/v1/plans/{chosen['id']}", {"quotas": [{"name": "pages", "most": 3}]})
    assert page(tenant).status_code == 201


def test_of_pages_created_at_once_as_many_come_in_as_are_allowed(admin: Rest, tenant: Tenant) -> None:
    subscribe(tenant, plan(admin, quotas=[{"name": "pages", "most": 3}])["id"])
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda _: page(tenant).status_code, range(2 * AT_ONCE)))
    assert sorted(answers) == [201] * 3 + [409] * (2 * AT_ONCE - 3)


def test_a_plan_that_allows_less_than_there_is_cannot_be_chosen(admin: Rest, tenant: Tenant) -> None:
    for _ in range(2):
        page(tenant)
    small = plan(admin, quotas=[{"name": "pages", "most": 1}])
    refused = tenant.rest.post(f"{tenant.path}/subscription", {"planId": small["id"]})
    assert reason(refused) == (409, "LIMIT_REACHED")
    subscribe(tenant, plan(admin)["id"])
    refused = tenant.rest.patch(f"{tenant.path}/subscription", {"planId": small["id"]})
    assert reason(refused) == (409, "LIMIT_REACHED")


def test_members_are_counted_whichever_way_they_come_in(admin: Rest, tenant: Tenant) -> None:
    tenant.rest.patch(tenant.path, {"signUpOpen": True})
    subscribe(tenant, plan(admin, quotas=[{"name": "members", "most": 2}])["id"])
    sign_up(tenant.stack, tenant=tenant.subdomain)
    with pytest.raises(AssertionError, match="LIMIT_REACHED"):
        sign_up(tenant.stack, tenant=tenant.subdomain)


def test_a_tenant_without_a_subscription_has_the_default_plan(admin: Rest, tenant: Tenant) -> None:
    def most() -> int | None:
        quotas = {each["name"]: each for each in tenant.rest.get(f"{tenant.path}/quotas").json()["quotas"]}
        found: int | None = quotas["trips"].get("most")
        return found

    # It holds for every tenant of the stack, so it allows more than any test has.
    default = plan(admin, isDefault=True, quotas=[{"name": "trips", "most": 1_000_000}])
    try:
        assert most() == 1_000_000
        second = admin.post("/api/v1/plans", new_plan() | {"isDefault": True})
        assert reason(second) == (409, "RESOURCE_TAKEN")
        subscribe(tenant, plan(admin)["id"])
        assert most() is None
    finally:
        assert admin.delete(f"/api/v1/plans/{default['id']}").status_code == 204


# Periods that are over -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def renewals(stack: Stack) -> Iterator[Renewals]:
    """Those of a worker, run by hand."""
    settings = stack.settings
    with connections(settings.dispatch_dsn) as dispatch, connections(settings.runtime_dsn) as runtime:
        yield Renewals(Database(dispatch), Database(runtime), utc_now)


def end_period(tenant: Tenant, **ago: int) -> None:
    """Move the period, and its anchor, into the past."""
    with database(tenant.stack) as connection:
        connection.execute(
            "UPDATE subscriptions SET period_start_time = period_start_time - %s, anchor_time = anchor_time - %s, "
            "period_end_time = period_end_time - %s WHERE tenant_id = %s",
            (*[timedelta(**ago)] * 3, tenant.id),
        )


def kinds_of(tenant: Tenant) -> list[str]:
    return [event.type for event in events_of(tenant.stack, tenant.id) if event.type.startswith("subscription.")]


def test_a_period_is_followed_by_the_next_and_missed_ones_by_all_of_theirs(
    admin: Rest, tenant: Tenant, renewals: Renewals
) -> None:
    subscribe(tenant, plan(admin)["id"])
    end_period(tenant, days=70)
    renewals.run()
    renewed = shown(tenant)
    assert moment(renewed["periodStartTime"]) <= datetime.now(UTC) < moment(renewed["periodEndTime"])
    assert kinds_of(tenant).count("subscription.renewed") == 2
    audited = rows(
        tenant.stack,
        "SELECT FROM audit_entries WHERE tenant_id = %s AND action = 'subscription.renewed'",
        tenant.id,
    )
    assert len(audited) == 2


def test_a_trial_becomes_a_subscription_and_a_cancelled_one_ends(
    admin: Rest, tenant: Tenant, renewals: Renewals
) -> None:
    subscribe(tenant, plan(admin, trialDays=7)["id"])
    end_period(tenant, days=8)
    renewals.run()
    assert shown(tenant)["status"] == "STATUS_ACTIVE"
    tenant.rest.delete(f"{tenant.path}/subscription")
    end_period(tenant, days=40)
    renewals.run()
    ended = shown(tenant)
    assert (ended["status"], ended["endTime"]) == ("STATUS_CANCELLED", ended["periodEndTime"])
    assert kinds_of(tenant)[1:] == ["subscription.activated", "subscription.cancelled", "subscription.ended"]
    # What it allowed no longer holds, and another one can begin.
    subscribe(tenant, plan(admin)["id"])


def test_one_that_somebody_is_changing_is_left_to_the_next_run(
    admin: Rest, stack: Stack, tenant: Tenant, renewals: Renewals
) -> None:
    other = new_tenant(stack)
    for each in (tenant, other):
        subscribe(each, plan(admin)["id"])
        end_period(each, days=32)
    with database(stack) as connection:
        connection.execute("SELECT FROM subscriptions WHERE tenant_id = %s FOR UPDATE", (tenant.id,))
        renewals.run()
        assert moment(shown(other)["periodEndTime"]) > datetime.now(UTC)
        connection.rollback()
    renewals.run()
    assert moment(shown(tenant)["periodEndTime"]) > datetime.now(UTC)
    assert rows(stack, "SELECT FROM subscriptions WHERE period_end_time < now() AND tenant_id = %s", tenant.id) == []
