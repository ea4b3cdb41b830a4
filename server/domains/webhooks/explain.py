"""Why an event was or was not sent to a webhook: the facts by which the dispatcher and the courier decide."""

from datetime import datetime

from plinth.types.v1.explanation_pb2 import Explanation
from plinth.webhooks.v1.webhook_pb2 import Webhook, WebhookDelivery
from sqlalchemy import Boolean, DateTime, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.events import Position
from server.data.statements import Row, Statement
from server.domains.webhooks.dispatch import CURSOR
from server.domains.webhooks.event_types import EventTypes
from server.domains.webhooks.replay import EVENT_TYPE
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.explaining import DEFER, DROP, FAIL, Explaining
from server.kernel.live import EVERY, matches
from server.kernel.problems import not_found

_id = UUID(as_uuid=False)
_EVENT = """
SELECT id, type, coalesce(nullif(resource_id, ''), id::text) AS subject, create_time, audience, for_webhooks,
       coalesce((transaction_id, sequence) <= (
           SELECT transaction_id::text::xid8, sequence FROM event_cursors WHERE name = :cursor), false) AS is_dispatched
  FROM events
 WHERE tenant_id = CAST(:tenant AS uuid)
"""


def _reading(condition: str) -> Statement:
    return Statement(
        text(f"{_EVENT} AND {condition}").columns(
            id=_id,
            type=Text(),
            subject=Text(),
            create_time=DateTime(timezone=True),
            audience=_id,
            for_webhooks=Boolean(),
            is_dispatched=Boolean(),
        )
    )


BY_ID = _reading("id = CAST(:event AS uuid)")
"""Takes `tenant`, `event` and `cursor`."""
BY_POSITION = _reading("transaction_id = CAST(:transaction_id AS xid8) AND sequence = CAST(:sequence AS bigint)")
"""Takes `tenant`, `transaction_id`, `sequence` and `cursor`."""
# The last delivery, and the deliveries of its subject that go before it.
DELIVERY = Statement(
    text(
        """
SELECT last.id, last.status, last.attempts, last.last_status_code, last.last_error, last.next_attempt_time,
       last.finish_time,
       (SELECT earlier.id FROM webhook_deliveries AS earlier
         WHERE earlier.tenant_id = last.tenant_id AND earlier.webhook_id = last.webhook_id
           AND earlier.subject = last.subject AND earlier.status = 1 AND earlier.number < last.number
         ORDER BY earlier.number LIMIT 1) AS first_in_line
  FROM (SELECT * FROM webhook_deliveries
         WHERE tenant_id = CAST(:tenant AS uuid) AND webhook_id = CAST(:webhook AS uuid)
           AND event_id = CAST(:event AS uuid)
         ORDER BY create_time DESC, id DESC LIMIT 1) AS last
"""
    ).columns(
        id=_id,
        status=SmallInteger(),
        attempts=Integer(),
        last_status_code=Integer(),
        last_error=Text(),
        next_attempt_time=DateTime(timezone=True),
        finish_time=DateTime(timezone=True),
        first_in_line=_id,
    )
)
"""Takes `tenant`, `webhook` and `event`."""
RESUME = Statement(
    text(
        "SELECT resume_time FROM webhooks WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:webhook AS uuid)"
    ).columns(resume_time=DateTime(timezone=True))
)


class EventExplainer:
    """Explains what became of an event at a webhook."""

    def __init__(self, event_types: EventTypes, clock: Clock) -> None:
        self._event_types = event_types
        self._clock = clock

    def explain(self, call: Call, webhook: Webhook, event_id: str) -> Explanation:
        """The steps, as far as the event came. Raises NotFound for an event that the caller may not see."""
        event = self._event(call, event_id)
        if event is None:
            raise not_found(EVENT_TYPE, event_id)
        found = Explaining().passed("event", "KNOWN", value=event["type"], time=event["create_time"])
        parameters = {"tenant": call.tenant_id, "webhook": webhook.id}
        delivery = call.reads.run(DELIVERY, **parameters, event=event["id"]).first()
        if delivery is not None:
            found.passed("dispatch", "QUEUED", rule=delivery["id"])
            resume: datetime | None = call.reads.run(RESUME, **parameters).one()["resume_time"]
            return self._sending(found, webhook, delivery, resume).answer
        return self._missing(found, webhook, event).answer

    def _event(self, call: Call, event_id: str) -> Row | None:
        parameters = {"tenant": call.tenant_id, "cursor": CURSOR}
        try:
            position = Position.parse(event_id)
        except ValueError:
            event = call.reads.run(BY_ID, **parameters, event=event_id).first()
        else:
            at = {"transaction_id": str(position.transaction_id), "sequence": position.sequence}
            event = call.reads.run(BY_POSITION, **parameters, **at).first()
        return event if event is not None and self._may_see(call, event) else None

    def _may_see(self, call: Call, event: Row) -> bool:
        if event["audience"] in (None, call.caller.user_id or None):
            return True
        held = call.access.permissions if call.access else frozenset()
        return self._event_types.revealing([event["type"]]) & held != set()

    def _missing(self, found: Explaining, webhook: Webhook, event: Row) -> Explaining:
        """Why there is no delivery."""
        if not event["for_webhooks"]:
            unless = "Events of this type never go to webhooks: read them from a stream or a list."
            return found.stopped("audience", DROP, "NOT_FOR_WEBHOOKS", value=event["type"], unless=unless)
        found.passed("audience", "FOR_ONE_USER" if event["audience"] else "FOR_THE_TENANT")
        created = webhook.create_time.ToDatetime(event["create_time"].tzinfo)
        if created >= event["create_time"]:
            unless = "The event is replayed: it is older than the webhook."
            return found.stopped("webhook", DROP, "CREATED_LATER", rule=webhook.id, time=created, unless=unless)
        if not webhook.enabled:
            unless = "The webhook is enabled, and the event is replayed."
            reason = Webhook.DisableReason.Name(webhook.disable_reason)
            return found.stopped("webhook", DROP, "DISABLED", rule=webhook.id, value=reason, unless=unless)
        found.passed("webhook", "ENABLED", rule=webhook.id)
        return self._unqueued(found, webhook, event)

    def _unqueued(self, found: Explaining, webhook: Webhook, event: Row) -> Explaining:
        """Why a webhook that is enabled has no delivery."""
        name, patterns = event["type"], ", ".join(webhook.event_types)
        if not matches(webhook.event_types, name):
            unless = f"The webhook names `{name}` among its event types."
            return found.stopped("subscription", DROP, "TYPE_NOT_NAMED", value=patterns, unless=unless)
        if event["audience"] and not matches([one for one in webhook.event_types if one != EVERY], name):
            unless = f"The webhook names `{name}` or its family: `*` stands for events of the whole tenant only."
            return found.stopped("subscription", DROP, "ONLY_BY_NAME", value=patterns, unless=unless)
        found.passed("subscription", "TYPE_NAMED", value=patterns)
        if not event["is_dispatched"]:
            unless = "The dispatcher, which follows the log of events, comes to it."
            return found.stopped("dispatch", DEFER, "NOT_REACHED", rule=CURSOR, unless=unless)
        unless = "The event is replayed: when it was dispatched, the webhook was disabled or named other types."
        return found.stopped("dispatch", DROP, "CHANGED_SINCE", rule=webhook.id, unless=unless)

    def _sending(self, found: Explaining, webhook: Webhook, delivery: Row, resume: datetime | None) -> Explaining:
        """How far its delivery came."""
        rule, value = delivery["id"], _last_answer(delivery)
        match delivery["status"]:
            case WebhookDelivery.STATUS_SUCCEEDED:
                return found.passed("delivery", "SUCCEEDED", rule=rule, value=value, time=delivery["finish_time"])
            case WebhookDelivery.STATUS_FAILED:
                unless = "The receiver accepts it with a status of 2xx, and the event is replayed."
                outcome, code = FAIL, "GIVEN_UP"
            case WebhookDelivery.STATUS_CANCELLED:
                unless = "The webhook is enabled, and the event is replayed."
                outcome, code = DROP, "CANCELLED"
            case _:
                return self._waiting(found, webhook, delivery, resume)
        time = delivery["finish_time"]
        return found.stopped("delivery", outcome, code, rule=rule, value=value, time=time, unless=unless)

    def _waiting(self, found: Explaining, webhook: Webhook, delivery: Row, resume: datetime | None) -> Explaining:
        if not webhook.enabled:
            unless = "The webhook is enabled."
            return found.stopped("webhook", DEFER, "DISABLED", rule=webhook.id, unless=unless)
        if delivery["first_in_line"]:
            unless = "The earlier delivery of the same resource succeeds or is given up."
            return found.stopped("subject", DEFER, "EARLIER_FIRST", rule=delivery["first_in_line"], unless=unless)
        if resume is not None and resume > self._clock():
            unless = "The pause ends that the receiver asked for, or the URL of the webhook changes."
            return found.stopped("pause", DEFER, "RECEIVER_PAUSES", rule=webhook.id, time=resume, unless=unless)
        time = delivery["next_attempt_time"]
        code = "RETRYING" if delivery["attempts"] else "DUE"
        unless = "The receiver accepts the next attempt with a status of 2xx."
        value = _last_answer(delivery)
        return found.stopped("attempt", DEFER, code, rule=delivery["id"], value=value, time=time, unless=unless)


def _last_answer(delivery: Row) -> str:
    """The last answer in words; empty before the first attempt."""
    if not delivery["attempts"]:
        return ""
    result = delivery["last_error"] or f"status {delivery['last_status_code']}"
    return f"attempt {delivery['attempts']}: {result}"
