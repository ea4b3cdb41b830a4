"""Plans: the catalogue of the platform."""

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message
from plinth.billing.v1 import plan_pb2
from plinth.billing.v1.plan_pb2 import ListQuotaNamesResponse, Plan

from server.data.quotas import limited_tables
from server.domains.billing.tables import plans
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service


class PlanService(Service[Plan]):
    """Plans."""

    descriptor = plan_pb2.DESCRIPTOR.services_by_name["PlanService"]
    resource = Resource(
        Plan,
        plans,
        filterable=("id", "code", "interval", "self_service", "is_default", "retired", "create_time", "update_time"),
        sortable=("create_time", "code"),
        unique={"plans_code_key": "code", "plans_is_default_key": "is_default"},
    )

    def check(self, call: Call, resource: Plan, before: Plan | None) -> None:
        """Refuse a negative price, and quotas of what nobody counts."""
        del call, before
        faults = [*_quota_faults([quota.name for quota in resource.quotas])]
        if resource.price.units < 0 or resource.price.nanos < 0:
            faults.append(Violation("plan.price", "is negative", "price.negative"))
        if faults:
            raise broken_rules(faults)

    def list_quota_names(self, call: Call, request: Message) -> ListQuotaNamesResponse:
        """What plans can limit."""
        del call, request
        return ListQuotaNamesResponse(names=limited_tables())


def _quota_faults(names: Sequence[str]) -> Iterator[Violation]:
    known = limited_tables()
    for place, name in enumerate(names):
        field = f"plan.quotas[{place}].name"
        if name not in known:
            yield Violation(field, "is nothing that plans limit: see ListQuotaNames", "quota.known")
        elif name in names[:place]:
            yield Violation(field, "is there already", "quota.unique")
