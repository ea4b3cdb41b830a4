"""Writing the files of a resource: all of them or none."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from string import Template

from server.faults import REFUSED, Fault
from server.kernel.privacy.decisions import PERSONAL_NAME
from server.scaffold.fields import Field, parse, refused
from server.scaffold.migration import table_revision
from server.scaffold.names import Names, names_of

ROOT = Path(__file__).resolve().parents[2]
# Seconds for the linter.
TIDY_WITHIN = 60
# Those whose columns hold text or JSON, into which anything can be written.
OPEN_TYPES = ("text", "texts", "json", "money")
COLUMN_TYPES = ("BigInteger", "Boolean", "Column", "Date", "Index", "Integer", "SmallInteger", "Text", "text")


def new(resource: str, arguments: Sequence[str], plural: str = "", root: Path = ROOT) -> list[Path]:
    """Write a resource. Returns the files written. Raises Fault, which names the argument."""
    if not (root / "proto").is_dir():
        raise Fault(f"`new` works in a clone of Plinth, which {root} is not", REFUSED)
    names = names_of(resource, plural)
    fields = [parse(argument) for argument in arguments]
    _refuse_taken(root, resource, names, fields)
    texts = dict(_texts(root, names, fields))
    modules = root / "server/modules.py"
    with _all_or_nothing([*texts, modules]):
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if names.domain not in _domains(root):
            _declare(modules, names.domain)
        _tidy([path for path in (*texts, modules) if path.suffix == ".py"], root)
        revision = table_revision(root, names.domain, names.table)
    _tidy([revision], root)
    return [*texts, revision]


@contextmanager
def _all_or_nothing(paths: Sequence[Path]) -> Iterator[None]:
    """Restore the files if the block raises."""
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            if content is not None:
                path.write_bytes(content)
            else:
                path.unlink(missing_ok=True)
        raise


def _tidy(paths: Sequence[Path], root: Path) -> None:
    """Sort imports and break long lines, as `make format` does."""
    for command in (("check", "--quiet", "--fix", "--select", "I"), ("format", "--quiet")):
        arguments = [sys.executable, "-m", "ruff", *command, *map(str, paths)]
        subprocess.run(arguments, cwd=root, check=True, timeout=TIDY_WITHIN)  # noqa: S603 - paths of ours


def _domains(root: Path) -> set[str]:
    """The domains that server/modules.py lists."""
    text = (root / "server/modules.py").read_text()
    return set(re.findall(r"^from server\.domains\.(\w+)\.module import", text, re.MULTILINE))


def _refuse_taken(root: Path, argument: str, names: Names, fields: Sequence[Field]) -> None:
    service = root / f"server/domains/{names.domain}/{names.plural}.py"
    for path in (root / f"proto/plinth/{names.domain}/v1/{names.singular}.proto", service):
        if path.exists():
            raise refused(argument, f"{path.relative_to(root)} is there already")
    message = re.compile(rf"^message {names.name} {{", re.MULTILINE)
    for path in (root / f"proto/plinth/{names.domain}/v1").glob("*.proto"):
        if message.search(path.read_text()):
            raise refused(argument, f"{path.relative_to(root)} has a {names.name} already")
    if not fields:
        raise refused(argument, "a resource has at least one field")
    seen: set[str] = {f"{names.singular}_id"}
    for field in fields:
        if field.name in seen:
            raise refused(field.name, "a field of that name is there already")
        seen.add(field.name)


def _template(name: str, words: dict[str, str]) -> str:
    text = (files("server.scaffold") / "templates" / f"{name}.txt").read_text()
    return Template(text).substitute(words)


def _texts(root: Path, names: Names, fields: Sequence[Field]) -> Iterator[tuple[Path, str]]:
    """Each file with its new content."""
    words = names.words() | _field_words(names, fields)
    domain = root / "server/domains" / names.domain
    tests = root / "tests/domains" / names.domain
    yield root / f"proto/plinth/{names.domain}/v1/{names.singular}.proto", _template("resource.proto", words)
    yield domain / f"{names.plural}.py", _template("service.py", words)
    yield domain / "tables.py", _with_table(domain / "tables.py", words)
    yield domain / "module.py", _with_service(domain / "module.py", names, words)
    yield tests / f"{names.singular}_body.py", _template("body.py", words)
    yield tests / "instances.py", _with_instance(tests / "instances.py", names, words)
    yield tests / f"test_{names.plural}.py", _template("test.py", words)
    for folder in (domain, tests):
        if not (folder / "__init__.py").exists():
            yield folder / "__init__.py", ""


def _field_words(names: Names, fields: Sequence[Field]) -> dict[str, str]:
    sortable = _sortable(fields)
    compared = ("enum", "bool", "money")
    filterable = [field.name for field in fields if field.kind.sortable or field.type in compared]
    unique = [field for field in fields if field.unique]
    after = len(fields) + 3
    body = [f'        "{field.json_name}": {field.sample},' for field in fields]
    imported = "\nfrom tests.clients import unique\n\n" if any("unique(" in line for line in body) else "\n"
    return {
        "fields": "\n".join(_proto_field(field, number) for number, field in enumerate(fields, 3)),
        "enums": "".join(_enum(field) for field in fields if field.type == "enum"),
        "rules_import": 'import "plinth/types/v1/rules.proto";\n'
        if any("plinth.types" in f.kind.rule for f in fields)
        else "",
        "struct_import": 'import "google/protobuf/struct.proto";\n' if any(f.type == "json" for f in fields) else "",
        "type_imports": "".join(
            f'import "google/type/{name}.proto";\n' for name in ("date", "money") if any(f.type == name for f in fields)
        ),
        "taken_comment": " ALREADY_EXISTS if a unique value is taken." if unique else "",
        "n_create": str(after),
        "n_update": str(after + 1),
        "n_delete": str(after + 2),
        "n_etag": str(after + 3),
        "filterable": ", ".join(f'"{name}"' for name in ("id", *filterable, "create_time", "update_time")),
        "sortable": ", ".join(f'"{name}"' for name in ("create_time", "update_time", *sortable)),
        "filterable_words": ", ".join(("id", *filterable, "create_time", "update_time")),
        "sortable_words": ", ".join(("create_time", "update_time", *sortable)),
        "decision": _decision(names.table, names.words()["words"], fields),
        "unique": ", ".join(f'"{names.table}_{field.name}_key": "{field.name}"' for field in unique),
        "columns": "\n".join(f"    {field.fill(field.kind.column)}," for field in fields),
        "indexes": "\n".join(_indexes(names.table, sortable, unique)),
        "body": "\n".join(body),
        "body_import": imported,
    }


def _sortable(fields: Sequence[Field]) -> list[str]:
    """The fields that lists are sorted by: none that may be NULL, and of texts the first.

    A page token holds the values of its last row, and two long texts do not fit into one.
    """
    found = [each for each in fields if each.kind.sortable and (each.required or not each.kind.has_presence)]
    texts = [each for each in found if each.type == "text"]
    return [each.name for each in found if each not in texts[1:]]


def _indexes(table: str, sortable: Sequence[str], unique: Sequence[Field]) -> Iterator[str]:
    for field in unique:
        yield (
            f'Index(\n    "{table}_{field.name}_key",\n    {table}.c.tenant_id,\n    {table}.c.{field.name},\n'
            f"    unique=True,\n    postgresql_where={table}.c.delete_time.is_(None),\n)"
        )
    for name in ("create_time", "update_time", *sortable):
        yield f'Index("{table}_{name}_idx", {table}.c.tenant_id, {table}.c.{name}, {table}.c.id)'


def _proto_field(field: Field, number: int) -> str:
    kind = field.kind
    options = ["(google.api.field_behavior) = REQUIRED"] if field.required else []
    if kind.rule:
        options.append(f"(buf.validate.field).{field.fill(kind.rule)}")
    comment = field.comment or f"Its {field.name.replace('_', ' ')}."
    listed = ",\n    ".join(options)
    bracket = f" [\n    {listed}\n  ]" if len(options) > 1 else f" [{listed}]" if options else ""
    return f"  // {comment}\n  {field.fill(kind.proto)} {field.name} = {number}{bracket};"


def _enum(field: Field) -> str:
    camel, upper = field.fill("{camel}"), field.fill("{upper}")
    return (
        f"\n  // The values of `{field.name}`.\n  enum {camel} {{\n    // Not said.\n    {upper}_UNSPECIFIED = 0;\n"
        f"    // In use.\n    {upper}_ACTIVE = 1;\n    // Out of use.\n    {upper}_INACTIVE = 2;\n  }}\n"
    )


def _with_table(path: Path, words: dict[str, str]) -> str:
    """The tables module of a domain with a further table, with its imports merged into existing ones."""
    table = _template("table.py", words).rstrip() + "\n"
    data = ["tenant_table", *(name for name in ("time_column", "uuid_column") if f"{name}(" in table)]
    needed = {
        "sqlalchemy": [name for name in COLUMN_TYPES if re.search(rf"\b{name}\b(?=[(,)])", table)],
        "sqlalchemy.dialects.postgresql": [name for name in ("ARRAY", "JSONB") if name in table],
        "server.data.tables": data,
    }
    text = path.read_text() if path.exists() else f'"""Tables of {words["domain"]}."""\n\n'
    for module, wanted in needed.items():
        text = _with_import(text, module, wanted)
    return f"{text.rstrip()}\n\n{table}"


def _with_import(text: str, module: str, wanted: Sequence[str]) -> str:
    if not wanted:
        return text
    line = re.compile(rf"^from {re.escape(module)} import (\([^)]*\)|[^\n]*)\n", re.MULTILINE)
    found = line.search(text)
    there = re.findall(r"\w+", found[1]) if found else []
    # In the order of the linter: constants, classes, functions.
    every = sorted({*there, *wanted}, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    new_line = f"from {module} import {', '.join(every)}\n"
    if found:
        return text[: found.start()] + new_line + text[found.end() :]
    imports = list(re.finditer(r"^from [^\n]*(?:\([^)]*\))?\n", text, re.MULTILINE))
    gap = "\n" if imports and module.startswith("server") else ""
    place = imports[-1].end() if imports else text.index('"""\n\n') + len('"""\n\n')
    return text[:place] + gap + new_line + text[place:]


def _with_service(path: Path, names: Names, words: dict[str, str]) -> str:
    """The module of a domain with a further service."""
    if not path.exists():
        return _template("module.py", words | _decision_words(words))
    text = path.read_text()
    service = f"{names.name}Service"
    if "services=(" not in text:
        raise Fault(f"{path} has no `services=(`: add {service} there by hand first", REFUSED)
    line = f"from server.domains.{names.domain}.{names.plural} import {service}\n"
    text = re.sub(r"^from server\.", f"{line}from server.", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"services=\(\s*", f"services=({service}, ", text, count=1)
    return _with_decision(text, words) if words["decision"] else text


def _decision_words(words: dict[str, str]) -> dict[str, str]:
    """The parts of a new module that say what becomes of its first table."""
    kernel = "from server.kernel.module import Module\n"
    if not words["decision"]:
        return {"decision_imports": kernel, "erases": ""}
    table = f"from server.domains.{words['domain']}.tables import {words['table']}\n"
    imports = f"{table}{kernel}from server.kernel.privacy import NotPersonal\n"
    return {"decision_imports": imports, "erases": f"    erases=({words['decision']}),\n"}


def _with_decision(text: str, words: dict[str, str]) -> str:
    """The module of a domain with the decision about a further table."""
    text = _with_import(text, f"server.domains.{words['domain']}.tables", [words["table"]])
    text = _with_import(text, "server.kernel.privacy", ["NotPersonal"])
    if "erases=(" in text:
        return re.sub(r"erases=\(\s*", f"erases=({words['decision']}", text, count=1)
    return f"{text.rstrip().removesuffix(')')}    erases=({words['decision']}),\n)\n"


def _decision(table: str, words: str, fields: Sequence[Field]) -> str:
    """What becomes of the columns of a new table when a person is erased. Empty if nothing in it can hold anything."""
    columns = [f"{field.name}_currency" if field.type == "money" else field.name for field in fields if _is_open(field)]
    if not columns:
        return ""
    listed = ", ".join(f'"{name}"' for name in columns)
    return f'NotPersonal({table}, {listed}, why="of the {words}, and of no person"), '


def _is_open(field: Field) -> bool:
    return field.type in OPEN_TYPES or bool(PERSONAL_NAME.search(field.name))


def _with_instance(path: Path, names: Names, words: dict[str, str]) -> str:
    """The instances module of a domain with a further resource."""
    body = f"from tests.domains.{names.domain}.{names.singular}_body import {names.singular}_body\n"
    if not path.exists():
        return _template("instances.py", words).rstrip() + "\n" + _template("instance.py", words)
    text = path.read_text()
    text = _with_import(text, "tests.contract.instances", ["Instance", "Mutation", "Named", "made"])
    text = _with_import(text, "tests.clients", ["Tenant"])
    last = list(re.finditer(r"^from [^\n]*\n", text, re.MULTILINE))[-1].end()
    return text[:last] + body + text[last:].rstrip() + "\n" + _template("instance.py", words)


def _declare(path: Path, domain: str) -> None:
    """Name a new domain in server/modules.py."""
    text = path.read_text()
    imported = f"from server.domains.{domain}.module import MODULE as {domain.upper()}\n"
    lines = re.findall(r"^from server\.domains\.\w+\.module import MODULE as \w+\n", text, re.MULTILINE)
    text = text.replace("".join(lines), "".join(sorted([*lines, imported])))
    text = re.sub(r"^(MODULES: [^\n]*= \([^)]*?),?\)", rf"\1, {domain.upper()})", text, count=1, flags=re.MULTILINE)
    path.write_text(text)
