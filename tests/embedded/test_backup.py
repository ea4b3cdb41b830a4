"""`plinth backup` and `plinth restore`, run as people run them: under load, into another cluster, where they refuse."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from server.backup.outcomes import COULD_NOT, DONE, FOUND, HIDDEN_ROWS
from server.data.schema import check_walls
from server.data.tables import metadata
from server.embedded.engines import POSTGRES, find
from server.settings import Settings
from tests.clients import Rest, log_in, new_tenant, rows, sign_up, unique
from tests.contract.scratch import administrator
from tests.embedded.engines import OWNER, Cluster, postgresql
from tests.embedded.test_commands import SECRET, TRACEBACK, outcome, started
from tests.faults.load import PAGES, Load
from tests.stack import Stack, make_folder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
PASSPHRASE = {"PLINTH_BACKUP_PASSPHRASE": "correct horse battery staple"}
# Random in each run of pg_dump, and the base of the epoch that another cluster begins.
VARYING_LINE = re.compile(r"^\\(?:un)?restrict .*$|^    RETURN \(?'?\d+'?\)?::bigint;$", re.MULTILINE)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = make_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    with postgresql(folder) as made:
        yield made


@dataclass
class Site:
    """A migrated database of the cluster that has a tenant, and what reads every row of it."""

    name: str
    settings: dict[str, str]
    data: Path

    def run(self, *arguments: object, **settings: str) -> tuple[int, str, str]:
        """A command; its exit status, output and errors."""
        return outcome(started(*map(str, arguments), folder=self.data, **self.settings | settings))


@pytest.fixture(scope="module")
def site(cluster: Cluster, folder: Path) -> Site:
    name, reader = unique("kept"), unique("reader")
    cluster.add_role(reader, "BYPASSRLS CREATEDB")
    cluster.administer("GRANT pg_read_all_data TO {}", reader)
    settings = {
        "DATABASE_URL": cluster.add_database(name),
        "DATABASE_BACKUP_URL": cluster.url(name, reader),
        "PLINTH_SECRET_KEY": SECRET,
    }
    site = Site(name, settings | PASSPHRASE, folder / "data")
    for command in ("migrate", "seed"):
        status, _, errors = site.run(command)
        assert status == DONE, errors
    return site


@pytest.fixture(scope="module")
def first_backup(site: Site, folder: Path) -> Path:
    return taken(site, folder / site.name)


@pytest.fixture
def backup(first_backup: Path, tmp_path: Path) -> Path:
    """A backup of the site, for this test to change."""
    return Path(shutil.copytree(first_backup, tmp_path / first_backup.name))


def only_backup(backups: Path) -> Path:
    (found,) = (path for path in backups.iterdir() if not path.name.startswith("."))
    return found


def taken(site: Site, backups: Path, *options: str, **settings: str) -> Path:
    status, output, errors = site.run("backup", "--to", backups, *options, **settings)
    assert status == DONE, errors
    return Path(output.partition(": ")[0])


def manifest(backup: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((backup / "manifest.json").read_text())
    return read


def line_of(result: tuple[int, str, str], status: int) -> str:
    """The only line of a command that ended so."""
    ended, output, errors = result
    lines = [line for line in (output + errors).splitlines() if "left out by choice" not in line]
    assert ended == status, lines
    assert len(lines) == 1, lines
    assert TRACEBACK not in lines[0]
    return lines[0]


# Under load ----------------------------------------------------------------------------------------------------------


def command(stack: Stack, *arguments: object) -> "subprocess.Popen[str]":
    return started(*map(str, arguments), folder=stack.data_dir, **PASSPHRASE)


def test_what_was_acknowledged_before_a_backup_under_load_is_there_in_another_cluster(
    own_stack: Any, folder: Path
) -> None:
    stack: Stack = own_stack()
    account = sign_up(stack)
    tenant = new_tenant(stack, account)
    with Load(tenant) as load:
        load.more(50)
        before = set(load.acknowledged)
        process = command(stack, "backup", "--to", folder / "loaded")
        load.more(50)
        status, _, errors = outcome(process)
        assert status == DONE, errors
        load.more(1)
    backup = only_backup(folder / "loaded")
    status, output, errors = outcome(command(stack, "backup", "--verify", backup))
    assert status == DONE, output + errors
    kept_schema = schema_of(stack)
    other = folder / "other"
    status, output, errors = outcome(started("restore", str(backup), folder=other, **PASSPHRASE))
    assert status == DONE, output + errors
    assert (other / "secret").read_text() == (stack.data_dir / "secret").read_text()
    restored = own_stack(other)
    stored = {row["id"] for row in rows(restored, PAGES, tenant.id)}
    assert before <= stored <= set(load.acknowledged)
    assert len(rows(restored, "SELECT FROM pages")) == manifest(backup)["tables"]["pages"]
    assert schema_of(restored) == kept_schema
    # A token of before, since the secret came along; a password; and what is written goes on.
    pages = f"tenants/{tenant.id}/pages"
    assert Rest(restored, tenant.access_token).get(pages).status_code == 200
    session = log_in(restored, account)
    assert Rest(restored, session.access_token).post(pages, {"title": "After"}).status_code == 201


def schema_of(stack: Stack) -> str:
    """Everything but rows: tables, walls, functions, and what each login may do."""
    program = find(POSTGRES).with_name("pg_dump")
    dump = [str(program), "--schema-only", "--dbname", administrator(stack)]
    return VARYING_LINE.sub("", subprocess.run(dump, check=True, capture_output=True, text=True, timeout=60).stdout)


def test_a_stack_that_is_down_is_backed_up_and_one_that_is_up_is_not_restored_into(
    own_stack: Any, folder: Path
) -> None:
    stack: Stack = own_stack()
    stack.stop()
    status, _, errors = outcome(command(stack, "backup", "--to", folder / "down"))
    assert status == DONE, errors
    stack.start()
    result = outcome(command(stack, "restore", only_backup(folder / "down"), "--replace"))
    assert "is in use by process" in line_of(result, COULD_NOT)


# With a PostgreSQL of one's own --------------------------------------------------------------------------------------


def test_a_backup_is_restored_into_a_database_whose_logins_have_other_names(
    site: Site, cluster: Cluster, backup: Path
) -> None:
    told = manifest(backup)
    assert told["secret"] == "encrypted"
    assert told["files"] == "none"
    assert SECRET not in "".join(path.read_text(errors="replace") for path in backup.iterdir())
    status, output, errors = site.run("backup", "--verify", backup)
    assert status == DONE, output + errors
    other = unique("other")
    url = cluster.add_database(other)
    status, output, errors = site.run("restore", backup, DATABASE_URL=url)
    assert status == DONE, output + errors
    check_walls(Settings(database_url=url, secret_key=SECRET).runtime_dsn, metadata)
    with psycopg.connect(cluster.administrator(other)) as connection:
        counted = connection.execute("SELECT count(*) FROM pages").fetchone()
        policies = connection.execute("SELECT DISTINCT roles::text FROM pg_policies WHERE policyname LIKE '%dispatch'")
        assert counted == (told["tables"]["pages"],)
        assert policies.fetchall() == [(f"{{{other}_dispatch}}",)]
        # Nobody but the logins may make or drop partitions.
        public = connection.execute("SELECT has_function_privilege('public', 'plinth_make_partitions(int)', 'EXECUTE')")
        assert public.fetchone() == (False,)
    # Whoever seeds again finds the login that was there.
    status, output, errors = site.run("seed", DATABASE_URL=url)
    assert status == DONE, errors


def test_a_role_that_does_not_see_every_row_is_refused_with_a_status_of_its_own(
    site: Site, cluster: Cluster, folder: Path
) -> None:
    blind, half_blind = unique("blind"), unique("half")
    cluster.add_role(blind)
    cluster.administer("GRANT pg_read_all_data TO {}", blind)
    cluster.add_role(half_blind, "BYPASSRLS")
    backups = folder / unique("backups")
    cases = {
        cluster.url(site.name): f"hides rows from the role {OWNER}",
        cluster.url(site.name, blind): f"hides rows from the role {blind}",
        cluster.url(site.name, half_blind): f"the role {half_blind} may not read account_letters, alembic_version",
    }
    for url, text in cases.items():
        line = line_of(site.run("backup", "--to", backups, DATABASE_BACKUP_URL=url), HIDDEN_ROWS)
        assert text in line
        assert "CREATE ROLE plinth_backup LOGIN BYPASSRLS" in line
    unset = line_of(site.run("backup", "--to", backups, DATABASE_BACKUP_URL=""), HIDDEN_ROWS)
    assert unset.startswith("plinth: DATABASE_URL: row-level security hides rows")
    assert [path.name for path in backups.iterdir()] == [".lock"]


def test_what_cannot_be_looked_at_has_another_status_than_what_is_wrong(site: Site, folder: Path, backup: Path) -> None:
    away = {"DATABASE_BACKUP_URL": "postgresql://x@127.0.0.1:1/x", "DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    for arguments in (("backup", "--to", folder / "away"), ("backup", "--verify", backup), ("restore", backup)):
        assert "127.0.0.1:1 cannot be reached" in line_of(site.run(*arguments, **away), COULD_NOT)
    assert "cannot be read" in line_of(site.run("backup", "--verify", folder / "no-such"), COULD_NOT)
    wrong = {"PLINTH_BACKUP_PASSPHRASE": "another passphrase"}
    assert "does not open with this passphrase" in line_of(site.run("backup", "--verify", backup, **wrong), COULD_NOT)
    assert "does not open with this passphrase" in line_of(site.run("restore", backup, **wrong), COULD_NOT)
    without = {"PLINTH_BACKUP_PASSPHRASE": ""}
    assert "a passphrase is needed" in line_of(site.run("backup", "--to", folder / "no", **without), COULD_NOT)
    assert "fewer than 12" in line_of(
        site.run("backup", "--to", folder / "no", PLINTH_BACKUP_PASSPHRASE="short"), COULD_NOT
    )


def test_a_verification_needs_a_role_that_may_make_databases(site: Site, cluster: Cluster, backup: Path) -> None:
    line = line_of(site.run("backup", "--verify", backup, DATABASE_BACKUP_URL=cluster.url(site.name)), COULD_NOT)
    assert "permission denied to create database" in line


def damage_dump(backup: Path) -> None:
    path = backup / "database.dump"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_checkpoints(backup: Path) -> None:
    (backup / "audit_checkpoints.jsonl").write_text("{}\n")


def remove_secret(backup: Path) -> None:
    (backup / "secret.json").unlink()


def miscount(backup: Path) -> None:
    told = manifest(backup)
    told["tables"]["pages"] += 1
    (backup / "manifest.json").write_text(json.dumps(told))


def forget_table(backup: Path) -> None:
    told = manifest(backup)
    del told["tables"]["memberships"]
    (backup / "manifest.json").write_text(json.dumps(told))


def cut_manifest(backup: Path) -> None:
    (backup / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    "damage", [damage_dump, damage_checkpoints, remove_secret, miscount, forget_table, cut_manifest]
)
def test_a_damaged_backup_is_found_and_changes_nothing_when_restored(
    site: Site, cluster: Cluster, backup: Path, damage: Any
) -> None:
    damage(backup)
    line_of(site.run("backup", "--verify", backup), FOUND)
    line_of(site.run("restore", backup, "--replace"), FOUND)
    with psycopg.connect(cluster.administrator(site.name)) as connection:
        there = connection.execute("SELECT count(*) FROM pages").fetchone()
        scratch = connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'plinth_verify%'").fetchone()
    assert there == (3,)
    assert scratch == (0,)


def test_checkpoints_of_the_audit_log_are_compared(site: Site, cluster: Cluster, folder: Path) -> None:
    add = "INSERT INTO audit_checkpoints VALUES (gen_random_uuid(), 5, '\\x00', 'a note')"
    cluster.administer(add, database=site.name)
    backup = taken(site, folder / unique(site.name))
    assert manifest(backup)["audit_checkpoints"] == 1
    assert site.run("backup", "--verify", backup)[0] == DONE
    # A checkpoint that the dump does not have, in a backup whose hashes were made to fit.
    told = manifest(backup)
    part = backup / "audit_checkpoints.jsonl"
    part.write_text(part.read_text().replace('"tree_size": 5', '"tree_size": 6'))
    digest = subprocess.run(["sha256sum", str(part)], check=True, capture_output=True, text=True, timeout=20).stdout
    told["parts"][part.name] = {"bytes": part.stat().st_size, "sha256": digest.split()[0]}
    (backup / "manifest.json").write_text(json.dumps(told))
    status, output, _ = site.run("backup", "--verify", backup)
    assert status == FOUND
    assert "audit checkpoint of the backup is not in its database" in output


def test_a_database_that_is_not_empty_or_is_in_use_is_left_alone(site: Site, cluster: Cluster, backup: Path) -> None:
    assert "the database is not empty" in line_of(site.run("restore", backup), COULD_NOT)
    cluster.administer("DELETE FROM pages", database=site.name)
    with psycopg.connect(cluster.url(site.name), application_name="somebody"):
        line = line_of(site.run("restore", backup, "--replace"), COULD_NOT)
        assert f"1 others are connected to this database ({OWNER}, somebody)" in line
    status, output, errors = site.run("restore", backup, "--replace")
    assert status == DONE, output + errors
    with psycopg.connect(cluster.administrator(site.name)) as connection:
        assert connection.execute("SELECT count(*) FROM pages").fetchone() == (3,)
        schemas = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'plinth%'").fetchone()
    assert schemas == (0,)


def test_the_secret_is_left_out_by_choice_only_and_a_foreign_one_is_not_restored_over(
    site: Site, cluster: Cluster, folder: Path, backup: Path, tmp_path: Path
) -> None:
    status, _, errors = site.run("backup", "--to", folder / "bare", "--without-secret", PLINTH_BACKUP_PASSPHRASE="")
    assert status == DONE
    assert "the secret key is left out by choice" in errors
    bare = only_backup(folder / "bare")
    assert manifest(bare)["secret"] == "left out"
    assert not (bare / "secret.json").exists()
    foreign = {"DATABASE_URL": cluster.add_database(unique("other")), "PLINTH_SECRET_KEY": f"another one: {SECRET}"}
    line = line_of(site.run("restore", backup, **foreign), COULD_NOT)
    assert "PLINTH_SECRET_KEY is another one than that of the backup" in line
    kept = tmp_path / "secrets"
    assert site.run("restore", backup, "--secret-to", kept, **foreign)[0] == DONE
    assert kept.read_text() == f"PLINTH_SECRET_KEY={SECRET}\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    foreign["DATABASE_URL"] = cluster.add_database(unique("other"))
    status, output, _ = site.run("restore", backup, "--without-secret", **foreign)
    assert status == DONE
    assert "secret left out: the deployment keeps its own" in output


def test_old_backups_are_removed_only_after_a_new_one_is_whole(site: Site, folder: Path) -> None:
    backups = folder / unique(site.name)
    first = taken(site, backups)
    stranger = backups / "plinth-notes"
    stranger.mkdir()
    (backups / ".cut-short.draft").mkdir()
    second = taken(site, backups, "--keep", "2")
    assert first.exists()
    broken = site.run("backup", "--to", backups, "--keep", "1", DATABASE_BACKUP_URL="postgresql://x@127.0.0.1:1/x")
    assert broken[0] == COULD_NOT
    assert first.exists()
    third = taken(site, backups, "--keep", "2")
    left = {path.name for path in backups.iterdir()} - {".lock"}
    assert left == {second.name, third.name, stranger.name}
    assert site.run("backup", "--to", backups, "--keep", "0")[0] == 2
