"""Audit: the log of changes and refusals, sealed so that tampering is detected."""

from datetime import timedelta

from sqlalchemy import literal_column

from server.data.audit import audit_entries
from server.data.grants import Grants
from server.domains.audit.checkpoints import CheckpointKeys
from server.domains.audit.erasure import COUNT, erase_entries
from server.domains.audit.proofs import Proofs
from server.domains.audit.service import AuditService
from server.domains.audit.tables import audit_checkpoints, audit_leaves, audit_nodes
from server.kernel.module import Background, DropPartitions, Module, Platform, Serve, WorkerPlatform
from server.kernel.privacy import Erase, Export, NotPersonal
from server.kernel.read_models import Zones, tenant_zone
from server.kernel.roles import ORDINARY_ROLES


def _service(platform: Platform) -> AuditService:
    proofs = Proofs(CheckpointKeys(platform.settings.secrets))
    kept = timedelta(days=platform.settings.audit_retention_days)
    ports = platform.ports
    parts = (
        platform.page_tokens,
        proofs,
        platform.downloads,
        ports.memberships,
        Zones(tenant_zone(ports.tenant_preferences)),
    )
    return AuditService(*parts, kept=kept, clock=platform.clock)


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.audit.sealing import Sealer  # noqa: PLC0415 - in workers only
    from server.domains.audit.verification import NightlyCheck  # noqa: PLC0415

    keys = CheckpointKeys(platform.settings.secrets)
    sealer, check = Sealer(platform.quick_dispatch, keys), NightlyCheck(platform.dispatch, keys)
    return Background(schedules=(sealer.schedule, check.schedule))


MODULE = Module(
    "audit",
    services=(Serve(AuditService, _service),),
    roles=dict.fromkeys(ORDINARY_ROLES, ("audit.activity.read",)),
    grants=Grants(
        dispatch_writes=("audit_leaves", "audit_nodes", "audit_checkpoints"),
        # An entry is written once. Only an erasure changes one of its columns.
        runtime_limits=(
            "REVOKE UPDATE, DELETE ON audit_entries, audit_leaves, audit_nodes, audit_checkpoints FROM {}",
            "REVOKE INSERT ON audit_leaves, audit_nodes, audit_checkpoints FROM {}",
            "GRANT UPDATE (personal) ON audit_entries TO {}",
        ),
    ),
    retention=(
        DropPartitions(table=audit_entries, after=lambda settings: timedelta(days=settings.audit_retention_days)),
    ),
    erases=(
        Erase(table=audit_entries, columns=("personal",), run=erase_entries, count=COUNT, without_tenant=True),
        NotPersonal(audit_entries, "actor_kind", "actor_id", "resource_id", why="ids, which stay as pseudonyms"),
        NotPersonal(
            audit_entries, "method", "action", "resource_type", "outcome", "reason", why="names of the contract"
        ),
        NotPersonal(audit_entries, "request_id", why="names a request"),
        NotPersonal(audit_entries, "changes", why="fields that are not marked personal"),
        NotPersonal(
            audit_entries, "commitments", "hash", why="hashes; those of personal values had a salt, which is gone"
        ),
        NotPersonal(audit_leaves, "hash", why="a hash of the entry without personal values"),
        NotPersonal(audit_nodes, "hash", why="a hash of hashes"),
        NotPersonal(audit_checkpoints, "root_hash", "note", why="a signed hash"),
    ),
    exports=(
        Export(
            audit_entries,
            by="actor_id",
            leave_out=("changes", "commitments", "hash"),
            # What the person changed may be somebody else's.
            instead=(("personal", literal_column("CAST(personal AS jsonb) - 'changes'")),),
            order=("create_time", "id"),
        ),
    ),
    background=_background,
)
