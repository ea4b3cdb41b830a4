"""`make migration`, on a copy of the sources: what the tables describe becomes a migration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.modules import MODULES
from server.scaffold.migration import heads
from tests.stack import PATIENCE, free_of_settings

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
NOTHING = f"nothing has to be changed: the schema is what the {len(MODULES)} modules say"
BALLADS = """
ballads = tenant_table("ballads", Column("title", Text, nullable=False), soft_delete=True)
ballads_search = search_tables(ballads)
Index("ballads_create_time_idx", ballads.c.tenant_id, ballads.c.create_time, ballads.c.id)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources, which a migration may be written into."""
    shutil.copytree(ROOT / "server", tmp_path / "server", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def make(copy: Path, *name: str) -> tuple[int, str]:
    """Run the command in the copy; its exit status and what it printed last."""
    done = subprocess.run(
        [sys.executable, "-m", "server.run.new_migration", *name],
        cwd=copy,
        env=free_of_settings(dict(os.environ)),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    return done.returncode, ([*done.stdout.splitlines(), *done.stderr.splitlines()] or [""])[-1]


def versions(copy: Path) -> Path:
    return copy / "server" / "data" / "migrations" / "versions"


def test_what_the_tables_describe_becomes_a_migration_with_its_wall(copy: Path) -> None:
    status, told = make(copy, "nothing")
    assert (status, told) == (0, NOTHING)
    tables = copy / "server" / "domains" / "sites" / "tables.py"
    tables.write_text(tables.read_text() + BALLADS)
    status, told = make(copy, "ballads")
    (written,) = versions(copy).glob("*_ballads.py")
    assert (status, told) == (0, str(written))
    source = written.read_text()
    assert "op.create_table('ballads'" in source
    assert "ballads_delete_time_idx" in source
    assert "from server.data.search_trigger import add_words_trigger\nfrom server.data.walls import wall\n" in source
    assert 'wall("ballads", "tenant_id = ' in source
    assert 'add_words_trigger("ballads_words", "ballads")' in source
    # Applied, it leaves nothing to do.
    assert make(copy, "again") == (0, NOTHING)


def test_two_that_go_on_from_the_same_one_are_applied_and_then_joined(copy: Path) -> None:
    (newest,) = heads()
    for name in ("9000_ours", "9000_theirs"):
        source = f'revision = "{name}"\ndown_revision = "{newest}"\n\n\ndef upgrade() -> None:\n    pass\n'
        (versions(copy) / f"{name}.py").write_text(source)
    status, told = make(copy)
    assert status == 1
    assert told.startswith("plinth: the migrations 9000_ours and 9000_theirs go on from the same one: `make migration")
    assert make(copy, "merge")[0] == 0
    assert 'down_revision = ("9000_ours", "9000_theirs")' in (versions(copy) / "9001_merge.py").read_text()
    assert make(copy) == (0, "")


def test_a_name_that_is_none_is_refused(copy: Path) -> None:
    assert make(copy, "Stories!") == (
        1,
        "plinth: name=Stories!: a name has small letters, digits and `_`, such as vehicles",
    )
