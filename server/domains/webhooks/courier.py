"""One attempt: the message is made, signed and sent, and the answer is evaluated."""

import random
from datetime import datetime
from functools import lru_cache

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message
from plinth.webhooks.v1.webhook_pb2 import WebhookDelivery

from server.data.statements import Row
from server.domains.webhooks import metrics
from server.domains.webhooks.attempts import Sent, attempt_row
from server.domains.webhooks.messages import message_of
from server.domains.webhooks.outcomes import Chance, outcome
from server.domains.webhooks.queues import Pending, Visit
from server.domains.webhooks.results import Delivered
from server.domains.webhooks.secrets import SecretBox
from server.domains.webhooks.signatures import headers
from server.kernel.clock import Clock
from server.kernel.ports import Sender


class Unsendable(Exception):
    """A message cannot be made, now or later. The text gives the reason."""


class Courier:
    """Makes attempts."""

    def __init__(self, sender: Sender, box: SecretBox, *, clock: Clock, chance: Chance = random.random) -> None:
        self._sender = sender
        self._box = box
        self._clock = clock
        self._chance = chance

    async def attempt(self, visit: Visit, pending: Pending) -> Delivered:
        """Send the next message of a queue.

        Raises UnknownKey and InvalidTag if the webhook's secret cannot be opened.
        """
        number = pending.attempts + 1
        now = self._clock()
        try:
            body = _body(pending)
        except Unsendable as error:
            return Delivered(
                id=pending.id,
                status=WebhookDelivery.STATUS_FAILED,
                attempts=pending.attempts,
                time=now,
                fault=str(error),
            )
        sent = Sent(now, self._headers(visit, pending, now, body), body)
        answer = await self._sender.send(_receiver(visit)["url"], sent.headers, body)
        ended = self._clock()
        result = outcome(answer, number, ended, self._chance)
        metrics.ATTEMPTS.labels(metrics.outcome_label(answer)).inc()
        metrics.ATTEMPT_SECONDS.observe(answer.duration.total_seconds())
        if number == 1 and result.status == WebhookDelivery.STATUS_SUCCEEDED and _is_new(pending):
            metrics.DELIVERY_SECONDS.observe(max(0.0, (ended - pending.event_time).total_seconds()))
        return Delivered(
            id=pending.id,
            status=result.status,
            attempts=number,
            time=ended,
            fault=result.fault,
            status_code=answer.status_code,
            again=result.next_attempt,
            attempt=attempt_row(number, sent, answer),
            happening=result.happening,
            pause_until=result.pause_until,
        )

    def _headers(self, visit: Visit, pending: Pending, now: datetime, body: bytes) -> dict[str, str]:
        receiver = _receiver(visit)
        secrets = self._box.open_all(receiver, visit.webhook_id, now)
        return headers(receiver["signature_scheme"], secrets, pending.event_id, int(now.timestamp()), body)


def _receiver(visit: Visit) -> Row:
    if visit.receiver is None:
        raise LookupError("a visit of a webhook that is there has its row")
    return visit.receiver


def _is_new(pending: Pending) -> bool:
    return pending.kind == WebhookDelivery.KIND_EVENT


def _body(pending: Pending) -> bytes:
    """The body of the message, the same bytes for every attempt. Raises Unsendable."""
    if pending.message_type is None or pending.payload is None:
        raise Unsendable("the event is no longer kept")
    message_class = _class_of(pending.message_type)
    if message_class is None:
        raise Unsendable(f"{pending.message_type} is no longer known")
    try:
        payload = message_class.FromString(pending.payload)
    except DecodeError as error:
        raise Unsendable(f"the event is no {pending.message_type}") from error
    try:
        return message_of(pending.event_type, pending.event_time, payload)
    except (json_format.Error, ValueError, OverflowError) as error:
        raise Unsendable("the event cannot be written as JSON") from error


@lru_cache(maxsize=1024)
def _class_of(message_type: str) -> type[Message] | None:
    try:
        return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(message_type))
    except KeyError:
        return None
