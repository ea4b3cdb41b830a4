"""Chapters of stories."""

from collections.abc import Mapping
from typing import ClassVar

from plinth.stories.v1 import story_chapter_pb2
from plinth.stories.v1.story_chapter_pb2 import StoryChapter

from server.domains.stories.reviewing import Reviewing, clean, follow_change, incomplete
from server.domains.stories.story_resource import MODERATE, STORY
from server.domains.stories.tables import story_chapters
from server.kernel.call import Call
from server.kernel.queries import OrderTerm
from server.kernel.resources import EventFacts, Parent, Resource, Service, Shown, States

DRAFT, SUBMITTED = StoryChapter.STATE_DRAFT, StoryChapter.STATE_SUBMITTED
PUBLISHED, REJECTED = StoryChapter.STATE_PUBLISHED, StoryChapter.STATE_REJECTED
HIDDEN, REMOVED = StoryChapter.STATE_HIDDEN, StoryChapter.STATE_REMOVED
MOST = 500
SHOWN = "story_chapter.published"
CHAPTER = Resource(
    StoryChapter,
    story_chapters,
    filterable=("id", "title", "state", "position", "create_time", "update_time"),
    sortable=("position", "create_time"),
    default_order=(OrderTerm("position", descending=False),),
    parent=Parent("story_id", STORY),
    owner="author_id",
    shown=Shown("state", (PUBLISHED,)),
    seen_by=MODERATE,
    order="position",
    most=MOST,
    states=States(
        "state",
        first=(DRAFT,),
        actions={
            # SubmitStoryChapter does one of these.
            "wait": ((DRAFT, REJECTED), SUBMITTED),
            "publish": ((DRAFT, SUBMITTED, REJECTED), PUBLISHED),
            "withdraw": ((SUBMITTED, PUBLISHED), DRAFT),
            "reject": ((SUBMITTED,), REJECTED),
            "hide": ((PUBLISHED,), HIDDEN),
            "remove": ((DRAFT, SUBMITTED, PUBLISHED, REJECTED, HIDDEN), REMOVED),
            "show": ((HIDDEN, REMOVED), PUBLISHED),
        },
    ),
)


class StoryChapterService(Service[StoryChapter]):
    """Chapters."""

    descriptor = story_chapter_pb2.DESCRIPTOR.services_by_name["StoryChapterService"]
    resource = CHAPTER
    events: ClassVar[Mapping[str, EventFacts]] = {
        SHOWN: EventFacts(StoryChapter, "A chapter is seen by everyone who sees its story."),
    }

    def __init__(self, reviewing: Reviewing) -> None:
        super().__init__()
        self._reviewing = reviewing

    def prepare(self, call: Call, resource: StoryChapter, before: StoryChapter | None) -> None:
        """Clean what was written, and keep a change of what is submitted or published as a revision."""
        clean(resource)
        if before is not None:
            self._reviewing.change(call, resource, before)
            clean(resource)

    def after_write(self, call: Call, resource: StoryChapter, before: StoryChapter | None) -> None:
        """Tell once it is seen."""
        if before is not None:
            follow_change(call, resource, before)
        if before is not None and resource.state == PUBLISHED and before.state != PUBLISHED:
            call.emit(SHOWN, resource.id, resource)

    def update_story_chapter(self, call: Call, request: story_chapter_pb2.UpdateStoryChapterRequest) -> StoryChapter:
        """Change a chapter, or what of it waits."""
        return self._reviewing.requested(call, self.rows, request, request.story_chapter_id, request.story_chapter)

    def submit_story_chapter(self, call: Call, request: story_chapter_pb2.SubmitStoryChapterRequest) -> StoryChapter:
        """Submit a chapter."""
        before = self.rows.lock(call, request.story_chapter_id, etag=request.etag, request=request)
        after = self.rows.acted(before, "wait")
        if not before.body:
            raise incomplete(self.rows.type, before.id, "It has no body.")
        self._reviewing.submit(call, after)
        return self.rows.update(call, after, before)

    def withdraw_story_chapter(
        self, call: Call, request: story_chapter_pb2.WithdrawStoryChapterRequest
    ) -> StoryChapter:
        """Take a chapter out of sight."""
        before = self.rows.lock(call, request.story_chapter_id, etag=request.etag, request=request)
        after = self.rows.acted(before, "withdraw")
        self._reviewing.withdraw(call, after)
        after.state = DRAFT
        return self.rows.update(call, after, before)
