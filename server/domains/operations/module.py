"""Operations: long work, health, blocked addresses, and the cache of answers."""

from datetime import timedelta

from sqlalchemy import and_, literal_column

from server.data.grants import Grants
from server.data.operations import operations
from server.domains.operations.cache import CacheService, CacheStatistics
from server.domains.operations.health import HealthService
from server.domains.operations.ip_blocks import IpBlockService, StoredBlocks
from server.domains.operations.operations import OperationService
from server.domains.operations.reference import ReferenceService
from server.domains.operations.system import SystemService
from server.domains.operations.tables import ip_blocks
from server.kernel.module import Background, Expire, Foundation, Module, Platform, Serve, WorkerPlatform
from server.kernel.ports import Offers
from server.kernel.privacy import Export, Kept, NotPersonal, Remove

# Retention of ended blocks.
BLOCKS_KEPT = timedelta(days=30)


def _offers(foundation: Foundation) -> Offers:
    return Offers(blocks=StoredBlocks(foundation.database, foundation.generations, foundation.clock))


def _cache(platform: Platform) -> CacheService:
    statistics = CacheStatistics(platform.statistics("cache"), platform.cache, platform.process)
    return CacheService(statistics, platform.generations, platform.warm, platform.policies, platform.cache_explainer)


def _operations(platform: Platform) -> OperationService:
    return OperationService(
        *(platform.current_access, platform.live, platform.clock),
        downloads=platform.downloads,
        work_files=platform.ports.work_files,
    )


def _system(platform: Platform) -> SystemService:
    return SystemService(platform.host, platform.version, platform.settings.environment, platform.clock)


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.operations.orphans import Orphans  # noqa: PLC0415 - in workers only

    return Background(schedules=(Orphans(platform.dispatch, platform.database, platform.clock).schedule,))


OWN = ("operations.operations.read", "operations.operations.cancel")
ENDED = and_(operations.c.end_time.is_not(None), operations.c.kind != literal_column("'person_erasure'"))
MODULE = Module(
    "operations",
    services=(
        Serve(OperationService, _operations),
        Serve(IpBlockService, lambda platform: IpBlockService(platform.clock)),
        Serve(CacheService, _cache),
        Serve(ReferenceService, lambda platform: ReferenceService(platform.reference.openapi)),
        Serve(HealthService, lambda platform: HealthService(platform.dependencies, platform.version, platform.clock)),
        Serve(SystemService, _system),
    ),
    roles={"editor": OWN, "member": OWN, "employee": OWN, "viewer": ("operations.operations.read",)},
    offers=_offers,
    grants=Grants(dispatch_writes=("operations",)),
    retention=(
        Expire(table=ip_blocks, by="expire_time", after=BLOCKS_KEPT),
        Expire(table=operations, by="expire_time", every_tenant=True),
    ),
    erases=(
        # What still runs expires after its end. So does the erasure itself, which says nothing of the person.
        Remove(operations, by="owner_id", where=ENDED),
        NotPersonal(operations, "owner_id", why="an id, which is a pseudonym once the account is erased"),
        NotPersonal(operations, "kind", "message", "request_id", why="words of Plinth's own"),
        NotPersonal(
            operations,
            "error",
            "result",
            "file",
            "saved",
            why="what came of work that is not the person's, or still runs",
        ),
        Kept(ip_blocks, "network", why="of an attacker rather than of a user; gone 30 days after the block has ended"),
        NotPersonal(ip_blocks, "reason", why="says why a network is blocked"),
    ),
    exports=(Export(operations, by="owner_id", leave_out=("saved",), order=("create_time", "id")),),
    background=_background,
)
