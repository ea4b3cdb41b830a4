"""Webhooks of a tenant: the receivers of events, and the deliveries to them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, timedelta
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from plinth.types.v1.explanation_pb2 import Explanation
from plinth.webhooks.v1 import webhook_pb2
from plinth.webhooks.v1.webhook_pb2 import Webhook, WebhookDelivery
from sqlalchemy import any_, bindparam, case, exists, func, null, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Row, Statement
from server.domains.webhooks.attempts import OF_DELIVERY, attempt_of
from server.domains.webhooks.event_types import EventTypes
from server.domains.webhooks.explain import EventExplainer
from server.domains.webhooks.removal import HIDE, REMOVE
from server.domains.webhooks.replay import QUEUE, Replays
from server.domains.webhooks.secrets import SecretBox, UnknownKey, new_secret
from server.domains.webhooks.signatures import ED25519, shown
from server.domains.webhooks.tables import webhook_deliveries, webhook_queues, webhooks
from server.domains.webhooks.trial import Trials
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.egress import Egress
from server.kernel.problems import Violation, broken_rules
from server.kernel.queries import PageTokens
from server.kernel.resources import EventFacts, Lister, ReadRows, Resource, Service

MOST_WEBHOOKS = 50
DEFAULT_OVERLAP = timedelta(hours=24)
DELIVERIES = Resource(
    WebhookDelivery,
    webhook_deliveries,
    filterable=(
        *("id", "event_id", "event_type", "subject", "status", "kind", "attempts", "last_status_code", "create_time"),
    ),
    sortable=("create_time",),
    computed=("attempt_log",),
    # The deliveries of a deleted webhook are hidden, although a job has yet to remove them.
    where=exists()
    .where(webhooks.c.tenant_id == webhook_deliveries.c.tenant_id, webhooks.c.id == webhook_deliveries.c.webhook_id)
    .where(webhooks.c.removal_time.is_(None))
    .correlate(webhook_deliveries),
)

_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
_webhook = bindparam("webhook", type_=_id)
_is_own = (webhooks.c.tenant_id == _tenant, webhooks.c.id == _webhook)
SECRETS = Statement(
    select(webhooks.c.id, webhooks.c.secret).where(
        webhooks.c.tenant_id == _tenant, webhooks.c.id == any_(bindparam("ids", type_=ARRAY(_id)))
    )
)
FORGET_PAUSE = Statement(update(webhooks).where(*_is_own).values(resume_time=null()))
FORGET_WARNING = Statement(update(webhooks).where(*_is_own).values(warn_time=null()))
GO_ON = Statement(
    update(webhook_queues)
    .where(webhook_queues.c.tenant_id == _tenant, webhook_queues.c.webhook_id == _webhook)
    .where(webhook_queues.c.next_attempt_time > func.now())
    .values(next_attempt_time=func.now())
)


class WebhookService(Service[Webhook]):
    """Webhooks of a tenant."""

    descriptor = webhook_pb2.DESCRIPTOR.services_by_name["WebhookService"]
    resource = Resource(
        Webhook,
        webhooks,
        filterable=("id", "url", "enabled", "create_time", "update_time", "disable_time"),
        sortable=("create_time",),
        hidden=("secret",),
        where=webhooks.c.removal_time.is_(None),
        most=MOST_WEBHOOKS,
    )
    events: ClassVar[Mapping[str, EventFacts]] = {
        "webhook.failing": EventFacts(Webhook, "A webhook has failed for a while, and is disabled unless it recovers."),
        "webhook.disabled": EventFacts(Webhook, "A webhook was disabled, since it failed for too long or is gone."),
    }

    def __init__(
        self,
        *,
        box: SecretBox,
        egress: Egress,
        event_types: EventTypes,
        trials: Trials,
        tokens: PageTokens,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__()
        self._box = box
        self._egress = egress
        self._event_types = event_types
        self._trials = trials
        self._clock = clock
        self._replays = Replays(event_types, clock)
        self._explainer = EventExplainer(event_types, clock)
        self._deliveries = ReadRows(self, DELIVERIES, within=("webhook_id",))
        self._lister = Lister(self._deliveries, tokens)
        until = bindparam("until", type_=webhooks.c.previous_secret_expire_time.type)
        self._replace_secret = Statement(
            update(webhooks)
            .where(*_is_own)
            .values(
                secret=bindparam("sealed", type_=webhooks.c.secret.type),
                previous_secret=case((until.is_not(None), webhooks.c.secret), else_=null()),
                previous_secret_expire_time=until,
                version=webhooks.c.version + text("1"),
                update_time=func.now(),
            )
            .returning(*self.rows.plan.columns)
        )

    # Hooks ---------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: Webhook, before: Webhook | None) -> None:
        """Fill in unset fields. Record when and why the webhook is disabled, or clear that."""
        del call
        if not resource.HasField("enabled"):
            resource.enabled = True
        known = before.signature_scheme if before else Webhook.SIGNATURE_SCHEME_HMAC_SHA256
        resource.signature_scheme = resource.signature_scheme or known
        was_enabled = before is None or before.enabled
        if was_enabled and not resource.enabled:
            resource.disable_time.FromDatetime(self._clock())
            resource.disable_reason = Webhook.DISABLE_REASON_MANUAL
        elif resource.enabled and not was_enabled:
            for name in ("disable_time", "disable_reason", "failing_since_time"):
                resource.ClearField(name)

    def check(self, call: Call, resource: Webhook, before: Webhook | None) -> None:
        """Check URL and event types when they change: settings and contract may have changed since they were stored."""
        violations = []
        if before is None or resource.url != before.url:
            violations += self._url_violations(resource)
        if before is None or resource.event_types != before.event_types:
            violations += self._event_type_violations(resource)
        if violations:
            raise broken_rules(violations)
        if before is None or resource.event_types != before.event_types:
            # Nobody gets events by a webhook that they could not see themselves.
            call.check_may_grant(self._event_types.revealing(resource.event_types))

    def before_write(self, call: Call, values: Row, before: Webhook | None) -> None:
        """Generate the secret of a new webhook."""
        del call
        if before is None:
            values["secret"] = self._box.seal(new_secret(), values["id"])

    def after_write(self, call: Call, resource: Webhook, before: Webhook | None) -> None:
        """Resume waiting deliveries when a webhook is enabled again, and drop the pause when its URL changes."""
        if before is None:
            return
        key = {"tenant": call.tenant_id, "webhook": resource.id}
        is_resumed = resource.enabled and not before.enabled
        if is_resumed or resource.url != before.url:
            call.writes.queue(FORGET_PAUSE, **key)
        if is_resumed:
            call.writes.queue(FORGET_WARNING, **key)
            call.writes.queue(GO_ON, **key)

    def present(self, call: Call, resources: Sequence[Message]) -> None:
        """Show public keys always, and an overlap while it lasts."""
        found = [resource for resource in resources if isinstance(resource, Webhook)]
        now = self._clock()
        for webhook in found:
            if webhook.previous_secret_expire_time.ToDatetime(UTC) <= now:
                webhook.ClearField("previous_secret_expire_time")
        self._show_secrets(call, [webhook for webhook in found if webhook.signature_scheme == ED25519])

    # Custom methods ------------------------------------------------------------------------------------------------

    def create_webhook(self, call: Call, request: webhook_pb2.CreateWebhookRequest) -> Webhook:
        """Create a webhook. Only this answer shows its secret."""
        asked = Webhook()
        asked.CopyFrom(request.webhook)
        created: Webhook = self.rows.insert(call, asked)
        self._show_secrets(call, [created])
        return created

    def delete_webhook(self, call: Call, request: webhook_pb2.DeleteWebhookRequest) -> Empty:
        """Delete a webhook. It is hidden at once; a job removes it, because it may have millions of deliveries."""
        before: Webhook = self.rows.lock(call, request.webhook_id, etag=request.etag)
        call.writes.queue(HIDE, tenant=call.tenant_id, webhook=before.id)
        call.enqueue(QUEUE, REMOVE, tenant_id=call.tenant_id, webhook_id=before.id)
        call.note_change(before, None)
        call.event_payload = before
        return Empty()

    def test_webhook(self, call: Call, request: webhook_pb2.TestWebhookRequest) -> WebhookDelivery:
        """Send a test message, and wait for the result."""
        delivery = self._trials.run(call, request.webhook_id)
        told = WebhookDelivery()
        told.CopyFrom(delivery)
        told.ClearField("attempt_log")
        call.event_payload = told
        return delivery

    def rotate_webhook_secret(self, call: Call, request: webhook_pb2.RotateWebhookSecretRequest) -> Webhook:
        """Replace the secret. Only this answer shows the new one."""
        before: Webhook = self.rows.lock(call, request.webhook_id)
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else DEFAULT_OVERLAP
        result = call.writes.run(
            self._replace_secret,
            tenant=call.tenant_id,
            webhook=before.id,
            sealed=self._box.seal(new_secret(), before.id),
            until=self._clock() + overlap if overlap else None,
        )
        webhook: Webhook = self.rows.plan.message(result.raw(0))
        call.note_change(before, webhook)
        self._show_secrets(call, [webhook])
        return webhook

    def replay_webhook_events(
        self, call: Call, request: webhook_pb2.ReplayWebhookEventsRequest
    ) -> webhook_pb2.ReplayWebhookEventsResponse:
        """Send events again, or count them."""
        webhook: Webhook = self.rows.get(call, request.webhook_id)
        return self._replays.ask(call, request, webhook)

    def list_webhook_deliveries(
        self, call: Call, request: webhook_pb2.ListWebhookDeliveriesRequest
    ) -> webhook_pb2.ListWebhookDeliveriesResponse:
        """The deliveries of a webhook."""
        found, token, total = self._lister.page(call, request)
        if not found:
            # An empty page may only be returned for a webhook that exists.
            self.rows.get(call, request.webhook_id)
        return webhook_pb2.ListWebhookDeliveriesResponse(
            webhook_deliveries=found, next_page_token=token, total_size=total
        )

    def get_webhook_delivery(self, call: Call, request: webhook_pb2.GetWebhookDeliveryRequest) -> WebhookDelivery:
        """A delivery with its attempts."""
        delivery: WebhookDelivery = self._deliveries.get(call, request.delivery_id, request)
        attempts = call.reads.run(OF_DELIVERY, tenant=call.tenant_id, delivery=delivery.id).all()
        delivery.attempt_log.extend(map(attempt_of, attempts))
        return delivery

    def explain_webhook_event(self, call: Call, request: webhook_pb2.ExplainWebhookEventRequest) -> Explanation:
        """Why an event was or was not sent."""
        return self._explainer.explain(call, self.rows.get(call, request.webhook_id), request.event_id)

    def list_event_types(
        self, call: Call, request: webhook_pb2.ListEventTypesRequest
    ) -> webhook_pb2.ListEventTypesResponse:
        """The catalogue of event types."""
        del request, call
        return webhook_pb2.ListEventTypesResponse(event_types=self._event_types.listed)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _show_secrets(self, call: Call, found: list[Webhook]) -> None:
        if not found:
            return
        rows = call.reads.run(SECRETS, tenant=call.tenant_id, ids=[webhook.id for webhook in found]).all()
        sealed = {row["id"]: row["secret"] for row in rows}
        for webhook in found:
            # If the deployment's secret was lost, webhooks are shown without their secrets, which can be rotated.
            with suppress(UnknownKey):
                webhook.secret = shown(webhook.signature_scheme, self._box.open(sealed[webhook.id], webhook.id))

    def _url_violations(self, webhook: Webhook) -> list[Violation]:
        fault = "has a fragment, which is not sent" if "#" in webhook.url else self._egress.url_fault(webhook.url)
        return [Violation("webhook.url", fault, "webhook.url")] if fault else []

    def _event_type_violations(self, webhook: Webhook) -> list[Violation]:
        if not webhook.event_types:
            return [Violation("webhook.event_types", "names at least one", "webhook.event_types.none")]
        return self._event_types.violations("webhook.event_types", webhook.event_types)
