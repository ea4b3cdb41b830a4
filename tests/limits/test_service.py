"""Limits through the whole stack: what callers are told, who is counted as one, and Redis killed."""

import re
from collections.abc import Iterator

import httpx
import pytest
from plinth.sites.v1.page_pb2 import ListPagesRequest

from tests.clients import Account, Problem, Rest, Tenant, another_tenant, problem, refused
from tests.faults.outages import away
from tests.limits.people import Visitor, address, administrator, colleague, found, join
from tests.stack import Stack

pytestmark = pytest.mark.heavy

ABSENT = "01890000-0000-7000-8000-000000000000"
# Periods so long that no call is gained while a test runs. Class `auth` is left as it is.
CALLS, PERIOD = 30, 86400
LIMITS = {
    "default": f"{CALLS}/{PERIOD}",
    "general": f"10/{PERIOD}",
    "tenant": "1000/60",
    "auth_failure": "1000/60",
    "probe": "1000/60",
}
POLICY = re.compile(r'"([a-z_]+)";q=([1-9]\d*);w=([1-9]\d*)')
STATE = re.compile(r'"([a-z_]+)";r=(\d+);t=(\d+)')


@pytest.fixture(scope="module")
def small() -> Iterator[Stack]:
    """A stack of the module's own with small limits, behind a proxy that says who calls.

    Staging: more people may sign in to development.
    """
    stack = Stack(
        api_workers=2, rate_limits=LIMITS, trusted_proxies=1, redis_timeout=5, drain_notice=0.1, log_level="ERROR",
        environment="staging",
    )  # fmt: skip
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture
def tenant(small: Stack) -> Tenant:
    """A tenant of somebody new, who has their calls before them."""
    return found(small)


def told(response: httpx.Response) -> tuple[str, int, int, int]:
    """Class, limit, period and remaining calls, as both kinds of headers agree."""
    policy = POLICY.fullmatch(response.headers["ratelimit-policy"])
    state = STATE.fullmatch(response.headers["ratelimit"])
    assert policy, response.headers
    assert state, response.headers
    limit, remaining, reset = (response.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "reset"))
    assert (policy[1], policy[2]) == (state[1], limit)
    assert (state[2], state[3]) == (remaining, reset)
    assert 0 <= int(remaining) < int(limit)
    assert 0 < int(reset) <= int(policy[3])
    return policy[1], int(limit), int(policy[3]), int(remaining)


def use_up(rest: Rest, path: str) -> list[int]:
    """Call until nothing remains, as the headers tell; what remained after each call."""
    left: list[int] = []
    while not left or left[-1]:
        response = rest.get(path)
        assert response.status_code == 200, response.text
        left.append(told(response)[3])
    return left


def too_many(response: httpx.Response) -> Problem:
    """A refusal, whose parts have to agree."""
    assert response.status_code == 429, response.text
    why = problem(response)
    assert (why.code, why.reason) == (8, "RATE_LIMITED")
    assert why.retry_after is not None
    assert 0 < why.retry_after <= int(response.headers["retry-after"]) < why.retry_after + 1.001
    rate_class, limit, period, remaining = told(response)
    assert remaining == 0
    expected = {"rate_class": rate_class, "limit": str(limit), "period_seconds": str(period)}
    assert why.metadata == expected | {"scope": why.metadata["scope"]}
    return why


# What callers are told -----------------------------------------------------------------------------------------------


def test_answers_and_errors_tell_what_remains(tenant: Tenant) -> None:
    rest, pages = tenant.rest, f"{tenant.path}/pages"
    made = rest.post(pages, {"slug": "first"})
    responses = [
        made,
        rest.get(pages),
        rest.get(f"{pages}/{made.json()['id']}", headers={"if-none-match": made.headers["etag"]}),
        rest.get(f"{pages}/{ABSENT}"),
        rest.post(pages, {"slug": "No Slug"}),
        rest.post(pages, {"sulg": "second"}),
        rest.delete(f"{pages}/{made.json()['id']}"),
    ]
    assert [response.status_code for response in responses] == [201, 200, 304, 404, 422, 400, 204]
    left = [told(response) for response in responses]
    assert left == [("default", CALLS, PERIOD, left[0][3] - number) for number in range(len(left))]


def test_who_obeys_gets_every_call_and_the_next_one_is_refused(tenant: Tenant) -> None:
    pages = f"{tenant.path}/pages"
    left = use_up(tenant.rest, pages)
    assert left == list(range(len(left) - 1, -1, -1))
    assert len(left) >= CALLS - 3
    why = too_many(tenant.rest.get(pages))
    assert why.metadata == {"rate_class": "default", "limit": "30", "period_seconds": "86400", "scope": "user"}
    assert "30 calls in 86400 s" in why.message


def test_grpc_is_counted_with_rest_and_told_when_to_try_again(tenant: Tenant) -> None:
    request = ListPagesRequest(tenant_id=tenant.id)
    tenant.stubs.pages.ListPages(request)
    use_up(tenant.rest, f"{tenant.path}/pages")
    why = refused(lambda: tenant.stubs.pages.ListPages(request))
    assert (why.code, why.reason, why.metadata["scope"]) == (8, "RATE_LIMITED", "user")
    assert why.retry_after
    assert PERIOD / CALLS / 2 < why.retry_after <= PERIOD / CALLS


# Who is counted as one -----------------------------------------------------------------------------------------------


def test_users_are_counted_apart_and_the_same_user_together(tenant: Tenant) -> None:
    other, elsewhere = colleague(tenant), another_tenant(tenant)
    use_up(tenant.rest, f"{tenant.path}/pages")
    assert too_many(elsewhere.rest.get(f"{elsewhere.path}/pages")).metadata["scope"] == "user"
    assert told(Rest(tenant.stack, other.access_token).get(f"{tenant.path}/pages"))[3] > CALLS / 2


def test_everybody_in_a_tenant_is_counted_together_once_more(tenant: Tenant) -> None:
    other, elsewhere = colleague(tenant), another_tenant(tenant)
    platform = Rest(tenant.stack, administrator(tenant.stack).access_token)
    limit = {"rateClass": "tenant", "calls": 8, "periodSeconds": PERIOD}
    assert platform.put(f"admin/tenants/{tenant.id}/rate-limits", {"overrides": [limit]}).status_code == 200
    pages = f"{tenant.path}/pages"
    assert [tenant.rest.get(pages).status_code for _ in range(5)] == [200] * 5
    assert use_up(Rest(tenant.stack, other.access_token), pages) == [2, 1, 0]
    for session in (tenant.session, other):
        why = too_many(Rest(tenant.stack, session.access_token).get(pages))
        assert (why.metadata["rate_class"], why.metadata["scope"], why.metadata["limit"]) == ("tenant", "tenant", "8")
    assert elsewhere.rest.get(f"{elsewhere.path}/pages").status_code == 200


def key_of(tenant: Tenant, **facts: object) -> Rest:
    """A new API key of a tenant."""
    body = {"name": "n", "permissions": ["sites.pages.read"], **facts}
    response = tenant.rest.post(f"{tenant.path}/api-keys", body)
    assert response.status_code == 201, response.text
    return Rest(tenant.stack, response.json()["key"])


def override(where: Tenant, **limits: tuple[int, int]) -> None:
    """What the platform sets for a tenant: calls and seconds by rate class."""
    platform = Rest(where.stack, administrator(where.stack).access_token)
    overrides = [
        {"rateClass": name, "calls": calls, "periodSeconds": seconds} for name, (calls, seconds) in limits.items()
    ]
    answer = platform.put(f"admin/tenants/{where.id}/rate-limits", {"overrides": overrides})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("platform", "own", "told_of"),
    [
        ({"default": (4, PERIOD)}, 1000, ("default", 4, PERIOD, "api_key")),
        ({"default": (4, PERIOD)}, 2, ("default", 2, 60, "api_key")),
        ({"default": (50, PERIOD), "tenant": (4, PERIOD)}, 1000, ("tenant", 4, PERIOD, "tenant")),
        ({"tenant": (50, PERIOD)}, 1000, ("default", CALLS, PERIOD, "api_key")),
        # Both are used up: the one that makes the caller wait longest answers.
        ({"tenant": (2, PERIOD)}, 2, ("tenant", 2, PERIOD, "tenant")),
        ({"default": (2, PERIOD)}, 2, ("default", 2, PERIOD, "api_key")),
    ],
)
def test_of_all_limits_that_apply_the_tightest_answers(
    tenant: Tenant, platform: dict[str, tuple[int, int]], own: int, told_of: tuple[str, int, int, str]
) -> None:
    pages, key = f"{tenant.path}/pages", key_of(tenant, callsPerMinute=own)
    override(tenant, **platform)
    rate_class, calls, period, scope = told_of
    for left in range(calls - 1, -1, -1):
        answer = key.get(pages)
        assert answer.status_code == 200, answer.text
        assert told(answer)[3] == left
    answer = key.get(pages)
    why = too_many(answer)
    assert why.metadata == {
        "rate_class": rate_class, "limit": str(calls), "period_seconds": str(period), "scope": scope
    }  # fmt: skip
    assert told(answer)[:3] == (rate_class, calls, period)


def test_a_call_that_one_limit_refuses_is_charged_to_none(tenant: Tenant) -> None:
    pages, key = f"{tenant.path}/pages", key_of(tenant, callsPerMinute=2)
    override(tenant, tenant=(12, PERIOD))
    answers = [key.get(pages).status_code for _ in range(20)]
    assert answers == [200] * 2 + [429] * 18
    # Two of the tenant's are spent, and the key's own are as they were.
    left = use_up(tenant.rest, pages)
    assert left == list(range(9, -1, -1))
    override(tenant, tenant=(100, PERIOD))
    assert told(key_of(tenant).get(pages))[3] == CALLS - 1
    slower = key_of(tenant, callsPerMinute=20)
    override(tenant, tenant=(1, PERIOD))
    assert [slower.get(pages).status_code for _ in range(15)] == [200] + [429] * 14
    override(tenant)
    # One was charged to the key, and one is this one.
    assert told(slower.get(pages))[3] >= 18


def test_a_slash_64_is_one_anonymous_caller(small: Stack) -> None:
    body = {"refreshToken": "nobody's"}

    def ask(where: str) -> httpx.Response:
        return Rest(small).post("auth/refresh", body, headers={"x-forwarded-for": where})

    for networks in (("2001:db8:9:1", "2001:db8:9:2"), ("2001:db8:9:3", "2001:db8:9:4")):
        mine, neighbour = networks
        assert [told(ask(f"{mine}::{number:x}"))[3] for number in range(10)] == list(range(9, -1, -1))
        assert ask(f"{mine}:ffff:1:2:3").status_code == 429
        assert ask(f"{neighbour}::1").status_code == 401
    assert [told(ask(where))[3] for where in ("198.51.100.77", "::ffff:198.51.100.77", "198.51.100.78")] == [9, 8, 9]


def test_the_anonymous_are_counted_by_address(small: Stack) -> None:
    visitor, body = Visitor(small), {"refreshToken": "nobody's"}
    responses = [visitor.post("auth/refresh", body) for _ in range(10)]
    assert [response.status_code for response in responses] == [401] * 10
    assert [told(response) for response in responses] == [("general", 10, PERIOD, left) for left in range(9, -1, -1)]
    assert too_many(visitor.post("auth/refresh", body)).metadata["scope"] == "address"
    # What the caller itself puts in front of the proxy's word counts for nothing.
    disguised = visitor.post("auth/refresh", body, headers={"x-forwarded-for": f"{address()}, {visitor.address}"})
    assert disguised.status_code == 429
    assert Visitor(small).post("auth/refresh", body).status_code == 401


def test_an_address_has_five_logins_in_a_quarter_of_an_hour(small: Stack) -> None:
    account, _ = join(small)
    visitor, guess = Visitor(small), Account(account.email, "wrong", "")
    answers = [visitor.log_in(who) for who in (account, guess, account, guess, guess)]
    assert [told(answer) for answer in answers] == [("auth", 5, 900, left) for left in (4, 3, 2, 1, 0)]
    assert [answer.status_code for answer in answers] == [200, 401, 200, 401, 401]
    assert too_many(visitor.log_in(account)).metadata["scope"] == "address"
    assert too_many(visitor.post("auth/signup", {})).metadata["rate_class"] == "auth"
    assert Visitor(small).log_in(account).status_code == 200


# Redis killed --------------------------------------------------------------------------------------------------------


def test_limits_outlive_redis_and_nobody_guesses_passwords_while_it_is_away(small: Stack, tenant: Tenant) -> None:
    pages, visitor = f"{tenant.path}/pages", Visitor(small)
    assert [visitor.log_in(tenant.owner).status_code for _ in range(5)] == [200] * 5
    left = told(tenant.rest.get(pages))[3]
    with away(small, "redis"):
        why = Visitor(small).log_in(tenant.owner)
        assert why.status_code == 503
        assert problem(why).metadata == {"dependency": "redis"}
        assert why.headers["retry-after"] == "1"
        answers = [tenant.rest.get(pages) for _ in range(CALLS + 1)]
        assert {answer.status_code for answer in answers} == {200}
        assert not [name for answer in answers for name in answer.headers if "ratelimit" in name]
    # Each worker finds out for itself that Redis is back.
    small.wait_for(lambda: all(visitor.log_in(tenant.owner).status_code != 503 for _ in range(8)))
    assert too_many(visitor.log_in(tenant.owner)).metadata["rate_class"] == "auth"
    small.wait_for(lambda: "ratelimit" in tenant.rest.get(pages).headers)
    assert told(tenant.rest.get(pages))[3] < left
