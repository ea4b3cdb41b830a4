"""Ratings of stories."""

from datetime import datetime, timedelta

from plinth.stories.v1 import story_rating_pb2
from plinth.stories.v1.story_pb2 import Story
from plinth.stories.v1.story_rating_pb2 import StoryRatings
from sqlalchemy import ARRAY, Boolean, DateTime, Double, Integer, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.stories.moderation_queue import RUSH as RUSH_ITEM
from server.domains.stories.moderation_queue import open_item, subject_of
from server.domains.stories.story_resource import PUBLISHED, STORY
from server.domains.stories.trends import AVERAGE_RATINGS, RATED, act_on
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.problems import StateForbids
from server.kernel.resources import Hooks, ReadRows, Service

RUSH = 20
"""Ratings of a story in an hour above which further ones may be held back."""
RUSH_FACTOR = 5
"""How many times as many as usual that is."""
HOUR, USUAL = timedelta(hours=1), timedelta(days=30)
_id = UUID(as_uuid=False)
_tenant, _story, _user = (bindparam(name, type_=_id) for name in ("tenant", "story", "user"))
_now = bindparam("now", type_=DateTime(timezone=True))
LOCK_STORY = Statement(
    text("SELECT id FROM stories WHERE tenant_id = :tenant AND id = :story FOR NO KEY UPDATE")
    .bindparams(_tenant, _story)
    .columns(id=_id)
)
"""Takes `tenant` and `story`. Ratings of a story are counted one after the other."""
PACE = Statement(
    text(
        """
SELECT count(*) FILTER (WHERE r.update_time > :hour) AS lately, count(*) AS usually
  FROM (SELECT update_time FROM story_ratings
         WHERE tenant_id = :tenant AND story_id = :story AND update_time > :usual
         ORDER BY update_time DESC LIMIT 10000) r"""
    )
    .bindparams(_tenant, _story, *(bindparam(name, type_=DateTime(timezone=True)) for name in ("hour", "usual")))
    .columns(lately=Integer(), usually=Integer())
)
"""Takes `tenant`, `story`, and the beginnings of an hour and of a month."""
OWN = Statement(
    text("SELECT stars, is_held FROM story_ratings WHERE tenant_id = :tenant AND story_id = :story AND user_id = :user")
    .bindparams(_tenant, _story, _user)
    .columns(stars=Integer(), is_held=Boolean())
)
"""Takes `tenant`, `story` and `user`."""
SET = Statement(
    text(
        """
INSERT INTO story_ratings (tenant_id, story_id, user_id, stars, is_held, update_time)
VALUES (:tenant, :story, :user, :stars, :held, :now)
ON CONFLICT (tenant_id, story_id, user_id) DO UPDATE
   SET stars = excluded.stars, update_time = excluded.update_time"""
    ).bindparams(_tenant, _story, _user, _now, bindparam("stars", type_=Integer()), bindparam("held", type_=Boolean()))
)
"""Takes `tenant`, `story`, `user`, `stars`, `held`, which is of a first rating alone, and `now`."""
REMOVE = Statement(
    text(
        "DELETE FROM story_ratings WHERE tenant_id = :tenant AND story_id = :story AND user_id = :user"
        " RETURNING stars, is_held"
    )
    .bindparams(_tenant, _story, _user)
    .columns(stars=Integer(), is_held=Boolean())
)
"""Takes `tenant`, `story` and `user`."""
_SUM_UP = f"""
UPDATE stories s SET rating_counts = r.counts, rating_count = r.count, rating_sum = r.total,
       rating_average = CASE r.count WHEN 0 THEN 0 ELSE r.total::double precision / r.count END,
       rating_score = CASE r.count WHEN 0 THEN 0
                      ELSE ({AVERAGE_RATINGS} * m.mean + r.total) / ({AVERAGE_RATINGS} + r.count) END
  FROM (SELECT array_agg(c.count ORDER BY c.stars) AS counts, sum(c.count)::integer AS count,
               sum(c.count * c.stars)::integer AS total
          FROM (%s) c) r,
       (SELECT coalesce((SELECT rating_mean FROM story_means WHERE tenant_id = :tenant), 3) AS mean) m
 WHERE s.tenant_id = :tenant AND s.id = :story"""  # noqa: S608 - a number
COUNT = Statement(
    text(
        _SUM_UP
        % """
SELECT k.stars, (k.count + (k.stars = :added)::integer - (k.stars = :removed)::integer)::integer AS count
  FROM stories o, unnest(o.rating_counts) WITH ORDINALITY AS k (count, stars)
 WHERE o.tenant_id = :tenant AND o.id = :story"""
    ).bindparams(_tenant, _story, *(bindparam(name, type_=Integer()) for name in ("added", "removed")))
)
"""Takes `tenant`, `story`, and the stars of a rating that is `added` and of one that is `removed`, 0 for none."""
RECOUNT = Statement(
    text(
        _SUM_UP
        % """
SELECT n.stars, count(g.stars)::integer AS count
  FROM generate_series(1, 5) AS n (stars)
  LEFT JOIN story_ratings g ON g.tenant_id = :tenant AND g.story_id = :story AND g.stars = n.stars AND NOT g.is_held
 GROUP BY n.stars"""
    ).bindparams(_tenant, _story)
)
"""Takes `tenant` and `story`. Counts all ratings, once many of them have changed."""
RELEASE_HELD = Statement(
    text(
        "UPDATE story_ratings SET is_held = false WHERE tenant_id = :tenant AND story_id = :story AND is_held"
    ).bindparams(_tenant, _story)
)
"""Takes `tenant` and `story`, as the next does."""
DROP_HELD = Statement(
    text("DELETE FROM story_ratings WHERE tenant_id = :tenant AND story_id = :story AND is_held").bindparams(
        _tenant, _story
    )
)
TOLD = Statement(
    text(
        """
SELECT s.rating_count AS count, s.rating_average AS average, s.rating_score AS score,
       coalesce(o.stars, 0) AS own, coalesce(o.is_held, false) AS is_held,
       s.rating_counts AS histogram
  FROM stories s
  LEFT JOIN story_ratings o ON o.tenant_id = s.tenant_id AND o.story_id = s.id AND o.user_id = :user
 WHERE s.tenant_id = :tenant AND s.id = :story"""
    )
    .bindparams(_tenant, _story, _user)
    .columns(
        count=Integer(),
        average=Double(),
        score=Double(),
        own=Integer(),
        is_held=Boolean(),
        histogram=ARRAY(Integer()),
    )
)
"""Takes `tenant`, `story` and `user`, who may be None."""


class StoryRatingService(Service):
    """Ratings."""

    descriptor = story_rating_pb2.DESCRIPTOR.services_by_name["StoryRatingService"]

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__()
        self._clock = clock
        self._stories = ReadRows(Hooks(), STORY)

    def get_story_ratings(self, call: Call, request: story_rating_pb2.GetStoryRatingsRequest) -> StoryRatings:
        """What people think of a story."""
        story = self._stories.get(call, request.story_id)
        row = call.reads.run(TOLD, tenant=call.tenant_id, story=story.id, user=call.caller.user_id or None).first()
        return StoryRatings(story_id=story.id, **(row or {}))

    def rate_story(self, call: Call, request: story_rating_pb2.RateStoryRequest) -> StoryRatings:
        """Set the own rating."""
        story, user_id = self._locked(call, request.story_id)
        if story.state != PUBLISHED:
            raise self._forbidden(story, "Only published stories are rated.", Story.State.Name(story.state)[6:])
        if story.author_id == user_id:
            raise self._forbidden(story, "Nobody rates a story of their own.", "OWN")
        now = self._clock()
        key = {"tenant": call.tenant_id, "story": story.id}
        former = call.writes.run(OWN, **key, user=user_id).first()
        held = former["is_held"] if former else self._is_rush(call, story.id, now)
        call.writes.queue(SET, **key, user=user_id, stars=request.stars, held=held, now=now)
        if not held:
            call.writes.queue(COUNT, **key, added=request.stars, removed=former["stars"] if former else 0)
        if former is None:
            self._note_first(call, story, is_held=held, now=now)
        return self._told(call, story.id, user_id)

    def delete_story_rating(self, call: Call, request: story_rating_pb2.DeleteStoryRatingRequest) -> StoryRatings:
        """Take the own rating back."""
        story, user_id = self._locked(call, request.story_id)
        key = {"tenant": call.tenant_id, "story": story.id}
        former = call.writes.run(REMOVE, **key, user=user_id).first()
        if former and not former["is_held"]:
            call.writes.queue(COUNT, **key, added=0, removed=former["stars"])
        return self._told(call, story.id, user_id)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _locked(self, call: Call, story_id: str) -> tuple[Story, str]:
        """A story that the caller sees, whose ratings nobody else changes until the call ends, and the caller."""
        call.writes.run(LOCK_STORY, tenant=call.tenant_id, story=story_id)
        story = self._stories.get(call, story_id)
        return story, self._stories.owner_of_new(call)

    def _note_first(self, call: Call, story: Story, *, is_held: bool, now: datetime) -> None:
        if is_held:
            open_item(call, RUSH_ITEM, subject_of(story))
        else:
            act_on(call.writes, str(call.tenant_id), story.id, RATED, now)

    def _is_rush(self, call: Call, story_id: str, now: datetime) -> bool:
        """Whether many more ratings come than usual."""
        key = {"tenant": call.tenant_id, "story": story_id}
        row = call.writes.run(PACE, **key, hour=now - HOUR, usual=now - USUAL).first()
        lately, usually = (row["lately"], row["usually"]) if row else (0, 0)
        hours = USUAL / HOUR
        return lately >= RUSH and lately > RUSH_FACTOR * (usually - lately) / (hours - 1)

    def _told(self, call: Call, story_id: str, user_id: str) -> StoryRatings:
        row = call.writes.run(TOLD, tenant=call.tenant_id, story=story_id, user=user_id).first()
        told = StoryRatings(story_id=story_id, **(row or {}))
        # The event goes to everyone. It has the totals, without the caller's own rating.
        call.event_payload = StoryRatings()
        call.event_payload.CopyFrom(told)
        call.event_payload.own, call.event_payload.is_held = 0, False
        return told

    def _forbidden(self, story: Story, fault: str, state: str) -> StateForbids:
        metadata = {"resource_type": self._stories.type, "resource": story.id, "state": state}
        return StateForbids(fault, metadata=metadata)
