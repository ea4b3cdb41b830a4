"""Trials: a test message that is sent to a webhook while the caller waits for the result."""

import asyncio
from datetime import UTC

from plinth.webhooks.v1.webhook_pb2 import WebhookDelivery
from sqlalchemy import bindparam, func, insert, null, select, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.webhooks.answers import fault_of, is_success
from server.domains.webhooks.attempts import ADD, Sent, attempt_of, attempt_row
from server.domains.webhooks.messages import message_of, moment
from server.domains.webhooks.secrets import SecretBox, UnknownKey
from server.domains.webhooks.signatures import headers
from server.domains.webhooks.tables import webhook_deliveries, webhooks
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.ports import Answer, Senders
from server.kernel.problems import StateForbids, not_found

TESTED = "webhook.tested"
WEBHOOK_TYPE = "plinth.dev/Webhook"

_is_own = (
    webhooks.c.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
    webhooks.c.id == bindparam("webhook", type_=UUID(as_uuid=False)),
)
TARGET = Statement(
    select(
        webhooks.c.id,
        webhooks.c.url,
        webhooks.c.signature_scheme,
        webhooks.c.secret,
        webhooks.c.previous_secret,
        webhooks.c.previous_secret_expire_time,
    ).where(*_is_own, webhooks.c.removal_time.is_(None))
)
"""Takes `tenant` and `webhook`."""
_PLAIN = (
    *("id", "webhook_id", "event_id", "event_type", "subject", "kind", "status"),
    *("attempts", "last_status_code", "last_error"),
)
_WRITTEN = ("tenant_id", *_PLAIN, "event_time", "create_time", "finish_time")
KEEP = Statement(
    insert(webhook_deliveries).values(
        {name: bindparam(name, type_=webhook_deliveries.c[name].type) for name in _WRITTEN}
    )
)
NOTE_SUCCESS = Statement(
    update(webhooks).where(*_is_own).values(last_success_time=func.now(), failing_since_time=null(), warn_time=null())
)
"""Takes `tenant` and `webhook`."""


class Trials:
    """Sends test messages."""

    def __init__(self, box: SecretBox, senders: Senders, clock: Clock) -> None:
        self._box = box
        self._senders = senders
        self._clock = clock

    def run(self, call: Call, webhook_id: str) -> WebhookDelivery:
        """Send a test message, and store the result.

        Raises NotFound, and StateForbids for a webhook whose secret is lost.

        Until the receiver has answered, the transaction writes nothing and locks nothing: readers of the event log wait
        for every transaction that has written.
        """
        target = call.reads.run(TARGET, tenant=call.tenant_id, webhook=webhook_id).first()
        if target is None:
            raise not_found(WEBHOOK_TYPE, webhook_id)
        try:
            delivery, sent = self._message(target)
        except UnknownKey as error:
            metadata = {"resource_type": WEBHOOK_TYPE, "resource": target["id"], "state": "SECRET_LOST"}
            raise StateForbids("The secret of this webhook is lost: rotate it.", metadata=metadata) from error
        answer = asyncio.run(self._send(target["url"], sent))
        attempt = attempt_row(1, sent, answer)
        self._keep(call, delivery, attempt, answer)
        delivery.attempt_log.append(attempt_of(attempt))
        return delivery

    def _message(self, target: Row) -> tuple[WebhookDelivery, Sent]:
        now = self._clock()
        delivery = WebhookDelivery(
            id=new_id(),
            webhook_id=target["id"],
            event_id=new_id(),
            event_type=TESTED,
            subject=target["id"],
            event_time=moment(now),
            create_time=moment(now),
            kind=WebhookDelivery.KIND_TEST,
            status=WebhookDelivery.STATUS_PENDING,
        )
        body = message_of(TESTED, now, delivery)
        secrets = self._box.open_all(target, target["id"], now)
        head = headers(target["signature_scheme"], secrets, delivery.event_id, int(now.timestamp()), body)
        return delivery, Sent(now, head, body)

    async def _send(self, url: str, sent: Sent) -> Answer:
        async with self._senders() as sender:
            return await sender.send(url, sent.headers, sent.body)

    def _keep(self, call: Call, delivery: WebhookDelivery, attempt: Row, answer: Answer) -> None:
        has_succeeded = is_success(answer.status_code)
        delivery.attempts = 1
        delivery.status = WebhookDelivery.STATUS_SUCCEEDED if has_succeeded else WebhookDelivery.STATUS_FAILED
        delivery.last_status_code = answer.status_code
        delivery.last_error = fault_of(answer)
        delivery.finish_time.FromDatetime(self._clock())
        values = {name: getattr(delivery, name) for name in _PLAIN}
        began, ended = attempt["create_time"], delivery.finish_time.ToDatetime(UTC)
        times = {"event_time": began, "create_time": began, "finish_time": ended}
        call.writes.queue(KEEP, **values, **times, tenant_id=call.tenant_id)
        call.writes.queue(ADD, **attempt, tenant_id=call.tenant_id, delivery_id=delivery.id)
        if has_succeeded:
            call.writes.queue(NOTE_SUCCESS, tenant=call.tenant_id, webhook=delivery.webhook_id)
