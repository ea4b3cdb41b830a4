"""Settings of stories, and whether what somebody submits waits for a moderator."""

from typing import NamedTuple

from plinth.stories.v1 import story_settings_pb2
from plinth.stories.v1.story_settings_pb2 import StorySettings
from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.stories.tables import stories, story_settings
from server.kernel.caching import Generations, TenantMemory
from server.kernel.call import Call
from server.kernel.resources import Resource, Service

TAG = "tenant:{tenant_id}:story_settings"
REMEMBERED = 10_000
"""Tenants whose settings a process remembers: some 200 bytes each."""
REVIEWED_STORIES, HIDE_SCORE = 3, 8
TRUSTED = "stories.moderation.decide"
"""What moderators submit waits for nobody."""
_t, _s = story_settings.c, stories.c
SETTINGS = Statement(
    select(_t.review, _t.reviewed_stories, _t.hide_score).where(
        _t.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False))
    )
)
"""Takes `tenant`."""
PUBLISHED_OF = Statement(
    select(func.count().label("count")).select_from(
        select(_s.id)
        .where(
            _s.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)),
            _s.author_id == bindparam("author", type_=UUID(as_uuid=False)),
            _s.state == literal_column("3"),
            _s.delete_time.is_(None),
        )
        .limit(literal_column("100"))
        .subquery()
    )
)
"""Takes `tenant` and `author`. How many stories of an author were published, up to 100."""


class StorySettingsService(Service[StorySettings]):
    """The settings of a tenant."""

    descriptor = story_settings_pb2.DESCRIPTOR.services_by_name["StorySettingsService"]
    resource = Resource(StorySettings, story_settings, singleton=True)

    def prepare(self, call: Call, resource: StorySettings, before: StorySettings | None) -> None:
        """Set cleared fields to their defaults."""
        del call, before
        resource.review = resource.review or StorySettings.REVIEW_ALL
        resource.reviewed_stories = resource.reviewed_stories or REVIEWED_STORIES
        resource.hide_score = resource.hide_score or HIDE_SCORE


class Rules(NamedTuple):
    """The settings of a tenant."""

    review: int = StorySettings.REVIEW_ALL
    reviewed_stories: int = REVIEWED_STORIES
    hide_score: int = HIDE_SCORE


class ReviewRules:
    """The settings of all tenants, as a process remembers them."""

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._known = TenantMemory(generations, TAG, self._read, most=REMEMBERED)

    def of(self, tenant_id: str) -> Rules:
        """Those of a tenant."""
        return self._known.of(tenant_id)

    def must_wait(self, call: Call, author_id: str) -> bool:
        """Whether what an author submits, or changes, waits for a moderator."""
        if call.access is not None and TRUSTED in call.access.permissions:
            return False
        rules = self.of(str(call.tenant_id))
        if rules.review != StorySettings.REVIEW_NEW_AUTHORS:
            return rules.review != StorySettings.REVIEW_NONE
        found = call.reads.run(PUBLISHED_OF, tenant=call.tenant_id, author=author_id)
        return int(found.value() or 0) < rules.reviewed_stories

    def _read(self, tenant_id: str) -> Rules:
        with self._database.read(Scope(tenant_id=tenant_id)) as transaction:
            row = transaction.run(SETTINGS, tenant=tenant_id).first()
        return Rules(row["review"], row["reviewed_stories"], row["hide_score"]) if row else Rules()
