"""Upkeep of scores: what an average rating is moves, and the scores of all stories with it."""

from collections.abc import Iterator

from sqlalchemy import Double, Integer, bindparam, literal_column, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.events import NO_TENANT
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.stories.tables import stories
from server.domains.stories.trends import AVERAGE_RATINGS
from server.kernel.caching import Generations
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule

EVERY_NIGHT = "40 2 * * *"
AT_ONCE = 1_000
LONGEST = 3_600.0
MOVED = 0.01
"""Stars by which the mean has to move before scores follow."""
_s = stories.c
_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
NEXT = Statement(
    select(_s.tenant_id)
    .where(_s.tenant_id > _tenant, _s.rating_count > literal_column("0"))
    .order_by(_s.tenant_id)
    .limit(literal_column("1"))
)
"""Takes `tenant`. The next tenant after it that has rated stories."""
MEAN = Statement(
    text(
        f"""
WITH now AS (
    SELECT avg(stars)::double precision AS mean FROM story_ratings
     WHERE tenant_id = :tenant AND NOT is_held AND update_time > now() - interval '1 year'
), moved AS (
    INSERT INTO story_means AS m (tenant_id, rating_mean)
    SELECT :tenant, mean FROM now WHERE mean IS NOT NULL
    ON CONFLICT (tenant_id) DO UPDATE SET rating_mean = excluded.rating_mean
     WHERE abs(m.rating_mean - excluded.rating_mean) > {MOVED}
    RETURNING rating_mean
)
SELECT rating_mean FROM moved UNION ALL SELECT rating_mean FROM story_means WHERE tenant_id = :tenant LIMIT 1"""  # noqa: S608
    )
    .bindparams(_tenant)
    .columns(rating_mean=Double())
)
"""Takes `tenant`. Its mean of the last year, or the former one if it has hardly moved."""
REFRESH = Statement(
    text(
        f"""
WITH page AS (
    SELECT id, ({AVERAGE_RATINGS} * :mean + rating_sum) / ({AVERAGE_RATINGS} + rating_count) AS score FROM stories
     WHERE tenant_id = :tenant AND id > :last AND rating_count > 0 ORDER BY id LIMIT :limit
), done AS (
    UPDATE stories s SET rating_score = page.score
      FROM page WHERE s.tenant_id = :tenant AND s.id = page.id AND abs(s.rating_score - page.score) > 1e-6
    RETURNING s.id
)
SELECT id, (SELECT count(*) FROM done)::integer AS changed FROM page ORDER BY id DESC LIMIT 1"""  # noqa: S608
    )
    .bindparams(
        _tenant,
        bindparam("last", type_=_id),
        bindparam("limit", type_=Integer()),
        bindparam("mean", type_=Double()),
    )
    .columns(id=_id, changed=Integer())
)
"""Takes `tenant`, `last`, `limit` and `mean`. The last story that was looked at, and how many got another score."""


class StoryUpkeep:
    """The upkeep of all tenants."""

    def __init__(self, dispatch: Database, database: Database, generations: Generations) -> None:
        """`dispatch` finds the tenants; `database` changes each within its own."""
        self._dispatch, self._database, self._generations = dispatch, database, generations

    @property
    def schedule(self) -> Schedule:
        """Every night."""
        return Schedule(EVERY_NIGHT, Job("stories.upkeep", self.run, MAINTENANCE_QUEUE, NEVER_AGAIN, timeout=LONGEST))

    def run(self) -> None:
        """Let scores follow the mean. What a lost run has left is done by the next one."""
        for tenant_id in self._tenants():
            with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
                row = transaction.run(MEAN, tenant=tenant_id).first()
            if row is not None and self._refresh(tenant_id, row["rating_mean"]):
                self._generations.invalidate([f"tenant:{tenant_id}:stories"])

    def _refresh(self, tenant_id: str, mean: float) -> int:
        """Give stories their scores. Returns how many got another one."""
        last, changed = NO_TENANT, 0
        while True:
            with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
                row = transaction.run(REFRESH, tenant=tenant_id, last=last, limit=AT_ONCE, mean=mean).first()
            if row is None:
                return changed
            last, changed = row["id"], changed + row["changed"]

    def _tenants(self) -> Iterator[str]:
        tenant_id = NO_TENANT
        while True:
            with self._dispatch.read(Scope(platform=True)) as transaction:
                row = transaction.run(NEXT, tenant=tenant_id).first()
            if row is None:
                return
            tenant_id = row["tenant_id"]
            yield tenant_id
