"""The statements of reports, and of the records of those who make them."""

from plinth.stories.v1.story_report_pb2 import StoryReport
from sqlalchemy import Double, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement

AGREED, DISAGREED = StoryReport.STATE_AGREED, StoryReport.STATE_DISAGREED
IGNORED = StoryReport.STATE_IGNORED
_id = UUID(as_uuid=False)
_tenant, _item, _user = (bindparam(name, type_=_id) for name in ("tenant", "item", "user"))
RECORD = Statement(
    text("SELECT agreed, disagreed FROM story_reporters WHERE tenant_id = :tenant AND user_id = :user")
    .bindparams(_tenant, _user)
    .columns(agreed=Integer(), disagreed=Integer())
)
"""Takes `tenant` and `user`."""
REPORT = Statement(
    text(
        """
INSERT INTO story_reports (tenant_id, id, moderation_item_id, user_id, reason, state, text, weight)
VALUES (:tenant, :id, :item, :user, :reason, 1, :text, :weight)
ON CONFLICT (tenant_id, moderation_item_id, user_id) WHERE state = 1 DO UPDATE
   SET reason = excluded.reason, text = excluded.text, weight = excluded.weight,
       version = story_reports.version + 1, update_time = now()
RETURNING id"""
    )
    .bindparams(
        _tenant,
        bindparam("id", type_=_id),
        _item,
        _user,
        bindparam("reason", type_=Integer()),
        bindparam("text", type_=Text()),
        bindparam("weight", type_=Double()),
    )
    .columns(id=_id)
)
"""Takes `tenant`, `id`, `item`, `user`, `reason`, `text` and `weight`."""
WEIGH = Statement(
    text(
        """
UPDATE moderation_items i SET score = r.score, report_count = r.reports
  FROM (SELECT coalesce(sum(weight), 0) AS score, count(*)::integer AS reports FROM story_reports
         WHERE tenant_id = :tenant AND moderation_item_id = :item AND state = 1) r
 WHERE i.tenant_id = :tenant AND i.id = :item
RETURNING i.score"""
    )
    .bindparams(_tenant, _item)
    .columns(score=Double())
)
"""Takes `tenant` and `item`. The score of its open reports."""
DECIDE = Statement(
    text(
        """
WITH decided AS (
    UPDATE story_reports SET state = :state, version = version + 1, update_time = now()
     WHERE tenant_id = :tenant AND moderation_item_id = :item AND state = 1 RETURNING id, user_id
), counted AS (
    INSERT INTO story_reporters AS s (tenant_id, user_id, agreed, disagreed, ignored)
    SELECT :tenant, user_id, (:state = 2)::integer, (:state = 3)::integer, (:state = 4)::integer FROM decided
     ORDER BY user_id
    ON CONFLICT (tenant_id, user_id) DO UPDATE
       SET agreed = s.agreed + excluded.agreed, disagreed = s.disagreed + excluded.disagreed,
           ignored = s.ignored + excluded.ignored
)
SELECT id, user_id FROM decided ORDER BY id LIMIT :most"""
    )
    .bindparams(_tenant, _item, bindparam("state", type_=Integer()), bindparam("most", type_=Integer()))
    .columns(id=_id, user_id=_id)
)
"""Takes `tenant`, `item`, `state` and `most`.

Decides all open reports of an item, with the records of who made them. Finds the first of the reports.
"""
