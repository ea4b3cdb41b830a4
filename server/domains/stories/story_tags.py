"""Tags of published stories."""

from collections.abc import Sequence
from datetime import datetime

from plinth.stories.v1.story_pb2 import Story
from sqlalchemy import ARRAY, Boolean, DateTime, Integer, Text, bindparam, select, text, tuple_
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyColumn
from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.stories.story_resource import PUBLISHED
from server.domains.stories.tables import stories, story_tags

MOST_TAGS = 200
_id = UUID(as_uuid=False)
_t, _s = story_tags.c, stories.c
_tenant, _story = bindparam("tenant", type_=_id), bindparam("story", type_=_id)
REMOVE = Statement(
    text("DELETE FROM story_tags t WHERE t.tenant_id = :tenant AND t.story_id = :story").bindparams(_tenant, _story)
)
"""Takes `tenant` and `story`."""
ADD = Statement(
    text(
        "INSERT INTO story_tags (tenant_id, tag, publish_time, story_id)"
        " SELECT :tenant, n.tag, :published, :story FROM unnest(:tags) AS n (tag) ON CONFLICT DO NOTHING"
    ).bindparams(
        _tenant, _story, bindparam("published", type_=DateTime(timezone=True)), bindparam("tags", type_=ARRAY(Text()))
    )
)
"""Takes `tenant`, `story`, `published` and `tags`."""
COUNTS = Statement(
    text(
        """
SELECT t.tag, count(*) AS stories FROM story_tags t
 WHERE t.tenant_id = :tenant AND t.tag >= :start COLLATE "C" AND t.tag < :stop COLLATE "C"
 GROUP BY t.tag ORDER BY 2 DESC, t.tag LIMIT :most"""
    )
    .bindparams(
        _tenant,
        *(bindparam(name, type_=Text()) for name in ("start", "stop")),
        bindparam("most", type_=Integer()),
    )
    .columns(tag=Text(), stories=Integer())
)
"""Takes `tenant`, `start` and `stop`, between which the tags are, and `most`."""


def tagged(columns: Sequence[AnyColumn]) -> Statement:
    """The published stories with a tag, those published last first.

    Takes `tenant`, `tag`, `language`, which may be empty, `is_further`, `after` and `last` of the page before, `limit`.
    """
    is_further = bindparam("is_further", type_=Boolean())
    place = tuple_(_t.publish_time, _t.story_id)
    after = tuple_(bindparam("after", type_=DateTime(timezone=True)), bindparam("last", type_=_id))
    language = bindparam("language", type_=Text())
    return Statement(
        lambda: (
            select(*columns, _t.publish_time.label("tagged_time"))
            .join(stories, (_s.tenant_id == _t.tenant_id) & (_s.id == _t.story_id))
            .where(
                _t.tenant_id == _tenant,
                _t.tag == bindparam("tag", type_=Text()),
                (~is_further) | (place < after),
                (language == "") | (_s.language == language),
                _s.delete_time.is_(None),
            )
            .order_by(_t.publish_time.desc(), _t.story_id.desc())
            .limit(bindparam("limit", type_=Integer()))
        )
    )


def keep_tags(transaction: WriteTransaction, tenant_id: str, story: Story, before: Story | None) -> None:
    """Queue the statements that let a story be found by its tags, if that has changed."""
    now, then = _shown(story), _shown(before) if before is not None else (None, ())
    if now == then:
        return
    if then[1]:
        transaction.queue(REMOVE, tenant=tenant_id, story=story.id)
    if now[1]:
        transaction.queue(ADD, tenant=tenant_id, story=story.id, published=now[0], tags=list(now[1]))


def _shown(story: Story) -> tuple[datetime | None, Sequence[str]]:
    if story.state != PUBLISHED or story.HasField("delete_time"):
        return None, ()
    return story.publish_time.ToDatetime(), tuple(story.tags)
