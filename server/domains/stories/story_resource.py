"""The declaration of stories: who sees which, and how their states change."""

from plinth.stories.v1.story_pb2 import Story

from server.domains.stories.tables import stories, stories_search
from server.kernel.resources import Resource, Shown, States
from server.kernel.search import Search

DRAFT, SUBMITTED, PUBLISHED = Story.STATE_DRAFT, Story.STATE_SUBMITTED, Story.STATE_PUBLISHED
REJECTED, UNPUBLISHED = Story.STATE_REJECTED, Story.STATE_UNPUBLISHED
HIDDEN, REMOVED = Story.STATE_HIDDEN, Story.STATE_REMOVED
MODERATE = "stories.moderation.decide"
SLUG_KEY = "stories_slug_key"
STARS = 5
STORY = Resource(
    Story,
    stories,
    filterable=(
        *("id", "author_id", "slug", "title", "language", "audience", "state", "rating_score", "comment_count"),
        *("create_time", "update_time", "publish_time"),
    ),
    sortable=("create_time", "update_time", "title", "rating_score", "trend"),
    unique={SLUG_KEY: "slug"},
    hidden=("rating_sum", "rating_counts", "comments_made", "revisions_made"),
    owner="author_id",
    shown=Shown("state", (PUBLISHED,)),
    seen_by=MODERATE,
    search=Search(stories_search, {"title": 3, "tags": 2, "summary": 1}),
    states=States(
        "state",
        first=(DRAFT,),
        actions={
            # SubmitStory does one of these.
            "wait": ((DRAFT, REJECTED, UNPUBLISHED), SUBMITTED),
            "publish": ((DRAFT, SUBMITTED, REJECTED, UNPUBLISHED), PUBLISHED),
            "withdraw": ((SUBMITTED,), DRAFT),
            "reject": ((SUBMITTED,), REJECTED),
            "unpublish": ((PUBLISHED,), UNPUBLISHED),
            "hide": ((PUBLISHED,), HIDDEN),
            # Also what its author took away meanwhile.
            "remove": ((DRAFT, SUBMITTED, PUBLISHED, REJECTED, UNPUBLISHED, HIDDEN), REMOVED),
            "show": ((HIDDEN, REMOVED), PUBLISHED),
        },
    ),
)
