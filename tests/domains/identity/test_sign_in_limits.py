"""Failures to sign in at a worker with small limits beside the shared stack, called past the gateway.

What the gateway adds, and what takes many calls, is in test_sign_in_guard.py.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from plinth.identity.v1.auth_pb2 import LogInRequest

from server.domains.identity.sign_in_guard import SignInGuard
from server.kernel.guard import Guesses, LimitsAway, RateLimiter
from server.kernel.guard.limits import Grant
from server.kernel.rates import Rate
from tests.clients import Account, Tenant, new_tenant, refused, sign_up, stubs
from tests.domains.identity.test_sign_in_entries import listed
from tests.guard import crowded_worker
from tests.guard.workers import Worker, running
from tests.kernel import calls
from tests.limits.guesses import assert_refused_after
from tests.limits.people import address
from tests.stack import UNLIMITED, Stack

# Of an address; an account has twice as many, and none comes back while a test runs.
FAILURES = 3
WRONG, TOO_MANY, BLOCKED = "CREDENTIALS_INVALID", "RATE_LIMITED", "ADDRESS_BLOCKED"


@pytest.fixture(scope="module")
def strict(stack: Stack) -> Iterator[Worker]:
    """The worker."""
    limits = UNLIMITED | {"auth_failure": f"{FAILURES}/20000"}
    with running(crowded_worker.__name__, stack, rate_limits=limits) as program:
        assert program.hear() == "ready"
        yield Worker(stack, crowded_worker.NAME)


def guess(worker: Worker, account: Account, where: str, password: str = "") -> str:
    """What a wrong password is answered; another one each time, unless one is given."""
    metadata = {"x-envoy-external-address": where} if where else {}
    request = LogInRequest(email=account.email, password=password or secrets.token_hex(8))
    return refused(lambda: stubs(worker, **metadata).auth.LogIn(request)).reason


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """A tenant of somebody new, at whose account others guess."""
    return new_tenant(stack)


def test_guesses_at_an_account_are_refused_wherever_they_come_from_and_its_tenants_learn_of_it(
    strict: Worker, tenant: Tenant
) -> None:
    answers = [guess(strict, tenant.owner, address()) for _ in range(2 * FAILURES + 2)]
    assert_refused_after(2 * FAILURES, answers, WRONG, TOO_MANY)
    told = "method = 'plinth.identity.v1.AuthService/LogIn' AND outcome = 'RESOURCE_EXHAUSTED'"
    tenant.stack.wait_for(lambda: listed(tenant, told))
    entries = listed(tenant, told)
    assert {(entry["reason"], entry["resourceId"]) for entry in entries} == {(TOO_MANY, tenant.owner.id)}


def test_an_address_that_guesses_at_many_accounts_is_blocked(strict: Worker, tenant: Tenant) -> None:
    where, owner = address(), tenant.owner
    others = [sign_up(tenant.stack) for _ in range(2)]
    answers = [guess(strict, account, where) for account in (owner, *others, owner, *others)]
    assert_refused_after(FAILURES + 1, answers, WRONG, BLOCKED)
    assert guess(strict, owner, address()) == WRONG


def test_failures_inside_the_deployment_are_nobody_s(strict: Worker, tenant: Tenant) -> None:
    """Nobody vouches for an address there, and its callers are our own."""
    for password in ("", "Old-Password-1"):
        answers = [guess(strict, tenant.owner, "", password) for _ in range(3 * FAILURES)]
        assert answers == [WRONG] * (3 * FAILURES)
    assert guess(strict, tenant.owner, address()) == WRONG


class Away:
    """Redis that does not answer."""

    def lease(self, *_: Any, **__: Any) -> Grant:
        raise LimitsAway

    def add(self, *_: Any, **__: Any) -> bool:
        raise LimitsAway


def test_while_redis_is_away_an_attempt_is_let_through_uncharged() -> None:
    """Whether anybody may sign in meanwhile is decided before, by whether the class `auth` is strict."""
    failures, limiter = Rate(FAILURES, 20000.0), RateLimiter(Away())
    guard = SignInGuard(limiter, Guesses(limiter, failures, Away(), b"key"), failures)
    one = calls.call(calls.SIGN_UP, calls.Context(x_envoy_external_address=address()))
    for _ in range(3 * FAILURES):
        attempt = guard.admit(one, "ada@example.com", None)
        assert attempt.verdict is None
        guard.failed(attempt, "wrong")
