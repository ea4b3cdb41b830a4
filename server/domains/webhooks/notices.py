"""Notices to a tenant about a failing webhook: an event and an audit entry, in the transaction of the change."""

from datetime import datetime

from plinth.webhooks.v1.webhook_pb2 import Webhook

from server.data.statements import Row, Statement
from server.domains.webhooks.messages import moment
from server.kernel.messages import etag_of
from server.kernel.record import record_platform_change

CAUSE = "webhooks.delivery"
PLAIN = ("id", "url", "description", "event_types", "enabled", "signature_scheme", "disable_reason")
TIMES = (
    *("previous_secret_expire_time", "failing_since_time", "last_success_time", "disable_time"),
    *("create_time", "update_time"),
)


def webhook_of(row: Row) -> Webhook:
    """The resource in a row of webhooks, without its secret."""
    webhook = Webhook(etag=etag_of(row["id"], row["version"]), **{name: row[name] for name in PLAIN})
    for name in TIMES:
        if row[name] is not None:
            getattr(webhook, name).CopyFrom(moment(row[name]))
    return webhook


def record_of(event_type: str, before: Row, after: Row, now: datetime) -> list[tuple[Statement, dict[str, object]]]:
    """The statements, with their parameters, that record a change of a webhook's row."""
    statements = _Statements()
    record_platform_change(
        statements,
        event_type,
        cause=CAUSE,
        before=webhook_of(before),
        after=webhook_of(after),
        now=now,
        tenant_id=after["tenant_id"],
        audience=None,
    )
    return statements.queued


class _Statements:
    """A stand-in for a transaction, to collect statements for a connection of psycopg."""

    def __init__(self) -> None:
        self.queued: list[tuple[Statement, dict[str, object]]] = []

    def queue(self, statement: Statement, **parameters: object) -> None:
        self.queued.append((statement, parameters))
