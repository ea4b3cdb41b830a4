"""Stories."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from server.data.search_trigger import add_words_trigger
from server.data.walls import wall

revision = "0056_9c8b9d5f"
down_revision = "0055_9fc78498"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_stories()
    _create_comments()
    _create_what_belongs_to_them()


def _create_stories() -> None:
    op.create_table(
        "stories_words",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("resource_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("word", sa.Text(collation="C"), nullable=False),
        sa.Column("weight", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "resource_id", "word", name=op.f("stories_words_pkey")),
    )
    op.create_index(
        "stories_words_word_idx", "stories_words", ["tenant_id", "word", "weight", "resource_id"], unique=False
    )
    op.create_table(
        "author_follows",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("follow_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("author_follows_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "author_id", name=op.f("author_follows_pkey")),
    )
    op.create_index("author_follows_author_id_idx", "author_follows", ["tenant_id", "author_id"], unique=False)
    op.create_index(
        "author_follows_follow_time_idx",
        "author_follows",
        ["tenant_id", "user_id", "follow_time", "author_id"],
        unique=False,
    )
    op.create_table(
        "moderation_decisions",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("moderation_item_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("subject_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("subject_kind", sa.SmallInteger(), nullable=False),
        sa.Column("action", sa.SmallInteger(), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("rule", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("is_automated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_appealed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("moderator_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("appealed_decision_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("moderation_decisions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("moderation_decisions_pkey")),
    )
    op.create_index(
        "moderation_decisions_author_id_idx",
        "moderation_decisions",
        ["tenant_id", "author_id", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "moderation_decisions_create_time_idx", "moderation_decisions", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "moderation_decisions_moderator_id_idx", "moderation_decisions", ["tenant_id", "moderator_id"], unique=False
    )
    op.create_table(
        "stories",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("language", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("body", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("cover_url", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("audience", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("warnings", sa.ARRAY(sa.SmallInteger()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("comment_mode", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("revision_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending_revision_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("publish_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("word_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("comment_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rating_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rating_sum", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("comments_made", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("revisions_made", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rating_counts", sa.ARRAY(sa.Integer()), server_default=sa.text("'{0,0,0,0,0}'"), nullable=False),
        sa.Column("rating_average", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("rating_score", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("trend", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("stories_tenant_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("stories_pkey")),
    )
    op.create_index("stories_author_id_idx", "stories", ["tenant_id", "author_id", "create_time", "id"], unique=False)
    op.create_index("stories_create_time_idx", "stories", ["tenant_id", "create_time", "id"], unique=False)
    op.create_index(
        "stories_delete_time_idx",
        "stories",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index(
        "stories_published_idx",
        "stories",
        ["tenant_id", "publish_time", "id"],
        unique=False,
        postgresql_where=sa.text("state = 3 AND delete_time IS NULL"),
    )
    op.create_index(
        "stories_rated_idx", "stories", ["tenant_id", "id"], unique=False, postgresql_where=sa.text("rating_count > 0")
    )
    op.create_index("stories_rating_score_idx", "stories", ["tenant_id", "rating_score", "id"], unique=False)
    op.create_index(
        "stories_slug_key",
        "stories",
        ["tenant_id", "slug"],
        unique=True,
        postgresql_where=sa.text("delete_time IS NULL"),
    )
    op.create_index(
        "stories_state_idx",
        "stories",
        ["tenant_id", "state", "create_time", "id"],
        unique=False,
        postgresql_where=sa.text("state != 3 AND delete_time IS NULL"),
    )
    op.create_index("stories_title_idx", "stories", ["tenant_id", "title", "id"], unique=False)
    op.create_index("stories_trend_idx", "stories", ["tenant_id", "trend", "id"], unique=False)
    op.create_index(
        "stories_trending_idx",
        "stories",
        ["tenant_id", "trend", "id"],
        unique=False,
        postgresql_where=sa.text("state = 3 AND delete_time IS NULL"),
    )
    op.create_index("stories_update_time_idx", "stories", ["tenant_id", "update_time", "id"], unique=False)
    op.create_table(
        "stories_typos",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("word", sa.Text(collation="C"), nullable=False),
        sa.Column("resource_id", sa.UUID(as_uuid=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("stories_typos_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", "word", "resource_id", name=op.f("stories_typos_pkey")),
    )
    op.create_table(
        "story_means",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("rating_mean", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("story_means_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("story_means_pkey")),
    )
    op.create_table(
        "story_reporters",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("agreed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("disagreed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("ignored", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("story_reporters_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("story_reporters_pkey")),
    )
    op.create_table(
        "story_settings",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("review", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reviewed_stories", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("hide_score", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("story_settings_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("story_settings_pkey")),
    )
    op.create_table(
        "moderation_items",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("subject_kind", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("subject_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("is_escalated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("score", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("report_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claimed_by", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("appealed_decision_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("decision_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("claim_expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("open_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "story_id"],
            ["stories.tenant_id", "stories.id"],
            name=op.f("moderation_items_tenant_id_story_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("moderation_items_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("moderation_items_pkey")),
    )
    op.create_index("moderation_items_author_id_idx", "moderation_items", ["tenant_id", "author_id"], unique=False)
    op.create_index(
        "moderation_items_create_time_idx", "moderation_items", ["tenant_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "moderation_items_queue_idx",
        "moderation_items",
        ["tenant_id", sa.literal_column("score DESC"), "create_time", "id"],
        unique=False,
    )
    op.create_index("moderation_items_score_idx", "moderation_items", ["tenant_id", "score", "id"], unique=False)
    op.create_index("moderation_items_story_id_idx", "moderation_items", ["tenant_id", "story_id"], unique=False)
    op.create_index(
        "moderation_items_subject_key",
        "moderation_items",
        ["tenant_id", "subject_kind", "subject_id", "kind"],
        unique=True,
    )
    op.create_index(
        "moderation_items_update_time_idx", "moderation_items", ["tenant_id", "update_time", "id"], unique=False
    )


def _create_comments() -> None:
    op.create_table(
        "story_chapters",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("revision_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending_revision_number", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("publish_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("word_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "story_id"],
            ["stories.tenant_id", "stories.id"],
            name=op.f("story_chapters_tenant_id_story_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("story_chapters_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("story_chapters_pkey")),
    )
    op.create_index("story_chapters_author_id_idx", "story_chapters", ["tenant_id", "author_id"], unique=False)
    op.create_index(
        "story_chapters_create_time_idx", "story_chapters", ["tenant_id", "story_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "story_chapters_delete_time_idx",
        "story_chapters",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index(
        "story_chapters_position_idx", "story_chapters", ["tenant_id", "story_id", "position", "id"], unique=False
    )
    op.create_table(
        "story_comments",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("parent_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("story_author_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("path", sa.Text(collation="C"), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("helpful_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unhelpful_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("score", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("edit_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent_id"],
            ["story_comments.tenant_id", "story_comments.id"],
            name=op.f("story_comments_tenant_id_parent_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "story_id"],
            ["stories.tenant_id", "stories.id"],
            name=op.f("story_comments_tenant_id_story_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("story_comments_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("story_comments_pkey")),
    )
    op.create_index(
        "story_comments_author_id_idx", "story_comments", ["tenant_id", "author_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "story_comments_create_time_idx", "story_comments", ["tenant_id", "story_id", "create_time", "id"], unique=False
    )
    op.create_index(
        "story_comments_delete_time_idx",
        "story_comments",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index(
        "story_comments_depth_idx", "story_comments", ["tenant_id", "story_id", "depth", "path", "id"], unique=False
    )
    op.create_index("story_comments_parent_id_idx", "story_comments", ["tenant_id", "parent_id"], unique=False)
    op.create_index("story_comments_path_idx", "story_comments", ["tenant_id", "story_id", "path", "id"], unique=False)
    op.create_index("story_comments_path_key", "story_comments", ["tenant_id", "story_id", "path"], unique=True)
    op.create_index(
        "story_comments_score_idx", "story_comments", ["tenant_id", "story_id", "score", "id"], unique=False
    )


def _create_what_belongs_to_them() -> None:
    op.create_table(
        "story_ratings",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("stars", sa.SmallInteger(), nullable=False),
        sa.Column("is_held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "story_id"],
            ["stories.tenant_id", "stories.id"],
            name=op.f("story_ratings_tenant_id_story_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "story_id", "user_id", name=op.f("story_ratings_pkey")),
    )
    op.create_index(
        "story_ratings_update_time_idx", "story_ratings", ["tenant_id", "story_id", "update_time"], unique=False
    )
    op.create_index("story_ratings_user_id_idx", "story_ratings", ["tenant_id", "user_id"], unique=False)
    op.create_table(
        "story_readings",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_chapter_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("position", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bookmark_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_read_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_bookmark_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "story_id"],
            ["stories.tenant_id", "stories.id"],
            name=op.f("story_readings_tenant_id_story_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "story_id", name=op.f("story_readings_pkey")),
    )
    op.create_index(
        "story_readings_bookmark_time_idx",
        "story_readings",
        ["tenant_id", "user_id", "bookmark_time", "story_id"],
        unique=False,
        postgresql_where=sa.text("bookmark_time IS NOT NULL"),
    )
    op.create_index("story_readings_story_id_idx", "story_readings", ["tenant_id", "story_id"], unique=False)
    op.create_table(
        "story_revisions",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("author_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("story_chapter_id", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "story_id"],
            ["stories.tenant_id", "stories.id"],
            name=op.f("story_revisions_tenant_id_story_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("story_revisions_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("story_revisions_pkey")),
    )
    op.create_index(
        "story_revisions_author_id_idx",
        "story_revisions",
        ["tenant_id", "author_id", "story_id", "number", "id"],
        unique=False,
    )
    op.create_index(
        "story_revisions_create_time_idx",
        "story_revisions",
        ["tenant_id", "story_id", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "story_revisions_delete_time_idx",
        "story_revisions",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NOT NULL"),
    )
    op.create_index(
        "story_revisions_number_idx", "story_revisions", ["tenant_id", "story_id", "number", "id"], unique=False
    )
    op.create_index("story_revisions_number_key", "story_revisions", ["tenant_id", "story_id", "number"], unique=True)
    op.create_table(
        "story_tags",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("tag", sa.Text(collation="C"), nullable=False),
        sa.Column("publish_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("story_id", sa.UUID(as_uuid=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "story_id"],
            ["stories.tenant_id", "stories.id"],
            name=op.f("story_tags_tenant_id_story_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "tag", "publish_time", "story_id", name=op.f("story_tags_pkey")),
    )
    op.create_index("story_tags_story_id_idx", "story_tags", ["tenant_id", "story_id"], unique=False)
    op.create_table(
        "story_comment_bodies",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("comment_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "comment_id"],
            ["story_comments.tenant_id", "story_comments.id"],
            name=op.f("story_comment_bodies_tenant_id_comment_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "comment_id", "create_time", name=op.f("story_comment_bodies_pkey")),
    )
    op.create_table(
        "story_comment_votes",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("comment_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("is_helpful", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "comment_id"],
            ["story_comments.tenant_id", "story_comments.id"],
            name=op.f("story_comment_votes_tenant_id_comment_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "comment_id", "user_id", name=op.f("story_comment_votes_pkey")),
    )
    op.create_index("story_comment_votes_user_id_idx", "story_comment_votes", ["tenant_id", "user_id"], unique=False)
    op.create_table(
        "story_reports",
        sa.Column("tenant_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("moderation_item_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "moderation_item_id"],
            ["moderation_items.tenant_id", "moderation_items.id"],
            name=op.f("story_reports_tenant_id_moderation_item_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("story_reports_tenant_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("story_reports_pkey")),
    )
    op.create_index(
        "story_reports_create_time_idx",
        "story_reports",
        ["tenant_id", "moderation_item_id", "create_time", "id"],
        unique=False,
    )
    op.create_index("story_reports_day_idx", "story_reports", ["tenant_id", "create_time"], unique=False)
    op.create_index("story_reports_user_id_idx", "story_reports", ["tenant_id", "user_id"], unique=False)
    op.create_index(
        "story_reports_user_id_key",
        "story_reports",
        ["tenant_id", "moderation_item_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("state = 1"),
    )
    op.create_index(
        "story_reports_weight_idx", "story_reports", ["tenant_id", "moderation_item_id", "weight", "id"], unique=False
    )
    wall("stories_words", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("author_follows", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("moderation_decisions", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("stories", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("stories_typos", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_means", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_reporters", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_settings", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("moderation_items", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_chapters", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_comments", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_ratings", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_readings", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_revisions", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_tags", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_comment_bodies", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_comment_votes", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    wall("story_reports", "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)")
    add_words_trigger("stories_words", "stories")
