"""The command `plinth`, run as people run it: what it says when it cannot do what it should, and how it ends."""

import fcntl
import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from server.data.schema import MIGRATION_LOCK
from server.faults import MENDABLE, NO_POSTGRESQL, NO_REDIS, NOT_LOOKED
from server.kernel.roles import BUILT_IN_ROLES
from tests.clients import unique
from tests.embedded.engines import OWNER, PASSWORD, Cluster, password_redis, postgresql
from tests.stack import LITTLE, free_of_settings, make_folder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
# A process of Python's own name for "somebody stopped reading", as shells tell it.
PIPE_CLOSED = 141
SECRET = "a secret that is long enough for any deployment"
TRACEBACK = "Traceback (most recent call last)"
PATIENCE = 400


def started(*arguments: str, folder: Path, **settings: str) -> "subprocess.Popen[str]":
    """A command that runs; settings are variables of its environment."""
    own = {"PLINTH_DATA_DIR": str(folder), "PLINTH_METRICS_PORT": "0", "PLINTH_PASSWORD_MEMORY": str(LITTLE)}
    return subprocess.Popen(
        [sys.executable, "-m", "server", *arguments],
        env=free_of_settings(dict(os.environ)) | own | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command that ends by itself."""
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, output, errors


def refusal(*arguments: str, folder: Path, **settings: str) -> str:
    """The only line that a command says, which fails for what a person has to mend."""
    return refusal_with(MENDABLE, *arguments, folder=folder, **settings)


def refusal_with(status: int, *arguments: str, folder: Path, **settings: str) -> str:
    """The only line that a command says, which fails with this status."""
    ended, output, errors = outcome(started(*arguments, folder=folder, **settings))
    lines = (output + errors).splitlines()
    assert ended == status, lines
    assert len(lines) == 1, lines
    assert TRACEBACK not in lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = make_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    with postgresql(folder) as made:
        yield made


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A data folder whose stack does not run."""
    return tmp_path / "data"


# Several at once ------------------------------------------------------------------------------------------------------


def run_at_once(commands: list["subprocess.Popen[str]"]) -> None:
    try:
        outcomes = [outcome(command) for command in commands]
    finally:
        for command in commands:
            command.kill()
    assert [status for status, _, _ in outcomes] == [0] * len(outcomes), [errors for *_, errors in outcomes]


def test_eight_migrations_at_once_all_succeed_round_after_round(cluster: Cluster, nowhere: Path) -> None:
    for _ in range(2):
        url = cluster.add_database(unique("fresh"))
        settings = {"DATABASE_URL": url, "PLINTH_SECRET_KEY": SECRET}
        run_at_once([started("migrate", folder=nowhere, **settings) for _ in range(8)])
    # Once more on a schema that is there, where nothing but logins and grants is left to do.
    run_at_once([started("migrate", folder=nowhere, **settings) for _ in range(8)])


def test_two_databases_of_one_cluster_that_share_their_roles_are_migrated_at_once(
    cluster: Cluster, nowhere: Path
) -> None:
    runtime, dispatch = unique("app"), unique("events")
    for role in (runtime, dispatch):
        cluster.add_role(role, "NOINHERIT")
    names = [unique("fresh") for _ in range(2)]
    given = [
        {
            "DATABASE_URL": cluster.add_database(name),
            "DATABASE_RUNTIME_URL": cluster.url(name, runtime),
            "DATABASE_DISPATCH_URL": cluster.url(name, dispatch),
            "PLINTH_SECRET_KEY": SECRET,
        }
        for name in names
    ]
    made = [{"DATABASE_URL": cluster.url(name), "PLINTH_SECRET_KEY": SECRET} for name in names]
    run_at_once([started("migrate", folder=nowhere, **settings) for settings in (*given, *made) * 2])


def test_seeds_at_once_tell_the_same_login(cluster: Cluster, nowhere: Path) -> None:
    settings = {"DATABASE_URL": cluster.add_database(unique("fresh")), "PLINTH_SECRET_KEY": SECRET}
    run_at_once([started("migrate", folder=nowhere, **settings)])
    outcomes = [outcome(one) for one in [started("seed", folder=nowhere, **settings) for _ in range(4)]]
    logins = [json.loads(output) for status, output, errors in outcomes if status == 0 and not errors]
    assert len(logins) == len(outcomes), outcomes
    assert all(login == logins[0] and login["tenant_id"] for login in logins)


def test_a_seed_adds_somebody_in_every_role_once_and_only_who_was_never_there(cluster: Cluster, nowhere: Path) -> None:
    name = unique("fresh")
    settings = {"DATABASE_URL": cluster.add_database(name), "PLINTH_SECRET_KEY": SECRET}
    run_at_once([started("migrate", folder=nowhere, **settings)])
    members = "SELECT email, roles, password_hash FROM memberships JOIN users ON users.id = user_id ORDER BY email"
    found = []
    for _ in range(2):
        status, output, errors = outcome(started("seed", folder=nowhere, **settings))
        assert (status, errors) == (0, "")
        with psycopg.connect(cluster.administrator(name)) as connection:
            found.append(connection.execute(members).fetchall())
            # Of two who leave, one is not there at all, as in deployments from before.
            connection.execute("DELETE FROM memberships USING users WHERE id = user_id AND email LIKE 'viewer@%'")
            connection.execute("DELETE FROM users WHERE email LIKE 'editor@%'")
    people = json.loads(output)["people"].split()
    assert [(email, roles) for email, roles, _ in found[0]] == [
        (f"{role}@plinth.example", [role]) for role in sorted(BUILT_IN_ROLES)
    ]
    assert {*people, "owner@plinth.example"} == {email for email, _, _ in found[0]}
    assert [email for email, _, _ in found[1]] == [
        f"{role}@plinth.example" for role in sorted(BUILT_IN_ROLES) if role != "viewer"
    ]


def test_a_migration_waits_in_bounds_and_names_who_it_waits_for(cluster: Cluster, nowhere: Path) -> None:
    name = unique("fresh")
    url = cluster.add_database(name)
    with psycopg.connect(cluster.administrator(name)) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        process = holder.info.backend_pid
        status, _, errors = outcome(
            started("migrate", "--wait", "0.5", folder=nowhere, DATABASE_URL=url, PLINTH_SECRET_KEY=SECRET)
        )
    assert status == 1
    waiting, given_up = errors.splitlines()
    who = f"plinth: another process (PostgreSQL's {process})"
    assert waiting == f"{who} is migrating this database; waiting for it, up to 0.5 s"
    assert given_up.startswith(f"{who} has been migrating this database for more than 0.5 s.")


# What is wrong, in one line -------------------------------------------------------------------------------------------

COMMANDS = (("migrate",), ("seed",), ("audit", "verify"), ("serve",), ("realtime",))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_stack_a_command_says_how_to_start_it(command: tuple[str, ...], nowhere: Path) -> None:
    line = refusal_with(NO_POSTGRESQL, *command, folder=nowhere)
    assert line.startswith(f"plinth: the embedded PostgreSQL of {nowhere} does not run")
    assert "`make up`" in line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_that_cannot_be_reached_is_named_with_its_setting(command: tuple[str, ...], nowhere: Path) -> None:
    url = f"postgresql://{OWNER}:{PASSWORD}@127.0.0.1:1/plinth"
    line = refusal_with(NO_POSTGRESQL, *command, folder=nowhere, DATABASE_URL=url)
    assert line == "plinth: DATABASE_URL: 127.0.0.1:1 cannot be reached: Connection refused"


def test_what_postgresql_refuses_is_one_line_with_the_setting(cluster: Cluster, nowhere: Path) -> None:
    name, meek, lost = unique("fresh"), unique("meek"), unique("lost")
    cluster.add_database(name)
    cluster.add_role(meek)
    own = cluster.add_database(unique("fresh"), meek)
    cases = {
        cluster.url(name, password="wrongword"): f'password authentication failed for user "{OWNER}"',
        cluster.url(name, user=lost): f'password authentication failed for user "{lost}"',
        cluster.url(lost): f'database "{lost}" does not exist',
        cluster.url(name, meek): "permission denied for schema public",
        own: "permission denied to create role: give its user CREATEROLE, or make two roles yourself and name them in "
        "DATABASE_RUNTIME_URL and DATABASE_DISPATCH_URL",
        f"postgresql://{OWNER}:{PASSWORD}@no-such-host.invalid/x": "no-such-host.invalid:5432 cannot be reached: ",
    }
    for url, text in cases.items():
        status = NO_POSTGRESQL if "cannot be reached" in text else MENDABLE
        line = refusal_with(status, "migrate", folder=nowhere, DATABASE_URL=url, PLINTH_SECRET_KEY=SECRET)
        assert line.startswith(f"plinth: DATABASE_URL: {text}"), line
        assert PASSWORD not in line
        assert "wrongword" not in line


def test_a_login_that_fails_is_named_with_the_setting_it_comes_from(cluster: Cluster, nowhere: Path) -> None:
    name = unique("fresh")
    settings = {"DATABASE_URL": cluster.add_database(name), "PLINTH_SECRET_KEY": SECRET}
    unmade = refusal("seed", folder=nowhere, **settings)
    assert unmade.startswith(f'plinth: DATABASE_URL: password authentication failed for user "{name}_runtime_')
    run_at_once([started("migrate", folder=nowhere, **settings)])
    foreign = settings | {"PLINTH_SECRET_KEY": f"another one: {SECRET}"}
    other = refusal_with(NOT_LOOKED, "audit", "verify", folder=nowhere, **foreign)
    assert f'"{name}_dispatch_' in other
    assert '", whose password follows from PLINTH_SECRET_KEY: run `plinth migrate`' in other
    wrong = {"DATABASE_RUNTIME_URL": cluster.url(name, f"{name}_runtime", "wrongword")}
    given = refusal("serve", "--workers", "2", folder=nowhere, **settings, **wrong)
    assert given == f'plinth: DATABASE_RUNTIME_URL: password authentication failed for user "{name}_runtime"'


def test_a_schema_that_a_newer_version_made_is_left_alone(cluster: Cluster, nowhere: Path) -> None:
    name = unique("fresh")
    settings = {"DATABASE_URL": cluster.add_database(name), "PLINTH_SECRET_KEY": SECRET}
    run_at_once([started("migrate", folder=nowhere, **settings)])
    cluster.administer("UPDATE alembic_version SET version_num = '9999'", database=name)
    line = refusal("migrate", folder=nowhere, **settings)
    assert line.startswith(
        "plinth: DATABASE_URL: the schema is at revision 9999, which this version of Plinth does not"
    )


@pytest.mark.parametrize("secret", ["open/sesame", "open@sesame:1/x", "open?sesame", "open#sesame", "%zz"])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(secret: str, nowhere: Path) -> None:
    line = refusal("migrate", folder=nowhere, DATABASE_URL=f"postgresql://{OWNER}:{secret}@127.0.0.1:1/plinth")
    assert line.startswith("plinth: DATABASE_URL: it is no URL of a PostgreSQL, such as ")
    assert "sesame" not in line


def test_what_redis_refuses_is_one_line_with_the_setting(cluster: Cluster, tmp_path: Path) -> None:
    nowhere = tmp_path / "data"
    database = {"DATABASE_URL": cluster.add_database(unique("fresh")), "PLINTH_SECRET_KEY": SECRET}
    with password_redis(tmp_path) as port:
        place = f"127.0.0.1:{port}"
        cases = {
            f"redis://:wrongword@{place}/0": f"{place} refuses: invalid username-password pair or user is disabled",
            f"redis://{place}/0": f"{place} refuses: Authentication required",
            f"redis://:{PASSWORD}@{place}/7": f"{place} refuses: DB index is out of range",
            "redis://:wrong/word@127.0.0.1:1/0": "it is no URL of a Redis, such as ",
            "redis://:wrong@word:1/word@127.0.0.1:1/0": "it is no URL of a Redis, such as ",
            "redis://:wrongword@127.0.0.1:1/0": "127.0.0.1:1 cannot be reached: Connection refused",
        }
        for url, text in cases.items():
            status = NO_REDIS if "cannot be reached" in text else MENDABLE
            line = refusal_with(status, "up", folder=nowhere, REDIS_URL=url, PLINTH_PORT="0", **database)
            assert line.startswith(f"plinth: REDIS_URL: {text}"), line
            assert "wrong" not in line.removeprefix(f"plinth: REDIS_URL: {text}")
        wrong = {"REDIS_URL": f"redis://:wrongword@{place}/0"}
        for command in ("serve", "realtime", "worker"):
            assert "REDIS_URL" in refusal(command, folder=nowhere, **wrong, **database)


def test_help_tells_the_statuses(nowhere: Path) -> None:
    for command in ([], ["audit", "verify"], ["migrate"]):
        status, output, _ = outcome(started(*command, "--help", folder=nowhere))
        assert status == 0
        assert "3 PostgreSQL cannot be reached" in " ".join(output.split())


def test_up_names_a_database_that_refuses_it(cluster: Cluster, nowhere: Path) -> None:
    url = cluster.url("postgres", password="wrongword")
    line = refusal("up", folder=nowhere, DATABASE_URL=url, PLINTH_SECRET_KEY=SECRET, PLINTH_PORT="0")
    assert line == f'plinth: DATABASE_URL: password authentication failed for user "{OWNER}"'


# Output that nobody reads to its end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("policy",), ("settings",), ("settings", "--markdown"), ("gateway", "--print"), ("gateway",), ("--help",)],
    ids=" ".join,
)
def test_a_reader_that_goes_away_ends_a_command_quietly(command: tuple[str, ...], nowhere: Path) -> None:
    # Unbuffered, argparse passes over what it cannot write.
    process = started(*command, folder=nowhere, PYTHONUNBUFFERED="")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        errors = process.stderr.read()
    assert (process.wait(PATIENCE), errors) == (PIPE_CLOSED, "")


def test_head_gets_its_line_and_no_traceback(nowhere: Path) -> None:
    # The table does not fit into the smallest pipe there is: head has gone before all of it is written.
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, mmap.PAGESIZE)
    environment = free_of_settings(dict(os.environ)) | {"PLINTH_DATA_DIR": str(nowhere)}
    command = [sys.executable, "-m", "server", "policy"]
    with (
        subprocess.Popen(command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True) as policy,
        subprocess.Popen(["head", "-1"], stdin=reading, stdout=subprocess.PIPE, text=True) as head,
    ):
        os.close(reading)
        os.close(writing)
        first, _ = head.communicate(timeout=PATIENCE)
        _, errors = policy.communicate(timeout=PATIENCE)
    assert first.startswith("rpc ")
    assert (policy.returncode, errors) == (PIPE_CLOSED, "")


def test_output_that_finds_no_room_is_one_line(nowhere: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "server", "settings"],
            env=free_of_settings(dict(os.environ)) | {"PLINTH_DATA_DIR": str(nowhere)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert (result.returncode, result.stderr) == (1, "plinth: standard output: No space left on device\n")
