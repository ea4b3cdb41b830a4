"""How plans are made, and how a tenant subscribes to one."""

from typing import Any

from server.kernel.ids import new_id
from tests.clients import Tenant, rows, unique
from tests.contract.instances import MARK, Instance, Mutation, Named

CREATE = "/plinth.billing.v1.PlanService/CreatePlan"
PLANT = """
INSERT INTO plans (id, code, name, interval, self_service, quotas) VALUES (%s, %s, %s, 1, true, %s) RETURNING id
"""


def planted_plan(tenant: Tenant, quotas: str = "[]") -> str:
    """The id of a new plan that tenants may choose. By SQL, as platform administrators are many tests' own."""
    plan_id = new_id()
    assert rows(tenant.stack, PLANT, plan_id, unique("plan"), f"{MARK}-{tenant.subdomain}", quotas)
    return plan_id


def new_plan() -> dict[str, Any]:
    """The JSON of a new plan."""
    return {"code": unique("plan"), "name": "Planted", "interval": "INTERVAL_MONTH"}


def _subscription(tenant: Tenant) -> Named:
    # A tenant has one at a time.
    made = tenant.rest.post(f"{tenant.path}/subscription", {"planId": planted_plan(tenant)})
    assert made.status_code in {201, 409}, made.text
    return {}


INSTANCES = {
    "plinth.billing.v1.Plan": Instance(lambda tenant: {"plan_id": planted_plan(tenant)}, new_plan),
    "plinth.billing.v1.Subscription": Instance(_subscription, lambda: {"quantity": 2}),
}
MUTATIONS = (
    Mutation("PlanService/CreatePlan", lambda _: {"plan": new_plan()}),
    Mutation("PlanService/UpdatePlan", lambda sweep: {"planId": sweep.answers[CREATE].id, "plan": {"name": "Other"}}),
    Mutation("PlanService/DeletePlan", lambda sweep: {"planId": sweep.answers[CREATE].id}),
    Mutation("SubscriptionService/UpdateSubscription"),
    Mutation("SubscriptionService/CancelSubscription", lambda _: {"now": True}),
    Mutation("SubscriptionService/CreateSubscription", before="CancelSubscription"),
)
