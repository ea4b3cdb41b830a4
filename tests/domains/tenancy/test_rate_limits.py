"""Rate limits of a tenant: set by platform administrators, and holding from the next call on."""

from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from plinth.tenancy.v1.rate_limits_pb2 import GetRateLimitsRequest, ReplaceRateLimitsRequest

from server.data.connections import DatabaseUnavailable
from server.data.transactions import Database, Patience, ReadTransaction, Scope
from server.domains.tenancy.rate_limits import TenantRates
from server.kernel.caching import tenant_memory
from server.kernel.caching.generations import Generations
from server.kernel.guard.limits import DEFAULT_RATES
from server.kernel.rates import Rate
from tests.clients import Rest, Session, Tenant, another_tenant, new_tenant, problem, reason, refused, rows, stubs
from tests.domains.events import events_of
from tests.domains.platform import new_platform_admin
from tests.kernel.database import connections
from tests.stack import Stack

ABSENT = "01890000-0000-7000-8000-000000000000"
# So long a period that no call is gained while a test runs.
FEW: dict[str, Any] = {"rateClass": "default", "calls": 3, "periodSeconds": 86400}


@pytest.fixture(scope="module")
def administrator(stack: Stack) -> Session:
    """A platform administrator."""
    return new_platform_admin(stack)


@pytest.fixture
def platform(stack: Stack, administrator: Session) -> Rest:
    """REST as the platform administrator."""
    return Rest(stack, administrator.access_token)


def path_of(tenant_id: str) -> str:
    """Where the limits of a tenant are, for Rest."""
    return f"admin/tenants/{tenant_id}/rate-limits"


def replace(platform: Rest, tenant: Tenant, *overrides: dict[str, Any]) -> dict[str, Any]:
    """Replace the overrides; the limits by class."""
    response = platform.put(path_of(tenant.id), {"overrides": overrides})
    assert response.status_code == 200, response.text
    return by_class(response)


def by_class(response: httpx.Response) -> dict[str, Any]:
    """The limits of an answer by class."""
    return {limit["rateClass"]: limit for limit in response.json()["limits"]}


def overridden(limits: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """What is the tenant's own."""
    return {name: (limit["calls"], limit["periodSeconds"]) for name, limit in limits.items() if limit["overridden"]}


def stored(tenant: Tenant) -> Any:
    """What the database has."""
    return rows(tenant.stack, "SELECT rate_limits FROM tenants WHERE id = %s", tenant.id)[0]["rate_limits"]


def test_without_overrides_the_deployments_limits_hold(platform: Rest, tenant: Tenant) -> None:
    response = platform.get(path_of(tenant.id))
    assert (response.status_code, response.json()["id"]) == (200, tenant.id)
    limits = by_class(response)
    assert list(limits) == sorted(DEFAULT_RATES)
    assert overridden(limits) == {}
    assert (limits["ai"]["calls"], limits["ai"]["periodSeconds"]) == (10, 60)


def test_overrides_are_replaced_as_a_whole(platform: Rest, administrator: Session, tenant: Tenant) -> None:
    ai = {"rateClass": "ai", "calls": 7, "periodSeconds": 30}
    everything = {"rateClass": "tenant", "calls": 900000, "periodSeconds": 60}
    both = replace(platform, tenant, ai, everything)
    assert overridden(both) == {"ai": (7, 30), "tenant": (900000, 60)}
    assert by_class(platform.get(path_of(tenant.id))) == both
    assert overridden(replace(platform, tenant, ai)) == {"ai": (7, 30)}
    assert stored(tenant) == {"ai": [7, 30]}
    grpc = stubs(tenant.stack, administrator.access_token).rate_limits
    cleared = grpc.ReplaceRateLimits(ReplaceRateLimitsRequest(tenant_id=tenant.id.upper()))
    assert cleared == grpc.GetRateLimits(GetRateLimitsRequest(tenant_id=tenant.id.upper()))
    assert (cleared.id, {limit.overridden for limit in cleared.limits}) == (tenant.id, {False})
    assert stored(tenant) == {}


def test_a_replacement_is_an_event_of_the_tenant(stack: Stack, platform: Rest, tenant: Tenant) -> None:
    replace(platform, tenant, {"rateClass": "ai", "calls": 7, "periodSeconds": 30})
    [event] = [event for event in events_of(stack, tenant.id) if event.type == "rate_limits.replaced"]
    assert event.resource_id == event.payload.id == tenant.id
    assert [limit.rate_class for limit in event.payload.limits if limit.overridden] == ["ai"]
    me = platform.get("auth/me").json()["user"]["id"]
    assert event.actor_id == me


def test_a_tenants_version_is_its_own_business(platform: Rest, tenant: Tenant) -> None:
    before = tenant.rest.get(tenant.path).json()
    replace(platform, tenant, {"rateClass": "ai", "calls": 7, "periodSeconds": 30})
    assert tenant.rest.get(tenant.path).json() == before


# From when on they hold ----------------------------------------------------------------------------------------------


def calls_until_refused(rest: Rest, most: int) -> tuple[int, httpx.Response]:
    """How many calls are let through, and the answer to the one that is not, or to the last."""
    for count in range(most):
        response = rest.get("auth/me")
        if response.status_code != 200:
            return count, response
    return most, response


def test_an_override_holds_from_the_next_call_on_and_in_its_tenant_only(stack: Stack, platform: Rest) -> None:
    # Not the shared user, who has called before.
    limited = new_tenant(stack)
    # The same user, elsewhere.
    other = another_tenant(limited)
    assert calls_until_refused(limited.rest, 10)[1].status_code == 200
    replace(platform, limited, FEW)
    count, response = calls_until_refused(limited.rest, 10)
    assert count <= FEW["calls"]
    assert reason(response) == (429, "RATE_LIMITED")
    assert problem(response).metadata == {
        "rate_class": "default",
        "limit": "3",
        "period_seconds": "86400",
        "scope": "user",
    }
    retry_after = problem(response).retry_after
    assert retry_after is not None
    assert retry_after > 60
    assert calls_until_refused(other.rest, 10)[1].status_code == 200


def test_an_override_that_is_removed_is_lifted_at_once(stack: Stack, platform: Rest) -> None:
    tenant = new_tenant(stack)
    replace(platform, tenant, FEW)
    assert calls_until_refused(tenant.rest, 20)[1].status_code == 429
    replace(platform, tenant)
    assert calls_until_refused(tenant.rest, 20)[1].status_code == 200


def test_a_tenant_as_a_whole_can_be_limited(stack: Stack, platform: Rest) -> None:
    tenant = new_tenant(stack)
    replace(platform, tenant, FEW | {"rateClass": "tenant"})
    response = calls_until_refused(tenant.rest, 20)[1]
    assert (problem(response).metadata["rate_class"], problem(response).metadata["scope"]) == ("tenant", "tenant")


# While PostgreSQL is away --------------------------------------------------------------------------------------------


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    """Generations of a host of its own."""
    own = Generations(tmp_path / "generations")
    own.open()
    return own


def test_what_is_known_counts_while_postgresql_is_away(
    stack: Stack, platform: Rest, tenant: Tenant, generations: Generations
) -> None:
    replace(platform, tenant, FEW)
    with connections(stack.settings.runtime_dsn) as pool:
        rates = TenantRates(Database(pool), generations)
        assert rates.of(tenant.id) == {"default": Rate(3, 86400.0)}
    # Closed: nothing answers any more.
    generations.invalidate([f"limits:{tenant.id}"])
    assert rates.of(tenant.id) == {"default": Rate(3, 86400.0)}
    assert rates.of(ABSENT) == {}


class Away(Database):
    """A database that does not answer, and counts who asks."""

    def __init__(self) -> None:
        super().__init__(cast("Any", None))
        self.asked = 0

    def read(self, scope: Scope, patience: Patience | None = None) -> ReadTransaction:
        del scope, patience
        self.asked += 1
        raise DatabaseUnavailable


def test_postgresql_is_asked_again_after_a_pause(monkeypatch: pytest.MonkeyPatch, generations: Generations) -> None:
    database, now = Away(), [100.0]
    monkeypatch.setattr(tenant_memory, "monotonic", lambda: now[0])
    rates = TenantRates(database, generations)
    assert [dict(rates.of(ABSENT)) for _ in range(3)] == [{}, {}, {}]
    assert database.asked == 1
    now[0] += tenant_memory.PAUSE
    assert (rates.of(ABSENT), database.asked) == ({}, 2)


# Refusals ------------------------------------------------------------------------------------------------------------


def test_every_class_that_is_wrong_is_named(platform: Rest, tenant: Tenant) -> None:
    ai = {"rateClass": "ai", "calls": 7, "periodSeconds": 30}
    wrong = [ai, ai | {"rateClass": "telepathy"}, ai | {"calls": 8}]
    response = platform.put(path_of(tenant.id), {"overrides": wrong})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {"overrides[1].rateClass", "overrides[2].rateClass"}
    assert problem(response).rules == ("rate_limit.class", "rate_limit.twice")
    assert stored(tenant) == {}


@pytest.mark.parametrize("change", [{"calls": 0}, {"periodSeconds": 0}, {"periodSeconds": 86401}, {"rateClass": ""}])
def test_a_limit_that_is_none_is_refused(platform: Rest, tenant: Tenant, change: dict[str, Any]) -> None:
    response = platform.put(path_of(tenant.id), {"overrides": [FEW | change]})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert stored(tenant) == {}


def test_a_tenant_that_is_not_there_has_no_limits(stack: Stack, platform: Rest) -> None:
    deleted = new_tenant(stack)
    assert deleted.rest.delete(deleted.path).status_code == 204
    for tenant_id in (ABSENT, deleted.id):
        for response in (platform.get(path_of(tenant_id)), platform.put(path_of(tenant_id), {"overrides": [FEW]})):
            assert reason(response) == (404, "RESOURCE_NOT_FOUND")
            assert problem(response).resource_type == "plinth.dev/Tenant"
    assert stored(deleted) == {}
    assert events_of(stack, ABSENT) == []


def test_an_owner_sets_no_limits(tenant: Tenant) -> None:
    read, update = tenant.rest.get(path_of(tenant.id)), tenant.rest.put(path_of(tenant.id), {"overrides": []})
    assert problem(read).metadata == {"permission": "tenancy.rate_limits.read"}
    assert problem(update).metadata == {"permission": "tenancy.rate_limits.update"}
    why = refused(lambda: tenant.stubs.rate_limits.GetRateLimits(GetRateLimitsRequest(tenant_id=tenant.id)))
    assert why.reason == "PERMISSION_MISSING"
