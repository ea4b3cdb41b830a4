"""Billing: plans, the subscriptions of tenants to them, and what plans allow."""

from server.data.grants import Grants
from server.domains.billing.plans import PlanService
from server.domains.billing.subscriptions import SubscriptionService
from server.domains.billing.tables import plans, subscriptions
from server.kernel.module import Background, Module, Serve, WorkerPlatform
from server.kernel.privacy import NotPersonal


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.billing.renewals import Renewals  # noqa: PLC0415 - in workers only

    return Background(schedules=(Renewals(platform.dispatch, platform.database, platform.clock).schedule,))


MODULE = Module(
    "billing",
    services=(
        PlanService,
        Serve(SubscriptionService, lambda platform: SubscriptionService(PlanService(), platform.clock)),
    ),
    roles={"editor": ("billing.*.read",), "member": ("billing.*.read",), "viewer": ("billing.*.read",)},
    grants=Grants(dispatch_reads=("subscriptions",)),
    erases=(
        NotPersonal(plans, "code", "name", "description", "price_currency", "quotas", why="of the platform"),
        NotPersonal(subscriptions, "price_currency", why="a currency"),
        NotPersonal(subscriptions, "subscriber_id", why="the id of a tenant"),
    ),
    background=_background,
)
