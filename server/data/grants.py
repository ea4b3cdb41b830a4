"""Grants: what PostgreSQL's roles may do beyond what holds for every table.

The runtime role reads and writes every table, within row-level security. The dispatch role does the background work of
every tenant, and reaches nothing but the tables that are named here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What one domain declares."""

    dispatch_reads: tuple[str, ...] = ()
    """Tables that the dispatch role reads."""
    dispatch_appends: tuple[str, ...] = ()
    """Tables that it reads and adds rows to, which nobody changes afterwards."""
    dispatch_writes: tuple[str, ...] = ()
    """Tables in which it does everything."""
    runtime_limits: tuple[LiteralString, ...] = ()
    """GRANT and REVOKE statements that narrow what the runtime role may do; `{}` is the role."""


NO_GRANTS = Grants()
PLATFORM_GRANTS = Grants(
    dispatch_reads=("tenants",),
    dispatch_appends=("events", "audit_entries"),
    dispatch_writes=("event_cursors",),
    runtime_limits=("REVOKE INSERT, UPDATE, DELETE ON log_epochs FROM {}",),
)
"""What the log of events and the audit log need, to which background work of every domain adds."""


def join_grants(grants: Iterable[Grants]) -> Grants:
    """Those of the platform and of all domains together."""
    every = (PLATFORM_GRANTS, *grants)
    return Grants(
        dispatch_reads=tuple(table for each in every for table in each.dispatch_reads),
        dispatch_appends=tuple(table for each in every for table in each.dispatch_appends),
        dispatch_writes=tuple(table for each in every for table in each.dispatch_writes),
        runtime_limits=tuple(statement for each in every for statement in each.runtime_limits),
    )
