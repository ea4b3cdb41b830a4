"""Attempts: the request to a receiver and its answer, stored without secrets and cut to size."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from plinth.webhooks.v1.webhook_pb2 import WebhookDelivery
from sqlalchemy import bindparam, insert, select

from server.data.statements import Row, Statement
from server.domains.webhooks.messages import moment
from server.domains.webhooks.tables import webhook_attempts
from server.kernel.ports import Answer

# SCHEDULE has nine retries. An attempt has at most about 130 KB, and all that are shown must fit into one answer.
MOST_ATTEMPTS = 20
MOST_HEADERS = 50
LONGEST_HEADER = 1000
REQUEST_BYTES = 16 * 1024
RESPONSE_BYTES = 4 * 1024
# A holder of one of these can impersonate Plinth or the receiver.
SECRET_HEADERS = frozenset(
    (
        *("webhook-signature", "authorization", "proxy-authorization", "authentication-info", "proxy-authenticate"),
        *("www-authenticate", "cookie", "set-cookie", "set-cookie2", "x-api-key", "x-auth-token", "x-csrf-token"),
    )
)

_columns = webhook_attempts.c
ADD = Statement(
    insert(webhook_attempts).values({column.name: bindparam(column.name, type_=column.type) for column in _columns})
)
"""Takes the row of `attempt_row`, `tenant_id` and `delivery_id`."""
OF_DELIVERY = Statement(
    select(*(column for column in _columns if column.name not in ("tenant_id", "delivery_id")))
    .where(_columns.tenant_id == bindparam("tenant", type_=_columns.tenant_id.type))
    .where(_columns.delivery_id == bindparam("delivery", type_=_columns.delivery_id.type))
    .order_by(_columns.number, _columns.create_time)
    .limit(MOST_ATTEMPTS)
)
"""Takes `tenant` and `delivery`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The request and its time."""

    time: datetime
    headers: Mapping[str, str]
    body: bytes


def attempt_row(number: int, sent: Sent, answer: Answer) -> Row:
    """The row of an attempt, without `tenant_id` and `delivery_id`. The first attempt is 1."""
    return {
        "number": number,
        "create_time": sent.time,
        "duration_ms": round(answer.duration.total_seconds() * 1000),
        "status_code": answer.status_code,
        "error": _cut(answer.error.encode("utf-8", "replace"), LONGEST_HEADER),
        "request_headers": _shown_headers(sent.headers),
        "request_body": _cut(sent.body, REQUEST_BYTES),
        "response_headers": _shown_headers(answer.headers),
        "response_body": _cut(answer.body.encode("utf-8", "replace"), RESPONSE_BYTES),
    }


def attempt_of(row: Row) -> WebhookDelivery.Attempt:
    """The attempt in a row of `OF_DELIVERY` or of `attempt_row`."""
    attempt = WebhookDelivery.Attempt(
        number=row["number"],
        create_time=moment(row["create_time"]),
        status_code=row["status_code"],
        error=row["error"],
        request_headers=row["request_headers"],
        request_body=row["request_body"],
        response_headers=row["response_headers"],
        response_body=row["response_body"],
    )
    attempt.duration.FromMilliseconds(row["duration_ms"])
    return attempt


def _shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    shown = [(name, value) for name, value in headers.items() if name.lower() not in SECRET_HEADERS]
    return {_short(name.lower()): _short(value) for name, value in shown[:MOST_HEADERS]}


def _short(text: str) -> str:
    return _cut(text.encode("utf-8", "replace"), LONGEST_HEADER)


def _cut(content: bytes, size: int) -> str:
    """At most `size` bytes as text. A NUL is replaced, because PostgreSQL stores none."""
    return content[:size].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
