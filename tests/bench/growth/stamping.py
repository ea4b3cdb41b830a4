"""Stamps out services: a copy of the project whose domain `sites` stands in it many times over, under other names.

Each copy is a domain of its own, with its proto, table, migration, service and module, so that it costs what a resource
that somebody wrote would cost.
"""

import compileall
import re
import shutil
import string
import subprocess
import sys
from itertools import islice, product
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT = Path(__file__).resolve().parents[3]
DOMAIN = "sites"
RESOURCE = "page"
# Of all lists, not of pages: these keep their names.
KEPT = r"(?:next_)?page_(?:size|token)s?|PageTokens?"
WORDS = re.compile(rf"(?P<kept>{KEPT})|(?P<word>[Pp]age|PAGE|sites)")
MIGRATIONS = Path("server/data/migrations")
MIGRATION = '''"""The table of {domain}."""

from alembic import op

from server.data.tables import ROW_SECURITY
from server.data.walls import wall
from server.domains.{domain}.tables import {table}

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    {table}.create(op.get_bind())
    wall({table}.name, {table}.info[ROW_SECURITY])
'''


def stamp(tree: Path, copies: int) -> None:
    """Make a copy of the project in `tree`, with so many copies of the domain `sites`, and generate its stubs."""
    for name in ("server", "proto"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "clients").mkdir()
    shutil.copy(ROOT / "clients" / "generate.py", tree / "clients")
    before = _newest_migration(tree)
    marks = list(islice(map("".join, product(string.ascii_lowercase, repeat=2)), copies))
    for mark in marks:
        _copy_domain(tree, mark)
        before = _write_migration(tree, mark, before)
    _register(tree, marks)
    subprocess.run([sys.executable, str(tree / "clients" / "generate.py")], check=True, stdout=subprocess.DEVNULL)
    # As an installed one has it: otherwise the first start would be measured with all that it compiles.
    compileall.compile_dir(tree, quiet=1)


def renamed(text: str, mark: str) -> str:
    """The text of another resource in another domain: `Page` with the mark `ab` is `Pageab`, and `sites` is `sitesab`.

    The mark stands behind the singular, so that the plural still is one: `pageabs`.
    """
    return WORDS.sub(lambda found: found["kept"] or found["word"] + _mark_for(found["word"], mark), text)


def _mark_for(word: str, mark: str) -> str:
    return mark.upper() if word.isupper() else mark


def _copy_domain(tree: Path, mark: str) -> None:
    for folder in (Path("proto/plinth") / DOMAIN, Path("server/domains") / DOMAIN):
        for path in sorted((tree / folder).rglob("*")):
            if path.suffix in {".proto", ".py"}:
                copy = tree / renamed(str(path.relative_to(tree)), mark)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(renamed(path.read_text(), mark))


def _newest_migration(tree: Path) -> str:
    config = Config()
    config.set_main_option("script_location", str(tree / MIGRATIONS))
    head = ScriptDirectory.from_config(config).get_current_head()
    if head is None:
        raise LookupError("the project has no migrations")
    return head


def _write_migration(tree: Path, mark: str, before: str) -> str:
    """Write the migration that makes the table of a domain; its revision."""
    revision = f"stamped_{mark}"
    text = MIGRATION.format(domain=DOMAIN + mark, table=f"{RESOURCE}{mark}s", revision=revision, before=before)
    (tree / MIGRATIONS / "versions" / f"{revision}.py").write_text(text)
    return revision


def _register(tree: Path, marks: list[str]) -> None:
    """Name the modules in server/modules.py."""
    path = tree / "server" / "modules.py"
    name = DOMAIN.upper()
    line = f"from server.domains.{DOMAIN}.module import MODULE as {name}\n"
    copies = [line.replace(DOMAIN, DOMAIN + mark).replace(name, name + mark.upper()) for mark in marks]
    text = path.read_text().replace(line, "".join([line, *copies]))
    named = ", ".join([name, *(name + mark.upper() for mark in marks)])
    path.write_text(re.sub(rf"\b{name},", f"{named},", text))
