"""The statements of comments and their votes."""

from sqlalchemy import ARRAY, Boolean, Double, Integer, SmallInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement

_id = UUID(as_uuid=False)
_tenant, _story, _comment, _user = (bindparam(name, type_=_id) for name in ("tenant", "story", "comment", "user"))
DRAW = Statement(
    text(
        "UPDATE stories SET comments_made = comments_made + 1 WHERE tenant_id = :tenant AND id = :story"
        " RETURNING comments_made, state, comment_mode, author_id"
    )
    .bindparams(_tenant, _story)
    .columns(comments_made=Integer(), state=SmallInteger(), comment_mode=SmallInteger(), author_id=_id)
)
"""Takes `tenant` and `story`. The number of a new comment, and what the story says of comments."""
STORY_OF = Statement(
    text("SELECT author_id FROM stories WHERE tenant_id = :tenant AND id = :story")
    .bindparams(_tenant, _story)
    .columns(author_id=_id)
)
"""Takes `tenant` and `story`."""
ABOVE = Statement(
    text(
        "SELECT path, state FROM story_comments"
        " WHERE tenant_id = :tenant AND story_id = :story AND id = :comment AND delete_time IS NULL"
    )
    .bindparams(_tenant, _story, _comment)
    .columns(path=Text(), state=SmallInteger())
)
"""Takes `tenant`, `story` and `comment`."""
WRITER = Statement(
    text("SELECT author_id FROM story_comments WHERE tenant_id = :tenant AND id = :comment")
    .bindparams(_tenant, _comment)
    .columns(author_id=_id)
)
"""Takes `tenant` and `comment`."""
COUNT = Statement(
    text(
        "UPDATE stories SET comment_count = comment_count + :change WHERE tenant_id = :tenant AND id = :story"
    ).bindparams(_tenant, _story, bindparam("change", type_=Integer()))
)
"""Takes `tenant`, `story` and `change`."""
LOCK_STORY = Statement(
    text("SELECT id FROM stories WHERE tenant_id = :tenant AND id = :story FOR NO KEY UPDATE")
    .bindparams(_tenant, _story)
    .columns(id=_id)
)
"""Takes `tenant` and `story`."""
ANSWER = Statement(
    text(
        "SELECT id FROM story_comments"
        " WHERE tenant_id = :tenant AND parent_id = :comment AND delete_time IS NULL LIMIT 1"
    )
    .bindparams(_tenant, _comment)
    .columns(id=_id)
)
"""Takes `tenant` and `comment`. A reply to the comment, in any state."""
REPLIES = Statement(
    text(
        """
SELECT a.comment_id, r.replies FROM unnest(:comments) AS a (comment_id)
 CROSS JOIN LATERAL (SELECT count(*) AS replies FROM story_comments c
                      WHERE c.tenant_id = :tenant AND c.parent_id = a.comment_id
                        AND c.state = 2 AND c.delete_time IS NULL) r
 WHERE r.replies > 0"""
    )
    .bindparams(_tenant, bindparam("comments", type_=ARRAY(_id)))
    .columns(comment_id=_id, replies=Integer())
)
"""Takes `tenant` and `comments`. Visible replies of those that have some."""
KEEP_BODY = Statement(
    text(
        "INSERT INTO story_comment_bodies (tenant_id, comment_id, create_time, body)"
        " VALUES (:tenant, :comment, clock_timestamp(), :body)"
    ).bindparams(_tenant, _comment, bindparam("body", type_=Text()))
)
"""Takes `tenant`, `comment` and `body`."""
VOTE_OF = Statement(
    text(
        "SELECT is_helpful FROM story_comment_votes"
        " WHERE tenant_id = :tenant AND comment_id = :comment AND user_id = :user"
    )
    .bindparams(_tenant, _comment, _user)
    .columns(is_helpful=Boolean())
)
"""Takes `tenant`, `comment` and `user`, as the next two do."""
VOTE = Statement(
    text(
        "INSERT INTO story_comment_votes (tenant_id, comment_id, user_id, is_helpful)"
        " VALUES (:tenant, :comment, :user, :helpful)"
        " ON CONFLICT (tenant_id, comment_id, user_id) DO UPDATE SET is_helpful = excluded.is_helpful"
    ).bindparams(_tenant, _comment, _user, bindparam("helpful", type_=Boolean()))
)
"""Takes `helpful` too."""
UNVOTE = Statement(
    text(
        "DELETE FROM story_comment_votes WHERE tenant_id = :tenant AND comment_id = :comment AND user_id = :user"
        " RETURNING is_helpful"
    )
    .bindparams(_tenant, _comment, _user)
    .columns(is_helpful=Boolean())
)
VOTED = Statement(
    text(
        "UPDATE story_comments SET helpful_count = :helpful, unhelpful_count = :unhelpful, score = :score"
        " WHERE tenant_id = :tenant AND id = :comment"
    ).bindparams(
        _tenant,
        _comment,
        *(bindparam(name, type_=Integer()) for name in ("helpful", "unhelpful")),
        bindparam("score", type_=Double()),
    )
)
"""Takes `tenant`, `comment`, `helpful`, `unhelpful` and `score`. A vote is no new version of the comment."""
