"""`plinth login`, `logout` and `profiles`: sessions that several commands share."""

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.agents.client import key_of
from tests.clients import Rest, Tenant, new_member, reason, rows
from tests.command.running import Person
from tests.domains.identity.second_factors import secured
from tests.stack import Stack, wait_for


def test_a_session_is_kept_where_nobody_else_reads_it(person: Person, tenant: Tenant) -> None:
    person.log_in(tenant)
    assert person.answer("call", "GetCaller")["userId"] == tenant.owner.id
    file = person.folder / "config" / "plinth" / "profiles.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert tenant.owner.password not in file.read_text()


def test_an_api_key_is_a_login_too(person: Person, tenant: Tenant) -> None:
    (person.folder / "key").write_text(key_of(tenant, "sites.pages.read") + "\n")
    done = person.run("login", "--url", tenant.stack.url, "--api-key-file", "key", "--profile", "reader")
    assert done.returncode == 0, done.stderr
    assert person.answer("call", "get_caller")["permissions"] == ["sites.pages.read"]
    # A key has no session to end.
    assert person.run("logout").returncode == 0
    assert person.fault("call", "get_caller")[0] == 2


def test_a_user_with_a_second_factor_logs_in_with_a_code(person: Person, tenant: Tenant) -> None:
    user = secured(tenant.stack, new_member(tenant, "member")[0])
    (person.folder / "password").write_text(user.account.password)
    known = ("login", "--url", tenant.stack.url, "--email", user.account.email, "--password-file", "password")
    wrong = person.run(*known, "--code", "000000")
    assert (wrong.returncode, "The code is wrong" in wrong.stderr) == (6, True), wrong.stderr
    assert person.run(*known, "--code", user.code()).returncode == 0
    assert person.answer("call", "GetCaller")["userId"] == user.account.id


def test_profiles_are_listed_without_secrets_chosen_and_forgotten(person: Person, tenant: Tenant) -> None:
    person.log_in(tenant)
    person.log_in(tenant, "--profile", "other")
    shown = person.answer("profiles", "--json")
    assert [(each["name"], each["chosen"], each["tenantId"]) for each in shown] == [
        ("default", False, tenant.id),
        ("other", True, tenant.id),
    ]
    stored = person.stored["profiles"]["other"]
    table = person.run("profiles").stdout
    for secret in (stored["access_token"], stored["refresh_token"]):
        assert secret not in table + json.dumps(shown)
    assert person.run("profiles", "--use", "default").returncode == 0
    assert person.stored["chosen"] == "default"
    assert person.run("profiles", "--remove", "other").returncode == 0
    status, words = person.fault("call", "get_caller", "--profile", "other")
    assert (status, words) == (
        2,
        "plinth: there is no profile `other`: log in with `plinth login`; there are: default\n",
    )


def test_logging_out_ends_the_session_at_the_server(person: Person, tenant: Tenant) -> None:
    person.log_in(tenant)
    token = person.stored["profiles"]["default"]["access_token"]
    assert person.run("logout").returncode == 0
    assert reason(Rest(tenant.stack, token).get("auth/me")) == (401, "SESSION_ENDED")
    assert person.stored["profiles"] == {}


def test_commands_at_once_renew_a_session_once_and_none_is_signed_out(person: Person, tenant: Tenant) -> None:
    person.log_in(tenant)
    person.shorten(tenant, 60, age=3600)
    before = person.stored["profiles"]["default"]
    with (person.folder / "config" / "plinth" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        commands = [person.start("call", "get_caller") for _ in range(4)]
        # Each has read the old tokens, and waits to renew them.
        wait_for(lambda: waiting_for(os.fstat(lock.fileno()).st_ino) == len(commands))
    assert [(command.communicate()[1], command.returncode) for command in commands] == [("", 0)] * 4
    after = person.stored["profiles"]["default"]
    assert after["refresh_token"] != before["refresh_token"]
    # One has renewed them, and the others have found what it got.
    assert len(events_of(tenant, "session.refreshed")) == 1
    assert person.run("call", "get_caller").returncode == 0


def waiting_for(inode: int) -> int:
    """How many processes wait for a lock on a file (proc_locks(5))."""
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("->" in line and line.split()[6].endswith(f":{inode}") for line in lines)


def events_of(tenant: Tenant, kind: str) -> list[dict[str, Any]]:
    """The events of the tenant of a type."""
    return rows(tenant.stack, "SELECT id FROM events WHERE tenant_id = %s AND type = %s", tenant.id, kind)


@pytest.mark.parametrize("is_expired", [False, True])
def test_a_session_that_has_ended_says_what_to_do(person: Person, tenant: Tenant, *, is_expired: bool) -> None:
    person.log_in(tenant)
    token = person.stored["profiles"]["default"]["access_token"]
    assert Rest(tenant.stack, token).post("auth/logout", {}).status_code == 204
    if is_expired:
        person.shorten(tenant, 60, age=3600)
    status, words = person.fault("call", "get_caller")
    assert status == 6
    assert words.startswith("plinth: UNAUTHENTICATED SESSION_ENDED: ")
    assert "\n  log in with `plinth login`\n" in words


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ((), 2, "name a user with --email, or a file with an API key with --api-key-file"),
        (("--email", "a@example.com", "--password-file", "absent"), 2, "absent: No such file or directory"),
        (("--email", "nobody@example.com", "--password-file", "-"), 6, "UNAUTHENTICATED CREDENTIALS_INVALID: "),
        (("--api-key-file", "-"), 6, "UNAUTHENTICATED"),
    ],
)
def test_a_login_that_fails_keeps_nothing(
    person: Person, stack: Stack, options: tuple[str, ...], status: int, words: str
) -> None:
    found, line = person.fault("login", "--url", stack.url, *options, given="Wrong-1\n")
    assert found == status
    assert words in line
    assert person.answer("profiles", "--json") == []


def test_a_file_that_is_broken_is_named(person: Person, tenant: Tenant) -> None:
    person.log_in(tenant)
    for content in ("{", "[]", '{"chosen": "a", "profiles": {"a": {"nothing": 1}}}'):
        (person.folder / "config" / "plinth" / "profiles.json").write_text(content)
        status, words = person.fault("call", "get_caller")
        assert status == 2
        assert "profiles.json is no file of profiles: remove it, and log in again" in words


def test_a_script_needs_no_profile(person: Person, tenant: Tenant) -> None:
    key = key_of(tenant, "sites.pages.read")
    done = person.run("call", "GetCaller", PLINTH_CLIENT_URL=tenant.stack.url, PLINTH_CLIENT_API_KEY=key)
    assert json.loads(done.stdout)["tenantId"] == tenant.id
    # The server's commands take no offence at it.
    assert person.run("settings", PLINTH_CLIENT_URL=tenant.stack.url).returncode == 0
