"""Tables of stories."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.search import search_tables
from server.data.tables import OWN_TENANT, ROW_SECURITY, metadata, tenant_table, time_column, uuid_column

_EMPTY, _ZERO = text("''"), text("0")


def _of(table: str, *names: str) -> tuple[ForeignKeyConstraint, ...]:
    """Keys that lead to another table of the tenant, whose rows take these with them."""
    return tuple(
        ForeignKeyConstraint(["tenant_id", name], [f"{table}.tenant_id", f"{table}.id"], ondelete="CASCADE")
        for name in names
    )


def _texts(*names: str) -> tuple[Column[str], ...]:
    return tuple(Column(name, Text, nullable=False, server_default=_EMPTY) for name in names)


def _counts(*names: str) -> tuple[Column[int], ...]:
    return tuple(Column(name, Integer, nullable=False, server_default=_ZERO) for name in names)


stories = tenant_table(
    "stories",
    uuid_column("author_id"),
    *(Column(name, Text, nullable=False) for name in ("slug", "title")),
    *_texts("summary", "language", "body", "cover_url"),
    Column("audience", SmallInteger, nullable=False, server_default=_ZERO),
    Column("warnings", ARRAY(SmallInteger), nullable=False, server_default=text("'{}'")),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("comment_mode", SmallInteger, nullable=False, server_default=_ZERO),
    Column("state", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=_EMPTY),
    *_counts("revision_number", "pending_revision_number"),
    time_column("publish_time", nullable=True),
    Column("word_count", Integer, nullable=False, server_default=_ZERO),
    # What readers do. It changes without a new version of the story.
    *_counts("comment_count", "rating_count", "rating_sum", "comments_made", "revisions_made"),
    # How many gave each number of stars.
    Column("rating_counts", ARRAY(Integer), nullable=False, server_default=text("'{0,0,0,0,0}'")),
    *(
        Column(name, Double, nullable=False, server_default=_ZERO)
        for name in ("rating_average", "rating_score", "trend")
    ),
    soft_delete=True,
)
_s = stories.c
_is_alive = _s.delete_time.is_(None)
_is_published = (_s.state == text("3")) & _is_alive
Index("stories_slug_key", _s.tenant_id, _s.slug, unique=True, postgresql_where=_is_alive)
for _name in ("create_time", "update_time", "title", "rating_score", "trend"):
    Index(f"stories_{_name}_idx", _s.tenant_id, _s[_name], _s.id)
Index("stories_author_id_idx", _s.tenant_id, _s.author_id, _s.create_time, _s.id)
Index("stories_published_idx", _s.tenant_id, _s.publish_time, _s.id, postgresql_where=_is_published)
Index("stories_trending_idx", _s.tenant_id, _s.trend, _s.id, postgresql_where=_is_published)
# Those that wait, and the few others that are not published.
Index(
    "stories_state_idx",
    *(_s.tenant_id, _s.state, _s.create_time, _s.id),
    postgresql_where=(_s.state != text("3")) & _is_alive,
)
# Where the upkeep of scores finds them.
Index("stories_rated_idx", _s.tenant_id, _s.id, postgresql_where=_s.rating_count > text("0"))
stories_search = search_tables(stories)

# The tags of published stories.
story_tags = Table(
    "story_tags",
    metadata,
    uuid_column("tenant_id"),
    Column("tag", Text(collation="C"), nullable=False),
    time_column("publish_time"),
    uuid_column("story_id"),
    PrimaryKeyConstraint("tenant_id", "tag", "publish_time", "story_id"),
    *_of("stories", "story_id"),
    info={ROW_SECURITY: OWN_TENANT},
)
Index("story_tags_story_id_idx", story_tags.c.tenant_id, story_tags.c.story_id)

story_chapters = tenant_table(
    "story_chapters",
    *(uuid_column(name) for name in ("story_id", "author_id")),
    Column("position", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False, server_default=_EMPTY),
    Column("state", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=_EMPTY),
    *_counts("revision_number", "pending_revision_number"),
    time_column("publish_time", nullable=True),
    Column("word_count", Integer, nullable=False, server_default=_ZERO),
    *_of("stories", "story_id"),
    soft_delete=True,
)
_c = story_chapters.c
Index("story_chapters_position_idx", _c.tenant_id, _c.story_id, _c.position, _c.id)
Index("story_chapters_create_time_idx", _c.tenant_id, _c.story_id, _c.create_time, _c.id)
Index("story_chapters_author_id_idx", _c.tenant_id, _c.author_id)

# What was submitted or published, of a story or of one of its chapters.
story_revisions = tenant_table(
    "story_revisions",
    *(uuid_column(name) for name in ("story_id", "author_id")),
    uuid_column("story_chapter_id", nullable=True),
    Column("number", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("content", JSONB, nullable=False),
    *_of("stories", "story_id"),
    soft_delete=True,
)
_r = story_revisions.c
Index("story_revisions_number_key", _r.tenant_id, _r.story_id, _r.number, unique=True)
Index("story_revisions_number_idx", _r.tenant_id, _r.story_id, _r.number, _r.id)
Index("story_revisions_create_time_idx", _r.tenant_id, _r.story_id, _r.create_time, _r.id)
Index("story_revisions_author_id_idx", _r.tenant_id, _r.author_id, _r.story_id, _r.number, _r.id)

story_comments = tenant_table(
    "story_comments",
    uuid_column("story_id"),
    # Nobody's, once it is deleted and has replies.
    *(uuid_column(name, nullable=True) for name in ("author_id", "parent_id")),
    uuid_column("story_author_id"),
    Column("body", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=_EMPTY),
    # Seven characters for each level (comment_paths.py).
    Column("path", Text(collation="C"), nullable=False),
    Column("depth", Integer, nullable=False),
    *_counts("helpful_count", "unhelpful_count"),
    Column("score", Double, nullable=False, server_default=_ZERO),
    time_column("edit_time", nullable=True),
    *_of("stories", "story_id"),
    *_of("story_comments", "parent_id"),
    soft_delete=True,
)
_m = story_comments.c
Index("story_comments_path_key", _m.tenant_id, _m.story_id, _m.path, unique=True)
for _name in ("path", "create_time", "score"):
    Index(f"story_comments_{_name}_idx", _m.tenant_id, _m.story_id, _m[_name], _m.id)
Index("story_comments_depth_idx", _m.tenant_id, _m.story_id, _m.depth, _m.path, _m.id)
Index("story_comments_parent_id_idx", _m.tenant_id, _m.parent_id)
Index("story_comments_author_id_idx", _m.tenant_id, _m.author_id, _m.create_time, _m.id)

# What comments said before they were changed, for moderators.
story_comment_bodies = Table(
    "story_comment_bodies",
    metadata,
    uuid_column("tenant_id"),
    uuid_column("comment_id"),
    time_column("create_time"),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "comment_id", "create_time"),
    *_of("story_comments", "comment_id"),
    info={ROW_SECURITY: OWN_TENANT},
)

story_comment_votes = Table(
    "story_comment_votes",
    metadata,
    uuid_column("tenant_id"),
    *(uuid_column(name) for name in ("comment_id", "user_id")),
    Column("is_helpful", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant_id", "comment_id", "user_id"),
    *_of("story_comments", "comment_id"),
    info={ROW_SECURITY: OWN_TENANT},
)
Index("story_comment_votes_user_id_idx", story_comment_votes.c.tenant_id, story_comment_votes.c.user_id)

story_settings = tenant_table(
    "story_settings",
    Column("review", SmallInteger, nullable=False, server_default=_ZERO),
    *_counts("reviewed_stories", "hide_score"),
)

# The mean of the ratings of a tenant, as of the last night.
story_means = Table(
    "story_means",
    metadata,
    uuid_column("tenant_id"),
    Column("rating_mean", Double, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    info={ROW_SECURITY: OWN_TENANT},
)

story_ratings = Table(
    "story_ratings",
    metadata,
    uuid_column("tenant_id"),
    *(uuid_column(name) for name in ("story_id", "user_id")),
    Column("stars", SmallInteger, nullable=False),
    # Held back in a sudden rush, and not counted.
    Column("is_held", Boolean, nullable=False, server_default=text("false")),
    time_column("update_time"),
    PrimaryKeyConstraint("tenant_id", "story_id", "user_id"),
    *_of("stories", "story_id"),
    info={ROW_SECURITY: OWN_TENANT},
)
_g = story_ratings.c
Index("story_ratings_update_time_idx", _g.tenant_id, _g.story_id, _g.update_time)
Index("story_ratings_user_id_idx", _g.tenant_id, _g.user_id)

# What a reader keeps of a story.
story_readings = Table(
    "story_readings",
    metadata,
    uuid_column("tenant_id"),
    *(uuid_column(name) for name in ("user_id", "story_id")),
    uuid_column("story_chapter_id", nullable=True),
    Column("position", Double, nullable=False, server_default=_ZERO),
    *(
        time_column(name, nullable=True)
        for name in ("read_time", "bookmark_time", "first_read_time", "first_bookmark_time")
    ),
    PrimaryKeyConstraint("tenant_id", "user_id", "story_id"),
    *_of("stories", "story_id"),
    info={ROW_SECURITY: OWN_TENANT},
)
_k = story_readings.c
Index("story_readings_story_id_idx", _k.tenant_id, _k.story_id)
Index(
    "story_readings_bookmark_time_idx",
    *(_k.tenant_id, _k.user_id, _k.bookmark_time, _k.story_id),
    postgresql_where=_k.bookmark_time.is_not(None),
)

author_follows = Table(
    "author_follows",
    metadata,
    uuid_column("tenant_id"),
    *(uuid_column(name) for name in ("user_id", "author_id")),
    time_column("follow_time"),
    PrimaryKeyConstraint("tenant_id", "user_id", "author_id"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    info={ROW_SECURITY: OWN_TENANT},
)
_f = author_follows.c
Index("author_follows_author_id_idx", _f.tenant_id, _f.author_id)
Index("author_follows_follow_time_idx", _f.tenant_id, _f.user_id, _f.follow_time, _f.author_id)

# One for each thing and each kind of work on it.
moderation_items = tenant_table(
    "moderation_items",
    *(Column(name, SmallInteger, nullable=False) for name in ("kind", "subject_kind", "state")),
    *(uuid_column(name) for name in ("subject_id", "story_id", "author_id")),
    *_texts("title", "note", "text"),
    Column("is_escalated", Boolean, nullable=False, server_default=text("false")),
    Column("score", Double, nullable=False, server_default=_ZERO),
    *_counts("report_count", "revision_number"),
    *(uuid_column(name, nullable=True) for name in ("claimed_by", "appealed_decision_id", "decision_id")),
    time_column("claim_expire_time", nullable=True),
    # When the work that it is about came in.
    time_column("open_time"),
    *_of("stories", "story_id"),
)
_i = moderation_items.c
Index("moderation_items_subject_key", _i.tenant_id, _i.subject_kind, _i.subject_id, _i.kind, unique=True)
for _name in ("score", "create_time", "update_time"):
    Index(f"moderation_items_{_name}_idx", _i.tenant_id, _i[_name], _i.id)
# In the order of the queue.
Index("moderation_items_queue_idx", _i.tenant_id, _i.score.desc(), _i.create_time, _i.id)
Index("moderation_items_author_id_idx", _i.tenant_id, _i.author_id)
Index("moderation_items_story_id_idx", _i.tenant_id, _i.story_id)

story_reports = tenant_table(
    "story_reports",
    *(uuid_column(name) for name in ("moderation_item_id", "user_id")),
    *(Column(name, SmallInteger, nullable=False) for name in ("reason", "state")),
    *_texts("text"),
    Column("weight", Double, nullable=False),
    *_of("moderation_items", "moderation_item_id"),
)
_o = story_reports.c
Index(
    "story_reports_user_id_key",
    *(_o.tenant_id, _o.moderation_item_id, _o.user_id),
    unique=True,
    postgresql_where=_o.state == text("1"),
)
Index("story_reports_user_id_idx", _o.tenant_id, _o.user_id)
for _name in ("create_time", "weight"):
    Index(f"story_reports_{_name}_idx", _o.tenant_id, _o.moderation_item_id, _o[_name], _o.id)
Index("story_reports_day_idx", _o.tenant_id, _o.create_time)

# The record of somebody who reports.
story_reporters = Table(
    "story_reporters",
    metadata,
    uuid_column("tenant_id"),
    uuid_column("user_id"),
    *_counts("agreed", "disagreed", "ignored"),
    PrimaryKeyConstraint("tenant_id", "user_id"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    info={ROW_SECURITY: OWN_TENANT},
)

# Only added to. No foreign keys: they outlive what they are about.
moderation_decisions = tenant_table(
    "moderation_decisions",
    *(uuid_column(name) for name in ("moderation_item_id", "subject_id", "story_id", "author_id")),
    *(Column(name, SmallInteger, nullable=False) for name in ("subject_kind", "action")),
    *_texts("title", "rule", "reason"),
    *(Column(name, Boolean, nullable=False, server_default=text("false")) for name in ("is_automated", "is_appealed")),
    *(uuid_column(name, nullable=True) for name in ("moderator_id", "appealed_decision_id")),
    # What it was decided by, as it was then: revision, reports, times.
    Column("facts", JSONB, nullable=False, server_default=text("'{}'")),
)
_n = moderation_decisions.c
Index("moderation_decisions_create_time_idx", _n.tenant_id, _n.create_time, _n.id)
Index("moderation_decisions_author_id_idx", _n.tenant_id, _n.author_id, _n.create_time, _n.id)
Index("moderation_decisions_moderator_id_idx", _n.tenant_id, _n.moderator_id)
