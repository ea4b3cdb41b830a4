"""Exports: the log as a file, oldest entries first, in memory that does not depend on the number of entries.

CSV is RFC 4180: UTF-8, a header line, lines that end in CR LF. Its columns are the fields of AuditEntry, by name and in
order; `changes` is JSON. JSON Lines hold each entry in its REST form. Entries written after the export began are left
out.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from plinth.audit.v1.audit_pb2 import AuditEntry, ExportFormat
from sqlalchemy import ColumnElement, bindparam, literal_column, select

from server.data.audit import audit_entries
from server.data.clauses import AnySelect
from server.data.events import NO_TENANT
from server.data.shapes import SHAPES
from server.data.statements import Row, Statement
from server.domains.audit.entries import CHANGES, compact, shown
from server.domains.audit.leaves import ENTRY_COLUMNS, Run
from server.kernel.call import Call
from server.kernel.queries import BoundFilter, FilterPlan, OrderTerm, after_cursor, order_columns, parse_filter
from server.kernel.resources import Resource

BATCH = 500
"""Number of entries per read."""
CHUNK_BYTES = 64 * 1024
OLDEST_FIRST = (OrderTerm("create_time", descending=False), OrderTerm("id", descending=False))
BEFORE_ALL = {"after_0": datetime.min.replace(tzinfo=UTC), "after_1": NO_TENANT}
UNTIL: ColumnElement[bool] = audit_entries.c.create_time <= bindparam("until", type_=audit_entries.c.create_time.type)
OF_TENANT: ColumnElement[bool] = audit_entries.c.tenant_id == bindparam("tenant", type_=audit_entries.c.tenant_id.type)
# Characters that start a formula in a spreadsheet, or that it skips before one.
FORMULA = frozenset("=+-@\t\r\n")
BOOLEANS = {True: "true", False: "false"}
COLUMNS = tuple(field.name for field in AuditEntry.DESCRIPTOR.fields)
JSON_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")

Lines = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """The format of an export."""

    media_type: str
    suffix: str


CSV = Format("text/csv; charset=utf-8", "csv")
JSONL = Format("application/x-ndjson", "jsonl")
FORMATS: dict[int, Format] = {
    ExportFormat.EXPORT_FORMAT_UNSPECIFIED: CSV,
    ExportFormat.EXPORT_FORMAT_CSV: CSV,
    ExportFormat.EXPORT_FORMAT_JSONL: JSONL,
}


def format_of(call: Call, asked: int) -> Format:
    """The format that the request names, or over REST the media type in Accept."""
    accepted = str(call.metadata.get("accept", "")) if call.is_rest else ""
    if not asked and any(media_type in accepted for media_type in JSON_LINES):
        return JSONL
    return FORMATS[asked]


class Selection:
    """The selection of entries to export: those of one tenant, or of all, that match a filter."""

    def __init__(self, resource: Resource[AuditEntry], *scope: ColumnElement[bool]) -> None:
        """`scope` are conditions whose parameters are given to `rows`."""
        fields: Any = resource.message.DESCRIPTOR.fields_by_name
        self._filters = FilterPlan(fields, resource.table, resource.filterable)
        self._scope = scope

    def rows(self, text: str, **parameters: object) -> Callable[[Run], Iterator[Row]]:
        """A function that reads the rows, oldest first. Raises Malformed for an invalid filter."""
        bound = self._filters.bind(parse_filter(text))
        statement = SHAPES.statement((self, bound.key), lambda: self._select(bound))
        return lambda run: every_row(run, statement, **parameters, **bound.parameters)

    def _select(self, bound: BoundFilter) -> AnySelect:
        condition = self._filters.condition(bound)
        return oldest_first(*self._scope, *([condition] if condition is not None else []))


def oldest_first(*conditions: ColumnElement[bool]) -> AnySelect:
    """The select of a statement for `every_row`: a batch of entries after a cursor."""
    entries = select(*ENTRY_COLUMNS).where(*conditions, after_cursor(audit_entries, OLDEST_FIRST))
    return entries.order_by(*order_columns(audit_entries, OLDEST_FIRST)).limit(literal_column(str(BATCH)))


def every_row(run: Run, statement: Statement, **parameters: object) -> Iterator[Row]:
    """All rows of a statement, read in batches."""
    cursor = BEFORE_ALL
    while True:
        batch = run(statement, **parameters, **cursor).all()
        yield from batch
        if len(batch) < BATCH:
            return
        cursor = {"after_0": batch[-1]["create_time"], "after_1": batch[-1]["id"]}


def csv_lines(rows: Iterable[Row]) -> Lines:
    """Rows as CSV."""
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for row in rows:
        yield writer.writerow([_cell(value) for value in shown(row).values()])


class _Echo:
    """Returns each line of csv.writer to its caller."""

    def write(self, line: str) -> bytes:
        """The line as bytes."""
        return line.encode()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if value and value[0] in FORMULA else value
    return BOOLEANS[value] if isinstance(value, bool) else value


def json_lines(rows: Iterable[Row]) -> Lines:
    """Rows as JSON Lines."""
    for row in rows:
        entry = shown(row)
        changes = entry.pop(CHANGES)
        # Already JSON in the log.
        told = f',"changes":{changes}' if changes else ""
        yield f"{compact(entry)[:-1]}{told}}}\n".encode()


def chunks_of(lines: Lines) -> Iterator[bytes]:
    """Lines combined into chunks; at least one chunk, which may be empty."""
    waiting: list[bytes] = []
    size, sent = 0, False
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size, sent = [], 0, True
    if waiting or not sent:
        yield b"".join(waiting)
