"""Entries as the API shows them: rows of the log as messages, and as plain JSON for exports."""

import json
from dataclasses import replace
from typing import NamedTuple

from plinth.audit.v1.audit_pb2 import AuditEntry
from sqlalchemy import and_, literal_column

from server.data.audit import audit_entries
from server.data.connections import Result
from server.data.statements import Row
from server.json_values import JsonObject
from server.kernel.actors import USER
from server.kernel.messages import fill_struct
from server.kernel.record import OK
from server.kernel.resources import ConversionPlan, Raw, Resource

ENTRIES = Resource(
    AuditEntry,
    audit_entries,
    # In each tenant's log, these are ranges of an index: id, actor_id, resource_id, action and create_time. The others
    # narrow the rows that those find, or the newest ones.
    filterable=(
        *("id", "action", "method", "actor_id", "actor_kind", "resource_type", "resource_id", "outcome", "reason"),
        *("security", "request_id", "create_time"),
    ),
    sortable=("create_time",),
)
ALL_ENTRIES = replace(ENTRIES, filterable=("tenant_id", *ENTRIES.filterable))
SECURITY_EVENTS = replace(ENTRIES, where=audit_entries.c.security)
# Changes made by users, without refusals and without the calls of programs.
USER_ACTIVITIES = replace(
    ENTRIES,
    where=and_(
        audit_entries.c.actor_kind == literal_column(str(USER)), audit_entries.c.outcome == literal_column(f"'{OK}'")
    ),
)
CHANGES = "changes"
ACTOR_KINDS = {number: name for name, number in AuditEntry.ActorKind.items()}
SIGNS_OF_ONE = '":"'
"""Occurs in the JSON of commitments once for each."""


class Facts(NamedTuple):
    """The facts in an entry besides its plain columns."""

    changes: str
    """A JSON object, or empty."""
    ip: str
    user_agent: str
    erased: bool


def facts_of(changes: str, personal: str, commitments: str) -> Facts:
    """Parse the columns of these names: JSON, or empty."""
    kept: dict[str, dict[str, str]] = json.loads(personal)
    values = {name: part["value"] for name, part in kept.items()}
    if CHANGES in values:
        changes = _merged(changes, values[CHANGES])
    # A value with a commitment that is no longer present was erased.
    erased = commitments.count(SIGNS_OF_ONE) > len(kept)
    return Facts(changes, values.get("ip", ""), values.get("user_agent", ""), erased)


def _merged(plain: str, personal: str) -> str:
    """Plain and personal changes combined. With several resources, an id may be in both."""
    changes: dict[str, JsonObject] = json.loads(plain) if plain else {}
    for name, change in json.loads(personal).items():
        changes[name] = changes.get(name, {}) | change
    return compact(changes)


def compact(value: object) -> str:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class EntryPlan:
    """Conversion of rows to messages. `changes` and personal values are JSON in text columns."""

    def __init__(self) -> None:
        self._plan = ConversionPlan(
            AuditEntry, audit_entries, hidden=(CHANGES,), computed=("ip", "user_agent", "erased")
        )
        self._place = len(self._plan.columns)
        columns = audit_entries.c
        self.columns = (*self._plan.columns, columns.changes, columns.personal, columns.commitments)
        """The columns that a statement must select, in this order."""

    def message(self, raw: Raw) -> AuditEntry:
        """The entry in a row."""
        entry = self._plan.message(raw)
        texts = [(value or b"").decode() for value in raw[self._place : self._place + 3]]
        facts = facts_of(*texts)
        if facts.changes:
            fill_struct(entry.changes, json.loads(facts.changes))
        entry.ip, entry.user_agent, entry.erased = facts.ip, facts.user_agent, facts.erased
        return entry

    def messages(self, result: Result) -> list[AuditEntry]:
        """The entries in the rows of a result."""
        return [self.message(result.raw(row)) for row in range(result.returned)]


def shown(row: Row) -> JsonObject:
    """A row in the REST form of an entry, in the order of the .proto; but `changes` is JSON text or empty.

    Through protobuf it would take ten times as long.
    """
    facts = facts_of(row["changes"], row["personal"], row["commitments"])
    return {
        "id": row["id"],
        "tenantId": row["tenant_id"],
        "createTime": row["create_time"].isoformat().replace("+00:00", "Z"),
        "actorKind": ACTOR_KINDS[row["actor_kind"]],
        "actorId": row["actor_id"] or "",
        "sessionId": row["session_id"] or "",
        "method": row["method"],
        "action": row["action"],
        "resourceType": row["resource_type"],
        "resourceId": row["resource_id"],
        "outcome": row["outcome"],
        "reason": row["reason"],
        "security": row["security"],
        "count": row["count"],
        "requestId": row["request_id"],
        "eventId": row["event_id"] or "",
        "changes": facts.changes,
        "ip": facts.ip,
        "userAgent": facts.user_agent,
        "erased": facts.erased,
    }
