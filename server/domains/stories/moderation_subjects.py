"""What decisions do with stories, chapters and comments.

Moderators see all of them (`Resource.seen_by`), and so reach what others wrote. Reports of readers hide what they see.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message
from plinth.stories.v1.moderation_item_pb2 import ModerationItem
from plinth.stories.v1.story_chapter_pb2 import StoryChapter
from plinth.stories.v1.story_comment_pb2 import StoryComment
from plinth.stories.v1.story_pb2 import Story

from server.domains.stories import chapters, comments, story_resource
from server.domains.stories.chapters import StoryChapterService
from server.domains.stories.comments import StoryCommentService
from server.domains.stories.moderation_queue import CHAPTER, COMMENT, STORY, Subject, subject_of
from server.domains.stories.reviewing import Reviewing
from server.domains.stories.revisions import REFUSED, SHOWN, Written, content_with, end_waiting, fill, waiting
from server.domains.stories.stories import StoryService
from server.kernel.call import Call
from server.kernel.resources import Service

M = TypeVar("M", Story, StoryChapter, StoryComment)


@dataclass(frozen=True, slots=True)
class Ways(Generic[M]):
    """How moderators change the resources of one service."""

    service: Service[M]
    event: str
    """The event of a change."""
    shown: int
    hidden: int
    """Until somebody decides."""
    removed: int

    def is_shown(self, resource: M) -> bool:
        """Whether readers see it."""
        return resource.state == self.shown

    def lock(self, call: Call, resource_id: str) -> "Held[M]":
        """One that the caller may change. Raises NotFound for what was deleted meanwhile."""
        return Held(self, call, self.service.rows.lock(call, resource_id, header=False))

    def lock_seen(self, call: Call, resource_id: str, request: Message | None) -> "Held[M]":
        """One that the caller sees, of the parent in a request."""
        return Held(self, call, self.service.rows.lock_seen(call, resource_id, request))

    def put(self, call: Call, before: M, state: int, reason: str = "") -> None:
        """Put one into another state."""
        after = self.service.rows.copy_of(before)
        after.state, after.reason = state, reason  # type: ignore[assignment]
        self.store(call, after, before)

    def store(self, call: Call, after: M, before: M) -> None:
        """Store a change, and tell it."""
        stored = self.service.rows.update(call, after, before)
        call.emit(self.event, stored.id, stored)

    def publish(self, call: Call, before: M) -> None:
        """Show the revision that waits. Comments have none."""

    def refuse(self, call: Call, before: M, reason: str) -> None:
        """Do not show the revision that waits. Comments have none."""

    def restore(self, call: Call, before: M, revision: int) -> None:
        """Show the revision that was refused. Comments have none."""

    def show(self, call: Call, before: M) -> None:
        """Show again what was hidden or removed. What is shown, or what its author took away, stays as it is."""
        if before.state in (self.hidden, self.removed):
            self.put(call, before, self.shown)


@dataclass(frozen=True, slots=True)
class ReviewedWays(Ways[Written]):
    """The same for what has revisions."""

    reviewing: Reviewing
    submitted: int
    rejected: int

    def publish(self, call: Call, before: Written) -> None:
        """Show the revision that waits."""
        after = self.service.rows.copy_of(before)
        content, number = waiting(call, before), before.pending_revision_number
        if content is not None:
            fill(after, content)
        end_waiting(call, before, SHOWN)
        self.reviewing.publish(after, number)
        if before.state not in (self.submitted, self.shown):
            # What was hidden meanwhile stays so.
            after.state = before.state
        self.store(call, after, before)

    def refuse(self, call: Call, before: Written, reason: str) -> None:
        """Do not show the revision that waits."""
        after = self.service.rows.copy_of(before)
        end_waiting(call, before, REFUSED)
        after.pending_revision_number, after.reason = 0, reason
        if before.state == self.submitted:
            after.state = self.rejected  # type: ignore[assignment]
        self.store(call, after, before)

    def restore(self, call: Call, before: Written, revision: int) -> None:
        """Show the revision that was refused: no other one, whatever its author has written since."""
        content = content_with(call, before, revision)
        after = self.service.rows.copy_of(before)
        if content is not None:
            fill(after, content)
        self.reviewing.publish(after, revision)
        after.pending_revision_number = before.pending_revision_number
        if before.state not in (self.submitted, self.shown, self.rejected):
            after.state = before.state
        self.store(call, after, before)


@dataclass(frozen=True, slots=True)
class Held(Generic[M]):
    """Something that is locked until the call ends."""

    ways: Ways[M]
    call: Call
    resource: M

    @property
    def subject(self) -> Subject:
        """As the queue names it."""
        return subject_of(self.resource)

    @property
    def is_shown(self) -> bool:
        """Whether readers see it."""
        return self.ways.is_shown(self.resource)

    @property
    def is_hidden(self) -> bool:
        """Whether reports have hidden it, when it was locked."""
        return self.resource.state == self.ways.hidden

    def publish(self) -> None:
        """Show the revision that waits."""
        self.ways.publish(self.call, self.resource)

    def refuse(self, reason: str) -> None:
        """Do not show the revision that waits."""
        self.ways.refuse(self.call, self.resource, reason)

    def hide(self) -> None:
        """Take it out of sight until a moderator decides."""
        self.ways.put(self.call, self.resource, self.ways.hidden)

    def remove(self, reason: str) -> None:
        """Take it out of sight."""
        self.ways.put(self.call, self.resource, self.ways.removed, reason)

    def show(self) -> None:
        """Show it again."""
        self.ways.show(self.call, self.resource)

    def restore(self, revision: int) -> None:
        """Show the revision that was refused."""
        self.ways.restore(self.call, self.resource, revision)


AnyHeld = Held[Story] | Held[StoryChapter] | Held[StoryComment]
AnyWays = Ways[Story] | Ways[StoryChapter] | Ways[StoryComment]


class ModeratedSubjects:
    """Stories, chapters and comments, as moderators change them."""

    def __init__(
        self,
        stories: StoryService,
        story_chapters: StoryChapterService,
        story_comments: StoryCommentService,
        reviewing: Reviewing,
    ) -> None:
        self._stories = ReviewedWays(
            stories,
            "story.updated",
            shown=story_resource.PUBLISHED,
            hidden=story_resource.HIDDEN,
            removed=story_resource.REMOVED,
            reviewing=reviewing,
            submitted=story_resource.SUBMITTED,
            rejected=story_resource.REJECTED,
        )
        self._chapters = ReviewedWays(
            story_chapters,
            "story_chapter.updated",
            shown=chapters.PUBLISHED,
            hidden=chapters.HIDDEN,
            removed=chapters.REMOVED,
            reviewing=reviewing,
            submitted=chapters.SUBMITTED,
            rejected=chapters.REJECTED,
        )
        self._comments = Ways(
            story_comments,
            "story_comment.updated",
            shown=comments.VISIBLE,
            hidden=comments.HIDDEN,
            removed=comments.REMOVED,
        )
        self._ways: dict[int, AnyWays] = {STORY: self._stories, CHAPTER: self._chapters, COMMENT: self._comments}

    def seen(self, call: Call, story_id: str, chapter_id: str = "", comment_id: str = "") -> AnyHeld:
        """What a reader sees: a comment or a chapter of a story, else the story. Raises NotFound."""
        if comment_id:
            return self._comments.lock_seen(call, comment_id, StoryComment(story_id=story_id))
        if chapter_id:
            return self._chapters.lock_seen(call, chapter_id, StoryChapter(story_id=story_id))
        return self._stories.lock_seen(call, story_id, None)

    def of(self, call: Call, item: ModerationItem) -> AnyHeld:
        """What an item is about."""
        return self._ways[item.subject_kind].lock(call, item.subject_id)
