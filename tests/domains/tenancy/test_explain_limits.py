"""Which rate limits a call would meet, and what is left of them."""

from typing import Any

import pytest

from tests.clients import Rest, Tenant, another_tenant, new_member, new_tenant, problem, reason
from tests.domains.explanations import explained, steps
from tests.domains.platform import new_platform_admin
from tests.domains.tenancy.test_explain import make_key
from tests.domains.tenancy.test_rate_limits import path_of
from tests.stack import Stack

EXPLAIN = "rate-limits/explain"
LIST = "plinth.sites.v1.PageService/ListPages"
LOGIN = "plinth.identity.v1.AuthService/LogIn"
ABSENT = "01890000-0000-7000-8000-000000000000"
# So long a period that no call is gained while a test runs.
FEW = {"rateClass": "default", "calls": 3, "periodSeconds": 86400}
LEFT, EXHAUSTED = "CALLS_LEFT", "EXHAUSTED"


@pytest.fixture(scope="module")
def administrator(stack: Stack) -> Rest:
    return Rest(stack, new_platform_admin(stack).access_token)


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def why(rest: Rest, method: str = LIST, **whom: str) -> dict[str, Any]:
    return explained(rest, EXPLAIN, method=method, **whom)


def limit(administrator: Rest, tenant: Tenant, *overrides: dict[str, Any]) -> None:
    response = administrator.put(path_of(tenant.id), {"overrides": overrides})
    assert response.status_code == 200, response.text


def test_a_user_meets_the_limit_of_the_class_and_that_of_the_tenant(administrator: Rest, tenant: Tenant) -> None:
    answer = why(tenant.rest)
    assert steps(answer) == [("user", LEFT), ("tenant", LEFT)]
    assert [one["ruleId"] for one in answer["reasons"]] == ["default", "tenant"]
    limits = {one["rateClass"]: one for one in administrator.get(path_of(tenant.id)).json()["limits"]}
    for one in answer["reasons"]:
        limit = limits[one["ruleId"]]
        assert one["value"].endswith(f" of {limit['calls']} per {limit['periodSeconds']} s")


def test_an_exhausted_limit_says_until_when_and_a_raised_one_lets_pass(
    stack: Stack, administrator: Rest, tenant: Tenant
) -> None:
    account, session = new_member(tenant, "viewer")
    member = Rest(stack, session.access_token)
    limit(administrator, tenant, FEW)
    for _ in range(3):
        assert member.get(f"{tenant.path}/pages").status_code == 200
    assert member.get(f"{tenant.path}/pages").status_code == 429
    answer = why(tenant.rest, userId=account.id)
    assert steps(answer) == [("user", EXHAUSTED), ("tenant", LEFT)]
    assert (answer["reasons"][0]["value"], answer["outcome"]) == ("0 of 3 per 86400 s", "OUTCOME_DEFER")
    assert answer["reasons"][0]["time"]
    limit(administrator, tenant)
    assert steps(why(tenant.rest, userId=account.id))[0] == ("user", LEFT)
    assert member.get(f"{tenant.path}/pages").status_code == 200


def test_an_explanation_spends_none_of_the_calls_it_tells_of(tenant: Tenant) -> None:
    account, _ = new_member(tenant, "viewer")
    first, again = (why(tenant.rest, userId=account.id)["reasons"][0] for _ in range(2))
    assert first == again


def test_an_api_key_meets_its_own_pace_too(tenant: Tenant) -> None:
    made = tenant.rest.post(
        f"{tenant.path}/api-keys", {"name": "Slow", "permissions": ["sites.pages.read"], "callsPerMinute": 7}
    ).json()
    answer = why(tenant.rest, apiKeyId=made["id"])
    assert steps(answer) == [("api_key", LEFT), ("api_key", LEFT), ("tenant", LEFT)]
    assert answer["reasons"][1]["value"] == "7 of 7 per 60 s"
    plain = make_key(tenant, "sites.pages.read")
    assert steps(why(tenant.rest, apiKeyId=plain["id"])) == [("api_key", LEFT), ("tenant", LEFT)]


def test_a_public_rpc_is_counted_by_address(tenant: Tenant) -> None:
    answer = why(tenant.rest, LOGIN)
    assert steps(answer) == [("address", LEFT)] or steps(answer) == [("address", EXHAUSTED)]
    assert answer["reasons"][0]["ruleId"] == "auth"


def test_others_are_not_told_of(tenant: Tenant) -> None:
    other = another_tenant(tenant)
    key = make_key(other, "sites.pages.read")
    assert reason(tenant.rest.get(EXPLAIN, {"method": LIST, "apiKeyId": key["id"]})) == (404, "RESOURCE_NOT_FOUND")
    assert reason(tenant.rest.get(EXPLAIN, {"method": LIST, "userId": ABSENT})) == (404, "RESOURCE_NOT_FOUND")


def test_an_rpc_that_does_not_exist_is_named(tenant: Tenant) -> None:
    answer = tenant.rest.get(EXPLAIN, {"method": "plinth.sites.v1.PageService/ListPage"})
    assert reason(answer) == (422, "RULE_VIOLATED")
    assert "ListPages" in problem(answer).violations["method"][0]
