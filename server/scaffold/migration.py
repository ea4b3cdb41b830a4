"""Migrations as files: changes rendered as the source of a revision that follows all current heads.

The revision of a new table is written from the table's description alone, without a database or generated code.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module, invalidate_caches
from pathlib import Path
from zlib import crc32

from alembic.autogenerate import render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from server.data import schema
from server.data.quotas import QUOTA
from server.data.search import SEARCHED
from server.data.tables import ROW_SECURITY, metadata
from server.faults import Fault

VERSIONS = "server/data/migrations/versions"
# The functions that migrations call, each with its file in server/data.
HELPERS = {"add_quota_trigger": "quota_trigger", "add_words_trigger": "search_trigger", "wall": "walls"}
NUMBER = re.compile(r"(\d{4})_")


def heads() -> tuple[str, ...]:
    """The revisions without a successor."""
    script = ScriptDirectory.from_config(schema.alembic_config(""))
    return tuple(sorted(script.get_heads()))


def table_revision(root: Path, domain: str, table: str) -> Path:
    """Write the migration that creates one new table, from its description alone."""
    invalidate_caches()
    import_module(f"server.domains.{domain}.tables")
    described = metadata.tables[table]
    indexes = sorted(described.indexes, key=lambda index: str(index.name))
    made = [ops.CreateTableOp.from_table(described), *map(ops.CreateIndexOp.from_index, indexes)]
    return write(root, table, made)


def write(root: Path, name: str, changes: Sequence[ops.MigrateOperation]) -> Path:
    """Write a revision after the current head, or after all heads. Raises Fault if the file exists.

    New tables get the row-level security in their description. The words of a search, and a quota, get their trigger.
    """
    before = heads()
    code, walled = _rendered(changes)
    folder = root / VERSIONS
    number = max(int(match[1]) for path in folder.glob("*.py") if (match := NUMBER.match(path.name))) + 1
    lines = [line.removeprefix("    ") for line in code.splitlines() if not line.strip().startswith("#")]
    lines = lines or ["pass"]
    walls = [*_walls(walled), *_words_triggers(walled), *_quota_triggers(walled)]
    # Two people may choose the same number: a hash of the name keeps ids distinct. Ids have at most 32 characters.
    text = _TEXT.format(
        title=name.replace("_", " ").capitalize(),
        imports="".join(f"{line}\n" for line in _imports("\n".join((*lines, *walls)))),
        revision=f"{number:04}_{crc32(name.encode()):08x}",
        before=repr(before[0] if len(before) == 1 else before).replace("'", '"'),
        body="\n".join(f"    {line}".rstrip() for line in [*lines, *walls]),
    )
    path = folder / f"{number:04}_{name}.py"
    if path.exists():
        raise Fault(f"{path} is there already")
    path.write_text(text)
    return path


def _rendered(changes: Sequence[ops.MigrateOperation]) -> tuple[str, list[Table]]:
    """The source of the changes, and the new tables."""
    created = [change for change in changes if isinstance(change, ops.CreateTableOp)]
    for change in created:
        # Row-level security is written as a call instead.
        change.info = {}
    # SQLAlchemy gives the constructors of dialects no types.
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    context = MigrationContext.configure(dialect=dialect, opts={"target_metadata": metadata})
    code = render_python_code(ops.UpgradeOps(list(changes)), migration_context=context) if changes else ""
    return code, [metadata.tables[change.table_name] for change in created]


_TEXT = '''"""{title}."""

{imports}
revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None


def upgrade() -> None:
{body}
'''


def _imports(code: str) -> Iterator[str]:
    """The imports of the code; none if it only joins two heads."""
    if "sa." in code:
        yield "import sqlalchemy as sa"
    if "op." in code:
        yield "from alembic import op"
    if "postgresql." in code:
        yield "from sqlalchemy.dialects import postgresql"
    ours = [f"from server.data.{file} import {name}" for name, file in HELPERS.items() if f"{name}(" in code]
    if ours:
        yield ""
        yield from ours


def _walls(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        if ROW_SECURITY in table.info:
            yield f'wall("{table.name}", {_quoted(table.info[ROW_SECURITY])})'


def _words_triggers(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        if SEARCHED in table.info:
            yield f'add_words_trigger("{table.name}", "{table.info[SEARCHED]}")'


def _quota_triggers(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        if QUOTA in table.info:
            deletes = "delete_time" in table.c
            yield f'add_quota_trigger("{table.name}", "{table.info[QUOTA]}", soft_deletes={deletes})'


def _quoted(expression: str) -> str:
    """The expression in double quotes, which no expression contains."""
    return f'"{expression}"'
