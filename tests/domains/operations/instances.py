"""How addresses are blocked, what is done to the cache, and what long work there is."""

from psycopg.types.json import Jsonb

from server.domains.files.object_keys import work_key
from server.kernel.ids import new_id
from tests.clients import Tenant, rows
from tests.contract.instances import MARK, Instance, Mutation, Named

CREATE = "/plinth.operations.v1.IpBlockService/CreateIpBlock"
# Without a job, so that it stays queued; and of tomorrow, so that it is not taken for one that has lost its job.
PLANT = """
INSERT INTO operations (tenant_id, id, owner_id, kind, state, message, file, update_time)
VALUES (%s, %s, %s, 'planted', 1, %s, %s, now() + interval '1 day') RETURNING id
"""


CONTENT = b"what it has made"


def _operation(tenant: Tenant) -> Named:
    """With a file that it has made."""
    file_id = new_id()
    path = tenant.stack.settings.data_dir / "files" / work_key(tenant.id, file_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    file = Jsonb({"id": file_id, "filename": "made.txt", "contentType": "text/plain", "size": len(CONTENT)})
    # A second one, so that a list has another page.
    for operation_id in (new_id(), new_id()):
        named = f"{MARK}-{tenant.subdomain}"
        assert rows(tenant.stack, PLANT, tenant.id, operation_id, tenant.owner.id, named, file)
    return {"operation_id": operation_id, "owner_id": tenant.owner.id, "timeout_seconds": 1}


INSTANCES = {"plinth.operations.v1.Operation": Instance(_operation)}
MUTATIONS = (
    Mutation("OperationService/CancelOperation"),
    Mutation("CacheService/WarmCache"),
    Mutation("CacheService/InvalidateCache", lambda _: {"tags": ["nothing-is-kept-under-it"]}),
    Mutation("IpBlockService/CreateIpBlock", lambda _: {"ipBlock": {"network": "203.0.113.0/24"}}),
    Mutation("IpBlockService/DeleteIpBlock", lambda sweep: {"ipBlockId": sweep.answers[CREATE].id}),
)
