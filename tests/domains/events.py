"""What the event log says, read past every wall."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import symbol_database
from google.protobuf.message import Message

from tests.clients import rows
from tests.stack import Stack


@dataclass(frozen=True)
class Written:
    """An event as it was written."""

    type: str
    resource_id: str
    payload: Any
    actor_id: str | None
    tenant_id: str
    raw: bytes


def events_of(stack: Stack, tenant_id: str) -> list[Written]:
    """The events of a tenant, oldest first."""
    return _written(rows(stack, f"{SELECT} WHERE tenant_id = %s {ORDER}", tenant_id))


def events_about(stack: Stack, text: str) -> list[Written]:
    """The events of anybody whose payload holds this text, such as an address."""
    return _written(rows(stack, f"{SELECT} WHERE position(%s::bytea IN payload) > 0 {ORDER}", text.encode()))


SELECT = "SELECT *, tenant_id::text AS tenant, actor_id::text AS actor FROM events"
ORDER = "ORDER BY transaction_id, sequence"


def _written(found: list[dict[str, Any]]) -> list[Written]:
    return [
        Written(row["type"], row["resource_id"], _message(row), row["actor"], row["tenant"], bytes(row["payload"]))
        for row in found
    ]


def _message(row: dict[str, Any]) -> Message:
    known: Any = symbol_database.Default()
    message: Message = known.GetSymbol(row["message_type"])()
    message.ParseFromString(bytes(row["payload"]))
    return message
