"""The subscription of a tenant to a plan, which it, or a platform administrator, chooses."""

from datetime import UTC, datetime, timedelta
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from plinth.billing.v1 import subscription_pb2
from plinth.billing.v1.plan_pb2 import Plan
from plinth.billing.v1.subscription_pb2 import Quota, Quotas, Subscription
from sqlalchemy import bindparam, literal_column, select, update

from server.data.quotas import usage
from server.data.statements import Row, Statement
from server.domains.billing.periods import next_end
from server.domains.billing.plans import PlanService
from server.domains.billing.quotas import QUOTAS
from server.domains.billing.tables import HIDDEN, IS_LIVE, subscriptions
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import StateForbids, limit_reached, not_found
from server.kernel.resources import EventFacts, Resource, Service, mask_of

SUBSCRIPTION = "plinth.dev/Subscription"
TENANT = 1
"""The kind of a subscriber that is the tenant itself."""
TRIALING, ACTIVE, CANCELLED = (
    *(Subscription.STATUS_TRIALING, Subscription.STATUS_ACTIVE),
    Subscription.STATUS_CANCELLED,
)
_s = subscriptions.c
_is_own = (
    _s.tenant_id == bindparam("tenant", type_=_s.tenant_id.type),
    _s.subscriber_kind == literal_column(str(TENANT)),
    _s.subscriber_id == bindparam("tenant", type_=_s.tenant_id.type),
)
CURRENT = Statement(
    select(_s.id).where(*_is_own).order_by(IS_LIVE.desc(), _s.create_time.desc()).limit(literal_column("1"))
)
HAD_TRIAL = Statement(select(_s.id).where(*_is_own, _s.trial_end_time.is_not(None)).limit(literal_column("1")))
MOVE_ANCHOR = Statement(
    update(subscriptions)
    .where(_s.tenant_id == bindparam("tenant", type_=_s.tenant_id.type), _s.id == bindparam("key", type_=_s.id.type))
    .values(anchor_time=bindparam("anchor", type_=_s.anchor_time.type))
)
USAGE = Statement(usage)


class SubscriptionService(Service[Subscription]):
    """Subscriptions of tenants."""

    descriptor = subscription_pb2.DESCRIPTOR.services_by_name["SubscriptionService"]
    resource = Resource(
        Subscription,
        subscriptions,
        hidden=HIDDEN,
        unique={"subscriptions_subscriber_key": "tenant_id"},
    )
    events: ClassVar = {
        "subscription.activated": EventFacts(Subscription, "The trial of a subscription is over, and it goes on."),
        "subscription.renewed": EventFacts(Subscription, "A new period of a subscription has begun."),
        "subscription.ended": EventFacts(Subscription, "A subscription has ended that was cancelled before."),
    }

    def __init__(self, plans: PlanService, clock: Clock) -> None:
        super().__init__()
        self._plans = plans
        self._clock = clock

    def prepare(self, call: Call, resource: Subscription, before: Subscription | None) -> None:
        """Take price and interval from a plan that is chosen, and note when it was cancelled."""
        resource.quantity = resource.quantity or 1
        now = self._clock()
        if resource.plan_id and (before is None or resource.plan_id != before.plan_id):
            plan = self._choose(call, resource.plan_id)
            if before is None:
                self._begin(call, resource, plan, now)
            elif plan.interval != before.interval and before.status == ACTIVE:
                _set_period(resource, now, next_end(now, plan.interval, now))
            _take_terms(resource, plan)
        if not resource.cancel_at_period_end and resource.status != CANCELLED:
            resource.ClearField("cancel_time")
        elif not resource.HasField("cancel_time"):
            resource.cancel_time.FromDatetime(now)

    def before_write(self, call: Call, values: Row, before: Subscription | None) -> None:
        """A new one is the tenant's, and counts its periods from the end of its trial, or from now."""
        if before is None:
            values["subscriber_kind"], values["subscriber_id"] = TENANT, call.tenant_id
            values["anchor_time"] = values["trial_end_time"] or values["period_start_time"]

    def after_write(self, call: Call, resource: Subscription, before: Subscription | None) -> None:
        """Count periods from the start of one that another plan began, or from the end of the trial."""
        if before is not None and resource.period_start_time != before.period_start_time:
            anchor = _time(resource.period_start_time)
            call.writes.queue(MOVE_ANCHOR, tenant=call.tenant_id, key=resource.id, anchor=anchor)

    def get_subscription(self, call: Call, request: subscription_pb2.GetSubscriptionRequest) -> Subscription:
        """The subscription in force, or the last one."""
        del request
        return self.rows.get(call, self._current(call))

    def update_subscription(self, call: Call, request: subscription_pb2.UpdateSubscriptionRequest) -> Subscription:
        """Change it."""
        source = request.subscription
        mask = mask_of(call, request, source, self.rows.read_only.names)
        before = self._lock(call, source.etag)
        return self.rows.update(call, self.rows.changed(call, source, before, mask), before)

    def cancel_subscription(self, call: Call, request: subscription_pb2.CancelSubscriptionRequest) -> Empty:
        """Let it end with its period, or at once."""
        before = self._lock(call, request.etag)
        after = self.rows.copy_of(before)
        after.cancel_at_period_end = True
        if request.now:
            after.status = CANCELLED
            after.end_time.FromDatetime(self._clock())
        call.event_payload = self.rows.update(call, after, before)
        return Empty()

    def get_quotas(self, call: Call, request: subscription_pb2.GetQuotasRequest) -> Quotas:
        """What the tenant has, and may have."""
        allowed = call.reads.run(QUOTAS, tenant=request.tenant_id).value() or []
        most = {quota["name"]: quota["most"] for quota in allowed}
        used = call.reads.run(USAGE, tenant=request.tenant_id).all()
        return Quotas(
            id=request.tenant_id,
            quotas=[Quota(name=row["name"], used=row["used"], most=most.get(row["name"])) for row in used],
        )

    def _current(self, call: Call) -> str:
        """The id of the subscription in force, or of the last one. Raises NotFound."""
        found = call.reads.run(CURRENT, tenant=call.tenant_id)
        if not found.returned:
            raise not_found(SUBSCRIPTION, call.tenant_id or "")
        return str(found.value())

    def _lock(self, call: Call, etag: str) -> Subscription:
        """The subscription in force, locked. Raises NotFound, EtagMismatch, and StateForbids for one that has ended."""
        before = self.rows.lock(call, self._current(call), etag=etag)
        if before.status == CANCELLED:
            metadata = {"resource_type": SUBSCRIPTION, "resource": before.id, "state": "CANCELLED"}
            raise StateForbids("It has ended. Create another one.", metadata=metadata)
        return before

    def _choose(self, call: Call, plan_id: str) -> Plan:
        """The plan. Raises NotFound, and StateForbids if the caller may not choose it, or has more than it allows."""
        plan = self._plans.rows.get(call, plan_id)
        is_platform = call.scope.platform
        if plan.retired or not (plan.self_service or is_platform):
            state = "RETIRED" if plan.retired else "NOT_SELF_SERVICE"
            fault = "The plan is offered no more." if plan.retired else "Only the platform gives this plan to tenants."
            raise StateForbids(
                fault, metadata={"resource_type": self._plans.rows.type, "resource": plan.id, "state": state}
            )
        used = {row["name"]: row["used"] for row in call.reads.run(USAGE, tenant=call.tenant_id).all()}
        for quota in plan.quotas:
            there = used.get(quota.name, 0)
            if there > quota.most:
                fault = f"The plan allows {quota.most} {quota.name.replace('_', ' ')}, and there are {there}."
                raise limit_reached(fault, quota.most)
        return plan

    def _begin(self, call: Call, resource: Subscription, plan: Plan, now: datetime) -> None:
        """Begin with the trial of the plan, unless there was one."""
        if plan.trial_days and not call.reads.run(HAD_TRIAL, tenant=call.tenant_id).returned:
            end = now + timedelta(days=plan.trial_days)
            resource.status = TRIALING
            resource.trial_end_time.FromDatetime(end)
        else:
            end = next_end(now, plan.interval, now)
            resource.status = ACTIVE
        _set_period(resource, now, end)


def _set_period(resource: Subscription, start: datetime, end: datetime) -> None:
    resource.period_start_time.FromDatetime(start)
    resource.period_end_time.FromDatetime(end)


def _take_terms(resource: Subscription, plan: Plan) -> None:
    resource.interval = plan.interval
    resource.ClearField("price")
    if plan.HasField("price"):
        resource.price.CopyFrom(plan.price)


def _time(moment: Timestamp) -> datetime:
    return moment.ToDatetime(UTC)
