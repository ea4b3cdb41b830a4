"""What users do with their accounts: the address, the password, the sessions. The mail goes over real SMTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.clients import (
    Account,
    Rest,
    Session,
    Tenant,
    database,
    log_in,
    new_address,
    new_password,
    new_tenant,
    problem,
    reason,
    rows,
    sign_up,
)
from tests.domains.identity.letters import RESET, VERIFY, letters, token_from, wait_for_letter
from tests.mailbox import mailbox_of
from tests.stack import Stack, wait_for

CHANGED, REPEATED, REUSED = (
    *("Your password was changed", "You have an account already"),
    "A session of yours was ended",
)


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def verified(stack: Stack, session: Session) -> str | None:
    """When the address of a user was verified."""
    time: str | None = Rest(stack, session.access_token).get("auth/me").json()["user"].get("emailVerifyTime")
    return time


def alive(stack: Stack, session: Session) -> bool:
    return Rest(stack, session.access_token).get("auth/me").status_code == 200


def settled(stack: Stack, request_id: str) -> None:
    """Wait until the letter is written that a call has asked for; to nobody, for an unknown address."""
    asked = rows(stack, "SELECT resource_id FROM events WHERE request_id = %s", request_id)
    question = """SELECT count(*) AS n FROM procrastinate_jobs
                   WHERE task_name = 'identity.send_letter' AND args->>'user_id' = %s AND status IN ('todo', 'doing')"""
    wait_for(lambda: rows(stack, question, asked[0]["resource_id"])[0]["n"] == 0)


# The address ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["GET", "POST"])
def test_a_link_verifies_the_address(stack: Stack, door: str) -> None:
    account = sign_up(stack)
    session = log_in(stack, account)
    assert verified(stack, session) is None
    token = token_from(stack, account.email, VERIFY)
    rest = Rest(stack)

    def follow() -> httpx.Response:
        if door == "GET":
            return rest.get(f"auth/verify-email/{token}")
        return rest.post("auth/verify-email", {"token": token})

    first = follow()
    assert first.status_code == 200, first.text
    assert first.json()["email"] == account.email
    assert first.headers["cache-control"] == "no-store"
    time = verified(stack, session)
    assert time is not None
    # Readers of mail follow links before a person does.
    assert follow().json()["emailVerifyTime"] == time
    told = rows(
        stack, "SELECT count(*) AS n FROM events WHERE type = 'user.email_verified' AND resource_id = %s", account.id
    )
    assert told[0]["n"] == 1


def test_the_link_leads_where_it_is_answered(stack: Stack) -> None:
    account = sign_up(stack)
    text = wait_for_letter(stack, account.email, VERIFY)
    (link,) = [line for line in text.splitlines() if line.startswith("http")]
    assert httpx.get(link, trust_env=False, timeout=30).status_code == 200


@pytest.mark.parametrize("token", ["x", "A" * 43, "../../" * 5])
def test_a_foreign_token_verifies_nothing(stack: Stack, token: str) -> None:
    refused = Rest(stack).post("auth/verify-email", {"token": token})
    assert refused.status_code == 422
    assert problem(refused).rules == ("token.invalid",)


def test_a_token_is_good_for_its_purpose_its_address_and_its_time(stack: Stack) -> None:
    account = sign_up(stack)
    token = token_from(stack, account.email, VERIFY)
    rest = Rest(stack)
    body = {"token": token, "password": new_password()}
    assert problem(rest.post("auth/reset-password", body)).rules == ("token.invalid",)
    with database(stack) as connection:
        connection.execute("UPDATE users SET email = %s WHERE id = %s", (new_address(), account.id))
    assert problem(rest.post("auth/verify-email", {"token": token})).rules == ("token.invalid",)
    with database(stack) as connection:
        connection.execute("UPDATE users SET email = %s WHERE id = %s", (account.email, account.id))
        connection.execute("UPDATE account_letters SET expire_time = now() WHERE user_id = %s", (account.id,))
    assert problem(rest.post("auth/verify-email", {"token": token})).rules == ("token.invalid",)


def test_the_mail_comes_again_until_the_address_is_verified(stack: Stack) -> None:
    account = sign_up(stack)
    first = token_from(stack, account.email, VERIFY)
    rest = Rest(stack)
    assert rest.post("auth/resend-verification", {"email": account.email.upper()}).status_code == 204
    second = token_from(stack, account.email, VERIFY, 2)
    assert second != first
    assert rest.post("auth/verify-email", {"token": first}).status_code == 200
    third = rest.post("auth/resend-verification", {"email": account.email})
    assert third.status_code == 204
    settled(stack, third.headers["x-request-id"])
    assert len(letters(stack, account.email, VERIFY)) == 2


def test_nobody_fills_the_mailbox_of_another(stack: Stack) -> None:
    account = sign_up(stack)
    for _ in range(8):
        again = {"email": account.email, "password": new_password()}
        assert Rest(stack).post("auth/signup", again).status_code == 201
        last = Rest(stack).post("auth/forgot-password", {"email": account.email})
        assert last.status_code == 204
    settled(stack, last.headers["x-request-id"])
    question = "SELECT kind, count(*) AS n FROM account_letters WHERE user_id = %s GROUP BY kind ORDER BY kind"
    assert {row["kind"]: row["n"] for row in rows(stack, question, account.id)} == {1: 1, 2: 5, 4: 5}
    wait_for(lambda: len(letters(stack, account.email, RESET)) == 5)
    wait_for_letter(stack, account.email, REPEATED, 5)


@pytest.mark.parametrize("path", ["auth/forgot-password", "auth/resend-verification"])
def test_an_unknown_address_is_answered_alike(stack: Stack, path: str) -> None:
    known, unknown = sign_up(stack).email, new_address()
    answers = [Rest(stack).post(path, {"email": email}) for email in (known, unknown)]
    first, second = ((each.status_code, each.content, set(each.headers) - {"date"}) for each in answers)
    assert first == second
    assert first[0] == 204
    settled(stack, answers[1].headers["x-request-id"])
    assert not mailbox_of(stack).to(unknown)


# The password --------------------------------------------------------------------------------------------------------


def test_a_forgotten_password_is_replaced_once(stack: Stack) -> None:
    account = sign_up(stack)
    sessions = [log_in(stack, account) for _ in range(2)]
    rest = Rest(stack)
    assert rest.post("auth/forgot-password", {"email": account.email}).status_code == 204
    token = token_from(stack, account.email, RESET)
    assert problem(rest.post("auth/reset-password", {"token": token, "password": "Password1!"})).rules == (
        "password.common",
    )
    password = new_password()
    done = rest.post("auth/reset-password", {"token": token, "password": password})
    assert done.status_code == 204, done.text
    assert not any(alive(stack, session) for session in sessions)
    refreshed = rest.post("auth/refresh", {"refreshToken": sessions[0].refresh_token})
    assert reason(refreshed) == (401, "SESSION_ENDED")
    old = {"email": account.email, "password": account.password}
    assert reason(rest.post("auth/login", old)) == (401, "CREDENTIALS_INVALID")
    assert verified(stack, log_in(stack, Account(account.email, password, account.id))) is not None
    again = rest.post("auth/reset-password", {"token": token, "password": new_password()})
    assert problem(again).rules == ("token.invalid",)
    wait_for_letter(stack, account.email, CHANGED)


def test_a_token_is_used_once_in_parallel(stack: Stack) -> None:
    account = sign_up(stack)
    Rest(stack).post("auth/forgot-password", {"email": account.email})
    token = token_from(stack, account.email, RESET)
    passwords = [new_password() for _ in range(8)]

    def reset(password: str) -> int:
        return Rest(stack).post("auth/reset-password", {"token": token, "password": password}).status_code

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(reset, passwords))
    assert sorted(answers) == [204, *[422] * 7]
    log_in(stack, Account(account.email, passwords[answers.index(204)], account.id))


def test_tokens_are_nowhere_in_clear(stack: Stack) -> None:
    account = sign_up(stack)
    Rest(stack).post("auth/forgot-password", {"email": account.email})
    tokens = [token_from(stack, account.email, subject) for subject in (VERIFY, RESET)]
    ended = "SELECT count(*) AS n FROM email_messages WHERE user_id = %s AND secret IS NULL"
    wait_for(lambda: rows(stack, ended, account.id)[0]["n"] == 2)
    stored = [
        str(row)
        for table in ("email_messages", "account_letters", "events", "audit_entries", "procrastinate_jobs")
        for row in rows(stack, f"SELECT t::text FROM {table} AS t WHERE t::text LIKE %s", f"%{account.id}%")
    ]
    assert stored
    logs = "".join(path.read_text() for path in (stack.data_dir / "logs").glob("*.log"))
    for token in tokens:
        assert not [row for row in stored if token in row or token.encode().hex() in row]
        assert token not in logs


def test_changing_the_password_ends_the_other_sessions(stack: Stack) -> None:
    account = sign_up(stack)
    here, there = log_in(stack, account), log_in(stack, account)
    rest, password = Rest(stack, here.access_token), new_password()
    wrong = rest.put(f"users/{account.id}/password", {"currentPassword": "Wrong-1234", "newPassword": password})
    assert problem(wrong).rules == ("password.wrong",)
    body = {"currentPassword": account.password, "newPassword": password}
    stranger = sign_up(stack)
    assert rest.put(f"users/{stranger.id}/password", body).status_code == 404
    assert alive(stack, there)
    assert rest.put(f"users/{account.id}/password", body).status_code == 204
    assert alive(stack, here)
    assert not alive(stack, there)
    log_in(stack, Account(account.email, password, account.id))
    wait_for_letter(stack, account.email, CHANGED)


@pytest.mark.parametrize("password", ["short1!A"[:7], "no-upper-case-1", "No-Digit-Here", "NoSign1234", "Password1!"])
def test_every_door_holds_passwords_to_the_same_rules(stack: Stack, password: str) -> None:
    account = sign_up(stack)
    session = log_in(stack, account)
    Rest(stack).post("auth/forgot-password", {"email": account.email})
    token = token_from(stack, account.email, RESET)
    bodies: dict[str, dict[str, Any]] = {
        "auth/signup": {"email": new_address(), "password": password},
        "auth/reset-password": {"token": token, "password": password},
        "auth/change-password": {"currentPassword": account.password, "newPassword": password},
    }
    told = {path: problem(Rest(stack, session.access_token).post(path, body)).rules for path, body in bodies.items()}
    assert len(set(told.values())) == 1
    assert all(told.values())


def test_a_sign_in_with_the_old_password_does_not_bring_it_back(stack: Stack) -> None:
    """One that has read the old hash before the change, and writes after it."""
    account = sign_up(stack)
    Rest(stack).post("auth/forgot-password", {"email": account.email})
    token, password = token_from(stack, account.email, RESET), new_password()
    old = {"email": account.email, "password": account.password}

    def sign_in(number: int) -> httpx.Response:
        if number == 20:
            return Rest(stack).post("auth/reset-password", {"token": token, "password": password})
        return Rest(stack).post("auth/login", old)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(sign_in, range(60)))
    assert answers.pop(20).status_code == 204
    assert {answer.status_code for answer in answers} == {200, 401}
    assert not any(alive(stack, Session.of(answer)) for answer in answers if answer.status_code == 200)
    assert reason(Rest(stack).post("auth/login", old)) == (401, "CREDENTIALS_INVALID")
    log_in(stack, Account(account.email, password, account.id))


# The profile ---------------------------------------------------------------------------------------------------------


def test_who_is_signed_in_changes_their_names(stack: Stack) -> None:
    account = sign_up(stack, firstName="Ada", lastName="Byron")
    rest = Rest(stack, log_in(stack, account).access_token)
    for body, names in (
        ({"lastName": "Lovelace"}, ("Ada", "Lovelace")),
        ({}, ("Ada", "Lovelace")),
        ({"firstName": "", "lastName": "Lovelace"}, ("", "Lovelace")),
    ):
        answer = rest.put("auth/profile", body)
        assert answer.status_code == 200, answer.text
        user = rest.get("auth/me").json()["user"]
        assert (user["firstName"], user["lastName"]) == names
        assert answer.json() == user
    question = "SELECT count(*) AS n FROM events WHERE type = 'user.profile_updated' AND resource_id = %s"
    assert rows(stack, question, account.id)[0]["n"] == 2
    assert problem(rest.patch("auth/profile", {"lastName": "x" * 201})).violations
    for foreign in ("email", "isPlatform", "roles", "id"):
        assert reason(rest.patch("auth/profile", {foreign: "x"})) == (400, "UNKNOWN_FIELD")


# Sessions ------------------------------------------------------------------------------------------------------------


def test_sessions_are_listed_and_ended(stack: Stack) -> None:
    account = sign_up(stack)
    here, there, elsewhere = (log_in(stack, account) for _ in range(3))
    rest = Rest(stack, here.access_token)
    listed = rest.get("auth/sessions").json()["sessions"]
    assert [each["isCurrent"] for each in listed] == [False, False, True]
    assert listed == rest.get("sessions").json()["sessions"]
    assert all(each["userAgent"].startswith("python-httpx/") and each["ip"] for each in listed)
    assert rest.delete(f"auth/sessions/{listed[1]['id']}").status_code == 204
    assert [alive(stack, each) for each in (here, there, elsewhere)] == [True, False, True]
    assert rest.delete(f"sessions/{listed[1]['id']}").status_code == 404
    assert rest.delete("auth/sessions").status_code == 204
    assert [alive(stack, each) for each in (here, there, elsewhere)] == [True, False, False]
    assert [each["id"] for each in rest.get("auth/sessions").json()["sessions"]] == [listed[2]["id"]]


def test_a_session_tells_its_device_and_place(stack: Stack) -> None:
    account = sign_up(stack)
    browser = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
    body = {"email": account.email, "password": account.password}
    token = Rest(stack).request("POST", "auth/login", json=body, headers=browser).json()["accessToken"]
    (session,) = Rest(stack, token).get("auth/sessions").json()["sessions"]
    assert (session["device"], session["place"]) == ("Firefox on Linux", "Madrid, Spain")


def test_nobody_ends_the_session_of_another(stack: Stack, tenant: Tenant) -> None:
    mine = tenant.rest.get("auth/sessions").json()["sessions"]
    stranger = Rest(stack, log_in(stack, sign_up(stack)).access_token)
    assert stranger.delete(f"auth/sessions/{mine[0]['id']}").status_code == 404
    assert stranger.delete("auth/sessions").status_code == 204
    assert tenant.rest.get("auth/me").status_code == 200


def test_a_stolen_refresh_token_is_told_to_its_owner(stack: Stack) -> None:
    account = sign_up(stack)
    session = log_in(stack, account)
    tokens = [session.refresh_token]
    for _ in range(3):
        answer = Rest(stack).post("auth/refresh", {"refreshToken": tokens[-1]})
        tokens.append(answer.json()["refreshToken"])
    assert reason(Rest(stack).post("auth/refresh", {"refreshToken": tokens[0]})) == (401, "REFRESH_TOKEN_REUSED")
    assert reason(Rest(stack).post("auth/refresh", {"refreshToken": tokens[-1]})) == (401, "SESSION_ENDED")
    wait_for_letter(stack, account.email, REUSED)
