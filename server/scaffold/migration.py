"""Migrations that write themselves: of one new table, or of all that the tables describe and the database lacks.

There is one chain. Two people who add a migration in parallel make two heads, which `make check` names, and which
`make migration` joins with a revision that changes nothing. A branch per domain would need no joining, but the tables
of domains refer to each other, so an order among the branches would have to be declared by hand; and databases in use
stand at one revision of the one chain.
"""

import re
from collections.abc import Iterable, Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from zlib import crc32

import psycopg
from alembic.autogenerate import api, produce_migrations, render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import NullPool

from server.data import schema
from server.data.tables import ROW_SECURITY, metadata
from server.faults import REFUSED, Fault

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = "server/data/migrations/versions"
# Alembic's own, the job queue's own, and the months of what is partitioned.
FOREIGN = re.compile(r"alembic_version|procrastinate_.*|.*_\d{4}_\d{2}")
NUMBER = re.compile(r"(\d{4})_")


def heads() -> tuple[str, ...]:
    """The revisions that nothing follows. Raises Fault where two revisions have one id."""
    script = ScriptDirectory.from_config(schema.alembic_config(""))
    return tuple(sorted(script.get_heads()))


def check() -> None:
    """Raise Fault where the chain of migrations has several ends."""
    ends = heads()
    if len(ends) > 1:
        raise Fault(
            f"the migrations have {len(ends)} heads, {' and '.join(ends)}: `make migration name=merge` joins them"
        )


def table_revision(root: Path, domain: str, table: str) -> Path:
    """Write the migration that makes one new table, from its description alone."""
    invalidate_caches()
    import_module(f"server.domains.{domain}.tables")
    described = metadata.tables[table]
    made: list[ops.MigrateOperation] = [ops.CreateTableOp.from_table(described)]
    indexes = sorted(described.indexes, key=lambda index: str(index.name))
    made.extend(ops.CreateIndexOp.from_index(index) for index in indexes)
    context = MigrationContext.configure(dialect=postgresql.dialect(), opts={"target_metadata": metadata})  # type: ignore[no-untyped-call]
    autogenerate = api.AutogenContext(context, metadata)
    code = render_python_code(ops.UpgradeOps(made), migration_context=autogenerate.migration_context)
    return write(root, table, code, [described])


def write(root: Path, name: str, code: str, walled: Iterable[Table] = ()) -> Path:
    """Write a revision after the last one, or after all where there are several."""
    before = heads()
    folder = root / VERSIONS
    number = max(int(match[1]) for path in folder.glob("*.py") if (match := NUMBER.match(path.name))) + 1
    lines = [line.removeprefix("    ") for line in code.splitlines() if not line.strip().startswith("#")]
    walls = list(_walls(walled))
    # Two people may take one number at a time: the name tells their revisions apart. Ids have at most 32 characters.
    text = _TEXT.format(
        title=name.replace("_", " ").capitalize(),
        imports="".join(f"{line}\n" for line in _imports("\n".join(lines), walls=bool(walls))),
        revision=f"{number:04}_{crc32(name.encode()):08x}",
        before=repr(before[0] if len(before) == 1 else before).replace("'", '"'),
        body="\n".join(f"    {line}".rstrip() for line in [*lines, *walls]),
    )
    path = folder / f"{number:04}_{name}.py"
    path.write_text(text)
    return path


_TEXT = '''"""{title}."""

{imports}
revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None


def upgrade() -> None:
{body}
'''


def _imports(code: str, *, walls: bool) -> Iterator[str]:
    """What the code takes; nothing where it only joins two heads."""
    if "sa." in code:
        yield "import sqlalchemy as sa"
    if "op." in code:
        yield "from alembic import op"
    if "postgresql." in code:
        yield "from sqlalchemy.dialects import postgresql"
    if walls:
        yield ""
        yield "from server.data.walls import wall"


def _walls(tables: Iterable[Table]) -> Iterator[str]:
    for table in tables:
        if ROW_SECURITY in table.info:
            yield f'wall("{table.name}", {_quoted(table.info[ROW_SECURITY])})'


def _quoted(expression: str) -> str:
    """As a migration has it: in double quotes, which no expression holds."""
    return f'"{expression}"'


def autogenerate(connection: Connection, root: Path, name: str) -> Path:
    """Write what the database lacks of what the tables describe. Raises Fault where that is nothing."""
    import server.modules  # noqa: F401, PLC0415 - so that every domain has described its tables

    options = {"target_metadata": metadata, "include_name": _is_ours}
    context = MigrationContext.configure(connection, opts=options)
    found = produce_migrations(context, metadata).upgrade_ops
    if found is None or found.is_empty():
        raise Fault("the migrations make all that the tables describe: there is nothing to write")
    made = [metadata.tables[each.table_name] for each in found.ops if isinstance(each, ops.CreateTableOp)]
    return write(root, name, render_python_code(found, migration_context=context), made)


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    return not (kind == "table" and FOREIGN.fullmatch(name or ""))


def refuse_name(name: str) -> None:
    """Raise Fault for what cannot be a file's name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise Fault(f"name={name}: a migration's name is written in snake_case", REFUSED)


def from_database(name: str, dsn: str, root: Path = ROOT) -> Path:
    """Write what an empty database, brought to the head, lacks."""
    schema.upgrade(dsn)
    engine = create_engine("postgresql+psycopg://", poolclass=NullPool, creator=lambda: psycopg.connect(dsn))
    with engine.connect() as connection:
        return autogenerate(connection, root, name)
