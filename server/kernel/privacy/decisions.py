"""The sweep of decisions: every table and column that may hold personal data has one, and each of them can be done."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from plinth.policy.v1 import policy_pb2
from sqlalchemy import ARRAY, LargeBinary, String, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from server.kernel.messages.fields import descriptor_of, option_of
from server.kernel.privacy.declaration import Erase, Kept, NotPersonal, Pseudonymise, Remove
from server.kernel.privacy.plan import Privacy
from server.kernel.resources import AnyService

PERSONAL_NAME = re.compile(
    r"(^|_)(user|owner|actor|audience|person|author|member|email|mail|phone|address|ip|birth|gender)(_|$)"
)
"""Names of columns that say whose a row is, or something of a person, whatever their type."""
FOREIGN = r"procrastinate_|alembic_version$"
"""Tables that Plinth does not describe: those of the queue and of the migrations."""
WHERE = "in `erases` of the module.py of its domain"


class Shape(NamedTuple):
    """A column, as far as it matters here."""

    table: str
    column: str
    is_open: bool
    """Whether it holds text, JSON or bytes, into which anything can be written."""

    @property
    def needs_decision(self) -> bool:
        """Whether it may hold personal data. Ids, times, numbers and truth values are facts."""
        return self.is_open or bool(PERSONAL_NAME.search(self.column))


def shapes_of(tables: Iterable[Table]) -> list[Shape]:
    """The columns of these tables."""
    return [Shape(table.name, column.name, _is_open(column.type)) for table in tables for column in table.c]


def _is_open(kind: TypeEngine[object]) -> bool:
    return isinstance(kind.item_type if isinstance(kind, ARRAY) else kind, String | JSONB | LargeBinary)


def undecided(privacy: Privacy, shapes: Iterable[Shape], beyond: str = "") -> Iterator[str]:
    """Columns without a decision, and decisions about columns that do not exist or that contradict each other.

    Tables that match `beyond` may have columns that are not among the shapes.
    """
    known = {(shape.table, shape.column): shape for shape in shapes}
    erased, kept = _erased(privacy, known), _kept(privacy)
    for (table, column), shape in known.items():
        both = (table, column) in erased and (table, column) in kept
        if both:
            yield f"`{table}.{column}` is both erased and declared as kept: drop one of the two"
        elif shape.needs_decision and (table, column) not in erased and (table, column) not in kept:
            yield (
                f"`{table}.{column}` may hold personal data, and nothing says what becomes of it: name it {WHERE}, "
                f'with Remove({table}), Pseudonymise({table}, "{column}"), or '
                f'NotPersonal({table}, "{column}", why="...")'
            )
    for table, column in sorted({*erased, *kept} - known.keys()):
        if not (beyond and re.match(beyond, table)):
            yield f"`erases` names `{table}.{column}`, which does not exist"


def impossible(privacy: Privacy) -> Iterator[str]:
    """Decisions and exports that cannot be done, or only by reading the whole table."""
    for deed in (*privacy.decisions, *privacy.exports):
        if isinstance(deed, Erase | NotPersonal):
            continue
        name, what = deed.table.name, type(deed).__name__
        columns = {deed.by, *getattr(deed, "columns", ())}
        missing = sorted(columns - set(deed.table.c.keys()))
        if missing:
            yield f"{what}({name}) names `{missing[0]}`, which `{name}` does not have"
        elif not _is_found(deed.table, deed.by):
            yield f"{what}({name}) finds rows by `{deed.by}`: no index of `{name}` begins with it (after tenant_id)"
        if isinstance(deed, Pseudonymise):
            yield from (
                f"Pseudonymise({name}) empties `{column}`, which a unique index tells apart: use Erase"
                for column in deed.columns
                if any(index.unique and column in index.columns for index in deed.table.indexes)
            )


def unmarked(privacy: Privacy, services: Iterable[type[AnyService]]) -> Iterator[str]:
    """Fields of resources whose mark `personal` and the decision about their column differ."""
    pseudonymised = {
        (d.table.name, name) for d in privacy.decisions if isinstance(d, Pseudonymise) for name in d.columns
    }
    shapes = {(s.table, s.column): s for s in shapes_of({d.table for d in privacy.decisions if isinstance(d, Remove)})}
    gone = pseudonymised | _erased(privacy, shapes)
    kept = _kept(privacy)
    for service in services:
        if service.resource is None:
            continue
        table = service.resource.table.name
        for field in descriptor_of(service.resource.message).fields:
            if field.name not in service.resource.table.c:
                continue
            place = (table, field.name)
            is_marked = bool(option_of(field, policy_pb2.personal))
            if is_marked and place not in gone and not isinstance(kept.get(place), Kept):
                yield f"{_name(field)} is personal, and `{table}.{field.name}` stays when a person is erased: {WHERE}"
            if place in pseudonymised and not is_marked:
                yield f"`{table}.{field.name}` is erased with a person: mark {_name(field)} (plinth.policy.v1.personal)"


def unexported(privacy: Privacy) -> Iterator[str]:
    """Tables of persons that no export has."""
    exported = {export.table.name for export in privacy.exports}
    erased = {
        deed.table.name for deed in privacy.decisions if isinstance(deed, Remove | Pseudonymise) and deed.of is None
    }
    for table in sorted(erased | {owned.table.name for owned in privacy.owned}):
        if table not in exported:
            yield f"`{table}` has rows of persons, which no export holds: add Export({table}) to `exports`"
    for owned in privacy.owned:
        if not any(isinstance(d, Remove | Pseudonymise) and d.table is owned.table for d in privacy.decisions):
            yield (
                f"{owned.type} belongs to persons: say with Remove({owned.table.name}) or "
                f"Pseudonymise({owned.table.name}, ...) what becomes of it, {WHERE}"
            )


def _erased(privacy: Privacy, known: Mapping[tuple[str, str], Shape]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for deed in privacy.decisions:
        if isinstance(deed, Remove):
            found |= {place for place in known if place[0] == deed.table.name} if deed.where is None else set()
        elif isinstance(deed, Pseudonymise):
            found |= {(deed.table.name, name) for name in (deed.by, *deed.columns)}
        elif isinstance(deed, Erase):
            found |= {(deed.table.name, name) for name in deed.columns}
    return found


def _kept(privacy: Privacy) -> dict[tuple[str, str], NotPersonal]:
    return {
        (each.table, name): each for each in privacy.decisions if isinstance(each, NotPersonal) for name in each.columns
    }


def _is_found(table: Table, by: str) -> bool:
    keys = [[column.name for column in index.columns] for index in table.indexes]
    keys.append([column.name for column in table.primary_key.columns])
    start = ["tenant_id", by] if "tenant_id" in table.c else [by]
    return any(key[: len(start)] == start for key in keys)


def _name(field: FieldDescriptor) -> str:
    return str(field.full_name)
