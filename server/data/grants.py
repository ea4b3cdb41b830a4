"""Grants: the privileges of PostgreSQL's roles beyond those for every table.

The runtime role reads and writes every table, within row-level security. The dispatch role does background work across
tenants and has access only to the tables that are named here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import LiteralString


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """The grants that one domain declares."""

    dispatch_reads: tuple[str, ...] = ()
    """Tables that the dispatch role reads."""
    dispatch_finds: Mapping[str, LiteralString] = field(default_factory=dict)
    """Tables of which the dispatch role reads some rows: those that meet a condition, as PostgreSQL writes it."""
    dispatch_appends: tuple[str, ...] = ()
    """Tables in which it reads and inserts rows. Rows never change afterwards."""
    dispatch_writes: tuple[str, ...] = ()
    """Tables in which it has all privileges."""
    runtime_limits: tuple[LiteralString, ...] = ()
    """GRANT and REVOKE statements that restrict the runtime role; `{}` is the role."""


NO_GRANTS = Grants()
PLATFORM_GRANTS = Grants(
    dispatch_reads=("tenants",),
    dispatch_appends=("events", "audit_entries"),
    dispatch_writes=("event_cursors", "moves"),
    runtime_limits=("REVOKE INSERT, UPDATE, DELETE ON log_epochs FROM {}",),
)
"""The grants for the event log and the audit log, to which background work of every domain appends, and for moves."""


def join_grants(grants: Iterable[Grants]) -> Grants:
    """The grants of the platform and of all domains together."""
    every = (PLATFORM_GRANTS, *grants)
    return Grants(
        dispatch_reads=tuple(table for each in every for table in each.dispatch_reads),
        dispatch_finds={table: rows for each in every for table, rows in each.dispatch_finds.items()},
        dispatch_appends=tuple(table for each in every for table in each.dispatch_appends),
        dispatch_writes=tuple(table for each in every for table in each.dispatch_writes),
        runtime_limits=tuple(statement for each in every for statement in each.runtime_limits),
    )
