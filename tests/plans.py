"""Plans of statements as the runtime role, under row-level security, with the rows that were read."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

from server.data.statements import Statement
from tests.search.database import Scratch, bind

MODES = ("force_custom_plan", "force_generic_plan")
"""How a statement may be planned: for its parameters, or once for all of them."""


def plan_of(
    scratch: Scratch, number: int, statement: Statement, parameters: Mapping[str, Any], mode: str, *settings: str
) -> dict[str, Any]:
    """The plan in the tenant of this number. What the statement changes is rolled back."""
    values = [None if value is None else value.decode() for value in statement.encode(dict(parameters))]
    with psycopg.connect(scratch.runtime) as connection:
        bind(connection, number)
        for setting in (f"plan_cache_mode = {mode}", *settings):
            connection.execute(f"SET {setting}".encode())
        connection.execute(b"PREPARE planned AS " + statement.sql)
        execute = sql.SQL("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE planned ({})")
        row = connection.execute(execute.format(sql.SQL(", ").join(map(sql.Literal, values)))).fetchone()
        connection.rollback()
    assert row is not None
    plan: dict[str, Any] = json.loads(json.dumps(row[0]))[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def scans(plan: dict[str, Any], table: str = "") -> list[dict[str, Any]]:
    """The scans that ran: of a table, or of all."""
    return [
        node
        for node in nodes(plan)
        if "Scan" in node["Node Type"]
        and "Relation Name" in node
        and node["Actual Loops"]
        and table in ("", node["Relation Name"])
    ]


def read_by(node: dict[str, Any]) -> float:
    """The rows that a scan read."""
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + removed) * node["Actual Loops"])
