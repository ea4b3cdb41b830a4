"""Operations: health, blocked addresses, and the cache of answers."""

from datetime import timedelta

from server.domains.operations.cache import CacheService, CacheStatistics
from server.domains.operations.health import HealthService
from server.domains.operations.ip_blocks import IpBlockService, StoredBlocks
from server.domains.operations.tables import ip_blocks
from server.kernel.module import Expire, Foundation, Module, Platform, Serve
from server.kernel.ports import Offers

# Retention of ended blocks.
BLOCKS_KEPT = timedelta(days=30)


def _offers(foundation: Foundation) -> Offers:
    return Offers(blocks=StoredBlocks(foundation.database, foundation.generations, foundation.clock))


def _cache(platform: Platform) -> CacheService:
    statistics = CacheStatistics(platform.statistics, platform.cache, platform.process)
    return CacheService(statistics, platform.generations, platform.warm)


MODULE = Module(
    "operations",
    services=(
        Serve(IpBlockService, lambda platform: IpBlockService(platform.clock)),
        Serve(CacheService, _cache),
        Serve(HealthService, lambda platform: HealthService(platform.dependencies, platform.version, platform.clock)),
    ),
    offers=_offers,
    retention=(Expire(table=ip_blocks, by="expire_time", after=BLOCKS_KEPT),),
)
