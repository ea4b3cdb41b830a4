"""Guesses at one account: few from however many addresses, while its owner signs in from where they have been."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import httpx
import pytest
from plinth.identity.v1.auth_pb2 import LogInRequest

from tests.clients import Account, Rest, database, problem, reason, rows, sign_up, stubs
from tests.limits.guesses import assert_refused_after
from tests.limits.people import address
from tests.stack import UNLIMITED, Stack

pytestmark = pytest.mark.heavy

# Of an address; an account has twice as many, and none comes back while a test runs.
FAILURES = 5
WRONG, TOO_MANY = (401, "CREDENTIALS_INVALID"), (429, "RATE_LIMITED")
NUMBERS = count(1)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Stack]:
    """A stack behind a proxy, which says in X-Forwarded-For who calls."""
    limits = UNLIMITED | {"auth_failure": f"{FAILURES}/20000"}
    stack = Stack(trusted_proxies=1, api_workers=2, rate_limits=limits, redis_timeout=5)
    try:
        yield stack.start()
    finally:
        stack.remove()


def log_in(stack: Stack, account: Account, where: str, password: str = "") -> httpx.Response:
    body = {"email": account.email, "password": password or account.password}
    return Rest(stack).post("auth/login", body, headers={"x-forwarded-for": where})


def guess(stack: Stack, account: Account, where: str) -> tuple[int, str]:
    """What a wrong password is answered."""
    return reason(log_in(stack, account, where, secrets.token_hex(8)))


def besiege(stack: Stack, account: Account) -> None:
    """Guess from ever new networks until no guess is taken."""
    answers = [guess(stack, account, address()) for _ in range(2 * FAILURES + 3)]
    assert_refused_after(2 * FAILURES, answers, WRONG, TOO_MANY)


def test_guesses_from_many_addresses_are_counted_by_account(guarded: Stack) -> None:
    account, other = sign_up(guarded), sign_up(guarded)
    besiege(guarded, account)
    answer = log_in(guarded, account, address())
    assert reason(answer) == TOO_MANY
    why = problem(answer).metadata
    assert why == {
        "rate_class": "auth_failure", "limit": str(2 * FAILURES), "period_seconds": "80000", "scope": "account"
    }  # fmt: skip
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert int(answer.headers["retry-after"]) > 60
    assert log_in(guarded, other, address()).status_code == 200


def test_the_form_of_an_address_is_no_new_account(guarded: Stack) -> None:
    account = sign_up(guarded)
    forms = [account.email.upper(), f" {account.email}"] * (FAILURES + 1)
    answers = [guess(guarded, replace(account, email=form), address()) for form in forms]
    assert_refused_after(2 * FAILURES, answers, WRONG, TOO_MANY)


def test_an_account_that_is_none_is_refused_alike(guarded: Stack) -> None:
    besiege(guarded, Account(f"nobody-{secrets.token_hex(4)}@example.com", "x", ""))


@pytest.mark.parametrize(
    ("home", "again"),
    [
        ("203.0.113.{}", "::ffff:203.0.113.{}"),
        ("2001:db8:77:{}::1", "2001:db8:77:{}:ffff::2"),
    ],
)
def test_the_owner_signs_in_from_where_they_have_been(guarded: Stack, home: str, again: str) -> None:
    account, number = sign_up(guarded), next(NUMBERS)
    first = log_in(guarded, account, home.format(number))
    assert first.status_code == 200
    besiege(guarded, account)
    for _ in range(3 * FAILURES):
        assert log_in(guarded, account, again.format(number)).status_code == 200
    # A session goes on from anywhere.
    body = {"refreshToken": first.json()["refreshToken"]}
    assert Rest(guarded).post("auth/refresh", body, headers={"x-forwarded-for": address()}).status_code == 200
    metadata = {"x_forwarded_for": home.format(number)}
    request = {"email": account.email, "password": account.password}
    assert stubs(guarded, **metadata).auth.LogIn(LogInRequest(**request)).access_token


def test_a_network_that_is_known_has_a_budget_of_its_own(guarded: Stack) -> None:
    account, home = sign_up(guarded), address()
    assert log_in(guarded, account, home).status_code == 200
    assert [guess(guarded, account, home) for _ in range(FAILURES)] == [WRONG] * FAILURES
    besiege(guarded, account)
    assert log_in(guarded, account, home).status_code == 200


def test_a_password_that_a_device_remembers_counts_once(guarded: Stack) -> None:
    account, home = sign_up(guarded), address()
    assert log_in(guarded, account, home).status_code == 200
    for where in (home, address()):
        answers = [reason(log_in(guarded, account, where, "Old-Password-1")) for _ in range(3 * FAILURES)]
        assert answers == [WRONG] * (3 * FAILURES)
        assert log_in(guarded, account, where).status_code == 200


def test_who_succeeds_is_charged_nothing(guarded: Stack) -> None:
    account = sign_up(guarded)
    for _ in range(2 * FAILURES + 2):
        assert log_in(guarded, account, address()).status_code == 200
    besiege(guarded, account)


def test_a_network_is_forgotten_after_a_while(guarded: Stack) -> None:
    account, home = sign_up(guarded), address()
    assert log_in(guarded, account, home).status_code == 200
    with database(guarded) as connection:
        connection.execute(
            "UPDATE sign_in_networks SET last_time = now() - interval '91 days' WHERE user_id = %s", (account.id,)
        )
    besiege(guarded, account)
    assert reason(log_in(guarded, account, home)) == TOO_MANY


def test_few_networks_are_kept_of_a_user_the_latest_ones(guarded: Stack) -> None:
    account = sign_up(guarded)
    with database(guarded) as connection:
        connection.execute(
            "INSERT INTO sign_in_networks (user_id, network, last_time)"
            " SELECT %s, '10.0.0.' || n, now() - n * interval '1 day' FROM generate_series(1, 60) n",
            (account.id,),
        )
        connection.execute(
            "INSERT INTO sign_in_networks (user_id, network, last_time)"
            " VALUES (%s, '10.1.0.1', now() - interval '91 days')",
            (account.id,),
        )
    assert log_in(guarded, account, address()).status_code == 200
    kept = rows(guarded, "SELECT network FROM sign_in_networks WHERE user_id = %s", account.id)
    assert len(kept) == 50
    assert {f"10.0.0.{number}" for number in range(1, 50)} < {row["network"] for row in kept}
