"""What a tenant has in the audit log, and what is done to it."""

from tests.clients import Tenant
from tests.contract.instances import LATE, Instance, Mutation, Named
from tests.domains.audit.planting import sealer
from tests.stack import wait_for


def _audit_entry(tenant: Tenant) -> Named:
    """One that is sealed."""
    (entry,) = tenant.rest.get(f"{tenant.path}/audit", {"pageSize": 1, "orderBy": "create_time"}).json()["auditEntries"]
    size = _sealed_entries(tenant)
    if not size:
        with sealer(tenant.stack) as sealing:
            wait_for(lambda: (sealing.seal(), _sealed_entries(tenant))[1], what="the seal")
        size = _sealed_entries(tenant)
    return {"entry_id": entry["id"], "person_id": tenant.owner.id, "first_tree_size": size, "metric": "events"}


def _sealed_entries(tenant: Tenant) -> int:
    """How many entries of the tenant its newest checkpoint seals."""
    answer = tenant.rest.get(f"{tenant.path}/audit/checkpoint")
    return int(answer.json()["treeSize"]) if answer.status_code == 200 else 0


INSTANCES = {"plinth.audit.v1.AuditEntry": Instance(_audit_entry)}
MUTATIONS = (Mutation("AuditService/ErasePersonalData", stage=LATE),)
