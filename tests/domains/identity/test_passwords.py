"""Passwords in every form that keyboards send them in (RFC 8265), at sign-up and sign-in."""

from concurrent.futures import ThreadPoolExecutor
from unicodedata import normalize

import pytest
from argon2 import PasswordHasher

from server.domains.identity.passwords import Passwords
from tests.clients import Account, Rest, database, log_in, new_address, problem, reason, rows, sign_up
from tests.guard.locks import held
from tests.stack import Stack

COMPOSED = "Zo\u00eb-\u1e9b\u0323-7-\u00c5ngstr\u00f6m"
DECOMPOSED = normalize("NFD", COMPOSED)
PLAIN = "Correct horse 7!"
WIDE = PLAIN.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000})
# What one keyboard sends and what another does. The first of each is as it is hashed.
PAIRS = [
    (normalize("NFKC", COMPOSED), COMPOSED),
    (COMPOSED, DECOMPOSED),
    (DECOMPOSED, COMPOSED),
    (PLAIN, WIDE),
    (WIDE, PLAIN),
    (PLAIN, PLAIN.replace(" ", "\u00a0")),
    ("Offline 7! \ufb01", "Offline 7! fi"),
    ("K7!-\u212a-kelvin", "K7!-K-kelvin"),
]


@pytest.mark.parametrize(("first", "then"), PAIRS)
def test_one_password_is_the_same_in_every_form(stack: Stack, first: str, then: str) -> None:
    assert first != then
    account = sign_up(stack, password=first)
    for form in (then, first):
        assert log_in(stack, Account(account.email, form, "")).access_token
    assert not rows(stack, "SELECT 1 FROM users WHERE id = %s AND strpos(users::text, %s) > 0", account.id, first)


def test_other_passwords_are_others(stack: Stack) -> None:
    account = sign_up(stack, password=COMPOSED)
    for other in (COMPOSED.lower(), COMPOSED.replace("\u00eb", "e"), f"{COMPOSED} ", f" {COMPOSED}"):
        answer = Rest(stack).post("auth/login", {"email": account.email, "password": other})
        assert reason(answer) == (401, "CREDENTIALS_INVALID")


def test_a_hash_from_before_is_known_and_replaced_at_that_sign_in(stack: Stack) -> None:
    account = sign_up(stack)
    for raw, other in ((DECOMPOSED, COMPOSED), (WIDE, PLAIN)):
        older = PasswordHasher(time_cost=2, memory_cost=stack.settings.password_memory, parallelism=1).hash(raw)
        with database(stack) as connection:
            connection.execute("UPDATE users SET password_hash = %s WHERE id = %s", (older, account.id))
        answer = Rest(stack).post("auth/login", {"email": account.email, "password": other})
        assert reason(answer) == (401, "CREDENTIALS_INVALID")
        assert log_in(stack, Account(account.email, raw, "")).access_token
        [stored] = rows(stack, "SELECT password_hash FROM users WHERE id = %s", account.id)
        assert stored["password_hash"] != older
        for form in (other, raw):
            assert log_in(stack, Account(account.email, form, "")).access_token


def test_a_password_that_is_changed_while_it_is_checked_opens_nothing(stack: Stack) -> None:
    account = sign_up(stack)
    with (
        ThreadPoolExecutor(1) as pool,
        held(stack, "UPDATE users SET password_hash = 'another' WHERE id = %s", account.id) as change,
    ):
        credentials = {"email": account.email, "password": account.password}
        answer = pool.submit(Rest(stack).post, "auth/login", credentials)
        # Others may wait for what the call holds.
        stack.wait_for(change.waiting)
        change.commit()
        assert reason(answer.result()) == (401, "CREDENTIALS_INVALID")


@pytest.mark.parametrize(
    ("password", "rules"),
    [
        # 7 characters that are 11 code points; 183 and 201 that are 13 and 14; 200 and 201 that are 397 and 399.
        ("A1!" + "e\u0301" * 4, {"string.min_len"}),
        ("A1!" + "\ufdfa" * 10, set()),
        ("A1!" + "\ufdfa" * 11, {"string.max_len"}),
        ("A1!" + "e\u0301" * 197, set()),
        ("A1!" + "e\u0301" * 198, {"string.max_len"}),
        ("A1!" + "e" * 198, {"string.max_len"}),
        # Wide letters and digits are letters and digits.
        ("\uff21\uff11\uff01aaaaa", set()),
        ("\uff41\uff41\uff41\uff41aaaaa", {"password.upper", "password.digit", "password.special"}),
        ("\uff30\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff11\uff01", {"password.common"}),
    ],
)
def test_rules_count_the_form_that_is_hashed(stack: Stack, password: str, rules: set[str]) -> None:
    email = new_address()
    answer = Rest(stack).post("auth/signup", {"email": email, "password": password})
    assert answer.status_code == (422 if rules else 201), answer.text
    if rules:
        assert set(problem(answer).rules) == rules
        return
    for form in (password, *(normalize(name, password) for name in ("NFC", "NFD", "NFKC", "NFKD"))):
        assert log_in(stack, Account(email, form, "")).access_token


class Counting(Passwords):
    """Counts the hashes that are computed."""

    def __init__(self) -> None:
        super().__init__(8)
        self.computed = 0

    def _is(self, stored: str | None, form: str) -> bool:
        self.computed += 1
        return super()._is(stored, form)


@pytest.mark.parametrize("password", [PLAIN, COMPOSED, DECOMPOSED, WIDE])
def test_a_wrong_password_takes_as_many_hashes_whoever_it_is(password: str) -> None:
    """How many tells nothing of the user: whether there is one, and how the right password was hashed."""
    counted = set()
    for right in ("another", DECOMPOSED + "x"):
        for stored in (None, Passwords(8).hash(right), PasswordHasher(memory_cost=8, parallelism=1).hash(right)):
            passwords = Counting()
            assert passwords.sign_in(stored, password) is None
            counted.add(passwords.computed)
    assert len(counted) == 1
