"""Upgrades of databases that are full of rows, from every released schema, by an owner who is no superuser."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from server.data import schema
from tests.clients import unique
from tests.embedded.engines import Cluster, postgresql
from tests.embedded.released_rows import BUILT_IN, COMPOSED, COMPOSES, LATEST, TENANTS, Content, content, fill
from tests.stack import make_folder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
RELEASED = [
    revision.revision
    for revision in reversed(list(ScriptDirectory.from_config(schema.alembic_config("")).walk_revisions()))
]
# The revisions that compose texts, and that repair what older upgrades left undone.
NORMALIZED, REPAIRED = "0007", "0011"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = make_folder()
    with postgresql(folder) as running:
        yield running


@contextmanager
def superuser(cluster: Cluster, name: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(cluster.administrator(name), autocommit=True) as connection:
        yield connection


def one(connection: "psycopg.Connection[Any]", query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def assert_kept(before: Content, after: Content, *, composes: bool) -> None:
    """Every row is still there, with what it held; `composes`: only what 0007 composes is another text."""
    for table, rows in before.tables.items():
        kept = list(after.tables[table])
        for row in rows:
            composed = {column: COMPOSED for of, column in COMPOSES if composes and of == table}
            expected = row | {name: text for name, text in composed.items() if name in row}
            found = [each for each in kept if expected.items() <= each.items()]
            assert found, f"{table} lost {expected}; it holds {kept}"
            kept.remove(found[0])
        assert not kept or table == "roles", f"{table} gained {kept}"


@pytest.mark.parametrize("revision", RELEASED)
def test_an_upgrade_keeps_every_row_and_leaves_no_tenant_without_roles(cluster: Cluster, revision: str) -> None:
    name = unique("released")
    owner = cluster.add_database(name)
    command.upgrade(schema.alembic_config(owner), revision)
    with superuser(cluster, name) as connection:
        fill(connection, is_damaged=revision < REPAIRED)
        before = content(connection)
        schema.migrate(owner)
        after = content(connection)
        assert_kept(before, after, composes=revision < NORMALIZED)
        for tenant_id in TENANTS:
            roles = [row["name"] for row in after.of_tenant("roles", tenant_id) if row["built_in"]]
            assert sorted(roles) == sorted(BUILT_IN), tenant_id
        assert one(connection, "SELECT nextval('events_sequence_seq')") == LATEST + 1
        assert_walls_stand(connection)


def assert_walls_stand(connection: "psycopg.Connection[Any]") -> None:
    """No table with row-level security was left without its force."""
    open_tables = one(
        connection,
        "SELECT array_agg(relname) FROM pg_class WHERE relrowsecurity AND NOT relforcerowsecurity",
    )
    assert open_tables is None


def test_a_sequence_that_is_ahead_of_the_events_is_not_set_back(cluster: Cluster) -> None:
    name = unique("released")
    owner = cluster.add_database(name)
    command.upgrade(schema.alembic_config(owner), "0008")
    with superuser(cluster, name) as connection:
        fill(connection, is_damaged=True)
        connection.execute("SELECT setval('events_sequence_seq', 1000)")
        schema.migrate(owner)
        assert one(connection, "SELECT nextval('events_sequence_seq')") == 1001


def test_a_database_that_was_moved_before_there_were_epochs_is_put_in_order(cluster: Cluster) -> None:
    """What was written in the younger cluster comes after what was written before."""
    name, older = unique("moved"), 10**12
    owner = cluster.add_database(name)
    command.upgrade(schema.alembic_config(owner), "0008")
    with superuser(cluster, name) as connection:
        fill(connection, is_damaged=False)
        for log in ("events", "audit_entries"):
            move = f"UPDATE {log} SET transaction_id = '{older}' WHERE sequence = {LATEST - 1}"
            assert connection.execute(move.encode()).rowcount == 1
        schema.migrate(owner)
        base = one(connection, "SELECT plinth_log_base()")
        assert base > older
        for log in ("events", "audit_entries"):
            found = connection.execute(
                f"SELECT transaction_id::text::bigint, sequence FROM {log} ORDER BY transaction_id".encode()
            ).fetchall()
            assert found == [(older, LATEST - 1), (base + 7, LATEST)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pages SET title = 'another'",
        "SELECT count(*) FROM tenants",
        "INSERT INTO roles (tenant_id, id, name) SELECT id, id, 'x' FROM tenants",
    ],
)
def test_a_migration_that_row_level_security_would_blind_fails(
    cluster: Cluster, tmp_path: Path, statement: str
) -> None:
    """And leaves what was there before: a later one that asks for every row succeeds."""
    owner = cluster.add_database(unique("blind"))
    schema.migrate(owner)
    config = schema.alembic_config(owner)
    places = [f"{config.get_main_option('script_location')}/versions", str(tmp_path)]
    config.set_main_option("version_locations", "\n".join(places))
    config.set_main_option("path_separator", "newline")
    migration = tmp_path / "9998_blind.py"
    migration.write_text(_migration(f"op.execute({statement!r})"))
    with pytest.raises(Exception, match="would be affected by row-level security policy"):
        command.upgrade(config, "head")
    migration.write_text(_migration(f"with every_row('pages', 'tenants', 'roles'): op.execute({statement!r})"))
    command.upgrade(config, "head")


def test_walls_stand_again_after_a_migration_that_failed_between(cluster: Cluster, tmp_path: Path) -> None:
    name = unique("failed")
    owner = cluster.add_database(name)
    schema.migrate(owner)
    config = schema.alembic_config(owner)
    places = [f"{config.get_main_option('script_location')}/versions", str(tmp_path)]
    config.set_main_option("version_locations", "\n".join(places))
    config.set_main_option("path_separator", "newline")
    (tmp_path / "9998_failed.py").write_text(_migration("with every_row('pages'): op.execute('SELECT 1 / 0')"))
    with pytest.raises(Exception, match="division by zero"):
        command.upgrade(config, "head")
    with superuser(cluster, name) as connection:
        assert_walls_stand(connection)


def _migration(body: str) -> str:
    return dedent(
        f"""
        from alembic import op
        from server.data.walls import every_row

        revision = "9998"
        down_revision = "{RELEASED[-1]}"

        def upgrade() -> None:
            {body}
        """
    )
