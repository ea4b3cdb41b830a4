"""How addresses are blocked, and what is done to the cache."""

from collections.abc import Mapping

from tests.contract.instances import Instance, Mutation

CREATE = "/plinth.operations.v1.IpBlockService/CreateIpBlock"
# Nothing here belongs to a tenant.
INSTANCES: Mapping[str, Instance] = {}
MUTATIONS = (
    Mutation("CacheService/WarmCache"),
    Mutation("CacheService/InvalidateCache", lambda _: {"tags": ["nothing-is-kept-under-it"]}),
    Mutation("IpBlockService/CreateIpBlock", lambda _: {"ipBlock": {"network": "203.0.113.0/24"}}),
    Mutation("IpBlockService/DeleteIpBlock", lambda sweep: {"ipBlockId": sweep.answers[CREATE].id}),
)
