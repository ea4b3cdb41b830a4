"""Rows for a database of any released schema: of two tenants, in every table, as an old version may have left them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

TENANTS = ("10000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000002")
BUILT_IN = ("owner", "admin", "editor", "member", "viewer", "employee", "partner")
# Beyond what a fresh sequence would draw.
LATEST = 41
# What is not composed, and what 0007 makes of it.
DECOMPOSED, COMPOSED = "Cafe\u0301", "Caf\u00e9"
COMPOSES = {("pages", "title"), ("tenants", "name"), ("api_keys", "name")}
# The id of whatever others may refer to, which is unique within a tenant only, or of the first tenant only.
USER = "30000000-0000-4000-8000-000000000003"
# Tables of one row.
SINGLE = {"secret_canaries"}
REFERRED = {
    "webhooks",
    "api_keys",
    "webhook_deliveries",
    "pages",
    "trips",
    "feature_flags",
    "email_templates",
    "navigation_items",
    "file_blobs",
    "assets",
    "dictionaries",
    "dictionary_entries",
    *("stories", "story_comments", "moderation_items"),
    # Their ids are those of assets.
    "asset_uploads",
}
# By the type that PostgreSQL names.
VALUES: Mapping[str, Any] = {
    "uuid": USER,
    "text": "text",
    "bigint": 1,
    "integer": 1,
    "smallint": 1,
    "double precision": 1.0,
    "boolean": False,
    "bytea": b"bytes",
    "jsonb": "{}",
    "xid8": "7",
    "text[]": ["owner"],
    "uuid[]": [USER],
    "integer[]": [1],
    "smallint[]": [1],
    "timestamp with time zone": "2026-11-05T12:00:00Z",
    "date": "2026-12-01",
    "interval": "1 minute",
}
# Not the queue's tables, which no migration of ours touches, nor Alembic's own.
TABLES = """
SELECT c.oid::regclass::text AS name,
       array(SELECT DISTINCT confrelid::regclass::text FROM pg_constraint
              WHERE conrelid = c.oid AND contype = 'f' AND confrelid <> c.oid) AS needs
  FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relname <> 'alembic_version' AND c.relname NOT LIKE 'procrastinate%'
 ORDER BY 1
"""
COLUMNS = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
 WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
Connection = psycopg.Connection[Any]
Row = dict[str, Any]


@dataclass
class Content:
    """The rows of each table, each as JSON gives it."""

    tables: dict[str, list[Row]]

    def of_tenant(self, table: str, tenant_id: str) -> list[Row]:
        """A tenant's rows of a table."""
        return [row for row in self.tables[table] if row["tenant_id"] == tenant_id]


def fill(connection: Connection, *, is_damaged: bool) -> None:
    """Put rows into every table, for each tenant. The connection is a superuser's, whom nothing is hidden from.

    With `is_damaged`, they are as an upgrade from schema 0001 once left them: one tenant has no built-in roles, and the
    sequence of events is behind them.
    """
    months = connection.execute("SELECT to_regproc('plinth_make_partition') IS NOT NULL").fetchone()
    if months and months[0]:
        for parent in ("events", "audit_entries", "webhook_attempts"):
            connection.execute("SELECT plinth_make_partition(%s, '2026-11-01')", (parent,))
    for table in in_order(connection):
        columns: list[tuple[str, str]] = connection.execute(COLUMNS, (table,)).fetchall()
        for number, tenant_id in enumerate(TENANTS[:1] if table in SINGLE else TENANTS):
            for row in _rows(table, columns, tenant_id, number, without_roles=is_damaged and number == 1):
                _insert(connection, table, row)
    if not is_damaged:
        connection.execute("SELECT setval('events_sequence_seq', %s)", (LATEST,))


def in_order(connection: Connection) -> list[str]:
    """The tables, each after those that its foreign keys lead to."""
    waiting: dict[str, list[str]] = dict(connection.execute(TABLES).fetchall())
    ordered: list[str] = []
    while waiting:
        ready = [table for table, needs in waiting.items() if not set(needs) & waiting.keys()]
        assert ready, f"these tables need each other: {waiting}"
        ordered += ready
        for table in ready:
            del waiting[table]
    return ordered


def content(connection: Connection) -> Content:
    """What all tables hold."""
    return Content({table: _all_rows(connection, table) for table in in_order(connection)})


def _all_rows(connection: Connection, table: str) -> list[Row]:
    every = sql.SQL("SELECT to_jsonb(t) FROM {} t ORDER BY to_jsonb(t)::text").format(sql.Identifier(table))
    return [row for (row,) in connection.execute(every).fetchall()]


def _rows(table: str, columns: list[tuple[str, str]], tenant_id: str, number: int, *, without_roles: bool) -> list[Row]:
    row = {name: _value(table, name, kind, tenant_id, number) for name, kind in columns}
    if table != "roles":
        return [row]
    built_in = [
        row | {"id": _numbered(10 * number + index), "name": name, "built_in": True}
        for index, name in enumerate(BUILT_IN)
    ]
    return [row] if without_roles else [row, *built_in]


def _value(table: str, name: str, kind: str, tenant_id: str, number: int) -> Any:
    """A value of the column's type, another one for each tenant where it may have to be unique."""
    named = {
        ("tenants", "id"): tenant_id,
        ("users", "id"): (USER, _numbered(1))[number],
        ("plans", "id"): (USER, _numbered(1))[number],
        ("authenticators", "user_id"): (USER, _numbered(1))[number],
        ("dictionary_relations", "entry_id"): USER,
        ("ip_blocks", "network"): f"192.0.2.{number}/32",
        ("log_epochs", "epoch"): number + 1,
        ("secret_canaries", "id"): True,
    }
    of_any_table = {"tenant_id": tenant_id, "sequence": LATEST - number, "delete_time": None}
    of_type = {"text": f"{name} {number}", "bytea": f"{name} {number}".encode()}
    if (table, name) in COMPOSES:
        return DECOMPOSED
    if (table, name) in named:
        return named[table, name]
    if name in {"id", "entry_id"} and kind == "uuid" and table not in REFERRED:
        return _numbered(100 + number)
    return of_any_table[name] if name in of_any_table else (dict(VALUES) | of_type)[kind]


def _numbered(number: int) -> str:
    return f"40000000-0000-4000-8000-{number:012}"


def _insert(connection: Connection, table: str, row: Row) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    values = sql.SQL(", ").join(sql.Placeholder() * len(row))
    insert = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})")
    connection.execute(insert.format(sql.Identifier(table), names, values), list(row.values()))
