"""Stories: chapters, comments, ratings, and what moderators decide."""

from server.data.grants import Grants
from server.domains.stories.chapters import StoryChapterService
from server.domains.stories.comments import StoryCommentService
from server.domains.stories.moderation_decisions import (
    ModerationAppealService,
    ModerationDecisionService,
    ModerationOverviewService,
)
from server.domains.stories.moderation_items import ModerationItemService
from server.domains.stories.moderation_subjects import ModeratedSubjects
from server.domains.stories.ratings import StoryRatingService
from server.domains.stories.reading import StoryReadingService
from server.domains.stories.reports import StoryReportService
from server.domains.stories.reviewing import Reviewing
from server.domains.stories.revisions import StoryRevisionService
from server.domains.stories.settings import ReviewRules, StorySettingsService
from server.domains.stories.stories import StoryService
from server.domains.stories.tables import (
    author_follows,
    moderation_decisions,
    moderation_items,
    stories,
    story_chapters,
    story_comment_bodies,
    story_comment_votes,
    story_comments,
    story_ratings,
    story_readings,
    story_reporters,
    story_reports,
    story_revisions,
    story_tags,
)
from server.kernel.module import Background, Module, Platform, Serve, WorkerPlatform
from server.kernel.privacy import Export, NotPersonal, Owner, Pseudonymise, Remove

READS = ("stories.settings.read", "stories.stories.read", "stories.comments.read", "stories.ratings.read")
WRITES = (
    *READS,
    *(f"stories.stories.{verb}" for verb in ("create", "update", "delete")),
    "stories.revisions.read",
    *(f"stories.comments.{verb}" for verb in ("create", "vote")),
    "stories.ratings.create",
    *(f"stories.reading.{verb}" for verb in ("read", "update")),
    "stories.reports.create",
    *(f"stories.decisions.{verb}" for verb in ("read", "appeal")),
)


def _rules(platform: Platform) -> ReviewRules:
    return ReviewRules(platform.database, platform.generations)


def _reviewing(platform: Platform) -> Reviewing:
    return Reviewing(_rules(platform), platform.clock)


def _stories(platform: Platform) -> StoryService:
    return StoryService(_reviewing(platform), platform.page_tokens, platform.clock)


def _comments(platform: Platform) -> StoryCommentService:
    return StoryCommentService(platform.page_tokens, platform.clock)


def _subjects(platform: Platform) -> ModeratedSubjects:
    reviewing = _reviewing(platform)
    chapters = StoryChapterService(reviewing)
    return ModeratedSubjects(_stories(platform), chapters, _comments(platform), reviewing)


def _reading(platform: Platform) -> StoryReadingService:
    return StoryReadingService(platform.ports.memberships, platform.page_tokens, platform.clock)


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.stories.upkeep import StoryUpkeep  # noqa: PLC0415 - in workers only

    return Background(schedules=(StoryUpkeep(platform.dispatch, platform.database, platform.generations).schedule,))


MODULE = Module(
    "stories",
    services=(
        Serve(StoryService, _stories),
        Serve(StoryChapterService, lambda platform: StoryChapterService(_reviewing(platform))),
        StoryRevisionService,
        Serve(StoryCommentService, _comments),
        Serve(StoryRatingService, lambda platform: StoryRatingService(platform.clock)),
        StorySettingsService,
        Serve(StoryReadingService, _reading),
        Serve(
            ModerationItemService,
            lambda platform: ModerationItemService(_subjects(platform), platform.page_tokens),
        ),
        ModerationDecisionService,
        Serve(ModerationAppealService, lambda platform: ModerationAppealService(platform.clock)),
        Serve(
            ModerationOverviewService,
            lambda platform: ModerationOverviewService(platform.page_tokens, platform.clock),
        ),
        Serve(StoryReportService, lambda platform: StoryReportService(_subjects(platform), _rules(platform))),
    ),
    roles={
        "editor": ("stories.*",),
        "member": WRITES,
        "employee": WRITES,
        "partner": READS,
        "viewer": READS,
    },
    grants=Grants(dispatch_finds={"stories": "(rating_count > 0)"}),
    background=_background,
    erases=(
        Remove(stories, by="author_id"),
        Remove(story_chapters, by="author_id"),
        Remove(story_revisions, by="author_id"),
        Pseudonymise(story_comments, "body", by="author_id"),
        Remove(story_comment_bodies, by="comment_id", of=Owner(story_comments, by="author_id")),
        Remove(story_comment_votes),
        Remove(story_ratings),
        Remove(story_readings),
        Remove(author_follows),
        Remove(author_follows, by="author_id"),
        Pseudonymise(story_reports, "text"),
        Remove(story_reporters),
        Pseudonymise(moderation_items, "title", "text", by="author_id"),
        Pseudonymise(moderation_decisions, "title", by="author_id"),
        NotPersonal(moderation_items, "note", why="what moderators say"),
        NotPersonal(moderation_decisions, "rule", "reason", "facts", why="what moderators say"),
        NotPersonal(story_comments, "reason", "path", why="what a moderator says, and a place in a thread"),
        NotPersonal(story_comments, "story_author_id", why="whose story it is, which ends with its author"),
        NotPersonal("stories_words", "word", why="what stories are found by"),
        NotPersonal("stories_typos", "key", "word", why="what stories are found by"),
        NotPersonal(story_tags, "tag", why="what stories are found by"),
    ),
    exports=(
        Export(stories, by="author_id"),
        Export(story_chapters, by="author_id"),
        Export(story_revisions, by="author_id"),
        Export(story_comments, by="author_id"),
        Export(story_comment_bodies, by="comment_id", of=Owner(story_comments, by="author_id")),
        Export(story_comment_votes),
        Export(story_ratings),
        Export(story_readings),
        Export(author_follows),
        Export(story_reports),
        Export(story_reporters),
        Export(moderation_items, by="author_id", leave_out=("note", "claimed_by")),
        Export(moderation_decisions, by="author_id", leave_out=("moderator_id",)),
    ),
)
