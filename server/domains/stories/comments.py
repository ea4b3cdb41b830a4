"""Comments on stories."""

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from plinth.stories.v1 import story_comment_pb2
from plinth.stories.v1.story_comment_pb2 import (
    ListStoryCommentRepliesResponse,
    ListStoryCommentsRequest,
    StoryComment,
    StoryCommentReply,
)
from plinth.stories.v1.story_pb2 import Story

from server.data.connections import Result
from server.domains.stories.comment_paths import END, depth_of, path_below
from server.domains.stories.comment_rows import (
    ABOVE,
    ANSWER,
    COUNT,
    DRAW,
    KEEP_BODY,
    LOCK_STORY,
    REPLIES,
    STORY_OF,
    UNVOTE,
    VOTE,
    VOTE_OF,
    VOTED,
    WRITER,
)
from server.domains.stories.moderation_queue import note_change, subject_of, withdraw_items
from server.domains.stories.story_resource import PUBLISHED, STORY
from server.domains.stories.tables import story_comments
from server.domains.stories.trends import COMMENTED, act_on, helpfulness
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.problems import Denied, StateForbids, Violation, broken_rules, not_found
from server.kernel.queries import OrderTerm, PageTokens
from server.kernel.resources import EventFacts, Lister, Parent, Resource, Service, Shown, States
from server.kernel.rich_text import clean_brief_html, text_of

PENDING, VISIBLE, HIDDEN = StoryComment.STATE_PENDING, StoryComment.STATE_VISIBLE, StoryComment.STATE_HIDDEN
REMOVED, DELETED = StoryComment.STATE_REMOVED, StoryComment.STATE_DELETED
MODERATE = "stories.moderation.decide"
ANSWERED = "story_comment.answered"
TRACE = "<p></p>"
"""The text of a comment that is deleted and has replies."""
UNMARKED = timedelta(minutes=15)
"""How long a comment may be changed without a mark."""
COMMENT = Resource(
    StoryComment,
    story_comments,
    filterable=("id", "author_id", "parent_id", "state", "depth", "path", "score", "create_time"),
    sortable=("path", "create_time", "score"),
    default_order=(OrderTerm("path", descending=False),),
    computed=("reply_count",),
    parent=Parent("story_id", STORY, is_open=True),
    owner="author_id",
    shown=Shown("state", (VISIBLE, DELETED)),
    seen_by=MODERATE,
    states=States(
        "state",
        first=(VISIBLE, PENDING),
        actions={
            "approve": ((PENDING,), VISIBLE),
            "hide": ((VISIBLE,), HIDDEN),
            "remove": ((PENDING, VISIBLE, HIDDEN), REMOVED),
            "show": ((HIDDEN, REMOVED), VISIBLE),
            "delete": ((PENDING, VISIBLE, HIDDEN, REMOVED), DELETED),
        },
    ),
)


class StoryCommentService(Service[StoryComment]):
    """Comments, and the votes on them."""

    descriptor = story_comment_pb2.DESCRIPTOR.services_by_name["StoryCommentService"]
    resource = COMMENT
    events: ClassVar[Mapping[str, EventFacts]] = {
        ANSWERED: EventFacts(StoryCommentReply, "Somebody has answered a comment, and the answer is shown."),
    }

    def __init__(self, tokens: PageTokens, clock: Clock = utc_now) -> None:
        super().__init__()
        self._clock = clock
        self._lister = Lister(self.rows, tokens)

    # Hooks ---------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: StoryComment, before: StoryComment | None) -> None:
        """Clean what was written, and find the place of a new comment in its thread."""
        if "\0" not in resource.body:
            # One with a NUL is refused, and cleaning would take it out.
            resource.body = clean_brief_html(resource.body)
        if resource.state != DELETED and resource.body and not text_of(resource.body).strip():
            raise broken_rules([Violation("story_comment.body", "has a text", "comment.text")])
        if before is None:
            self._begin(call, resource)
        elif resource.state == before.state and before.state in (REMOVED, DELETED):
            raise self._forbidden(before, "It was deleted or removed, and is not changed any more.")
        elif resource.body != before.body and resource.state != DELETED:
            self._change(call, resource, before)

    def after_write(self, call: Call, resource: StoryComment, before: StoryComment | None) -> None:
        """Count what is seen."""
        if before is not None and (resource.HasField("delete_time") or resource.state == DELETED):
            withdraw_items(call, subject_of(before))
        change = _is_counted(resource) - (before is not None and _is_counted(before))
        if change:
            call.writes.queue(COUNT, tenant=call.tenant_id, story=resource.story_id, change=change)
        was_waiting = before is None or before.state == PENDING
        if was_waiting and resource.state == VISIBLE:
            act_on(call.writes, str(call.tenant_id), resource.story_id, COMMENTED, self._clock())
            self._tell_above(call, resource)

    def present(self, call: Call, resources: list[StoryComment]) -> None:
        """Count their replies, and leave nothing of the text of those that were deleted."""
        for each in resources:
            if each.state == DELETED:
                each.body = ""
        ids = [each.id for each in resources]
        if ids:
            rows = call.reads.run(REPLIES, tenant=call.tenant_id, comments=ids).all()
            counts = {row["comment_id"]: row["replies"] for row in rows}
            for each in resources:
                each.reply_count = counts.get(each.id, 0)

    # Custom methods ------------------------------------------------------------------------------------------------

    def list_story_comment_replies(
        self, call: Call, request: story_comment_pb2.ListStoryCommentRepliesRequest
    ) -> ListStoryCommentRepliesResponse:
        """List all that is below a comment."""
        comment = self.rows.get(call, request.story_comment_id, request)
        asked = ListStoryCommentsRequest(
            story_id=request.story_id,
            page_size=request.page_size,
            page_token=request.page_token,
            filter=f'path > "{comment.path}" AND path < "{comment.path}{END}"',
        )
        found, token, _ = self._lister.page(call, asked)
        return ListStoryCommentRepliesResponse(story_comments=found, next_page_token=token)

    def delete_story_comment(self, call: Call, request: story_comment_pb2.DeleteStoryCommentRequest) -> Empty:
        """Delete a comment, or leave a trace of it."""
        # First, as those who answer do: nobody does meanwhile.
        key = {"tenant": call.tenant_id, "story": request.story_id}
        call.writes.run(LOCK_STORY, **key)
        before = self.rows.lock(call, request.story_comment_id, etag=request.etag, request=request)
        if call.writes.run(ANSWER, tenant=call.tenant_id, comment=before.id).returned:
            after = self.rows.acted(before, "delete")
            after.body, after.author_id, after.reason = TRACE, "", ""
            call.event_payload = self.rows.update(call, after, before)
        else:
            call.event_payload = self.rows.delete(call, before)
        return Empty()

    def undelete_story_comment(
        self, call: Call, request: story_comment_pb2.UndeleteStoryCommentRequest
    ) -> StoryComment:
        """Restore a comment, if what it answers is there."""
        key = {"tenant": call.tenant_id, "story": request.story_id}
        call.writes.run(LOCK_STORY, **key)
        before = self.rows.lock(call, request.story_comment_id, deleted=True, request=request)
        if before.parent_id and not call.writes.run(ABOVE, **key, comment=before.parent_id).returned:
            raise not_found(self.rows.type, before.parent_id)
        return self.rows.undelete(call, before)

    def approve_story_comment(self, call: Call, request: story_comment_pb2.ApproveStoryCommentRequest) -> StoryComment:
        """Show a comment that waits."""
        before = self.rows.lock_seen(call, request.story_comment_id, request, etag=request.etag)
        self._expect_moderator(call, before)
        return self.rows.update(call, self.rows.acted(before, "approve"), before)

    def remove_story_comment(self, call: Call, request: story_comment_pb2.RemoveStoryCommentRequest) -> StoryComment:
        """Take a comment out of sight."""
        before = self.rows.lock_seen(call, request.story_comment_id, request, etag=request.etag)
        self._expect_moderator(call, before)
        after = self.rows.acted(before, "remove")
        after.reason = request.reason
        return self.rows.update(call, after, before)

    def vote_on_story_comment(self, call: Call, request: story_comment_pb2.VoteOnStoryCommentRequest) -> StoryComment:
        """Say whether a comment was helpful."""
        comment = self.rows.lock_seen(call, request.story_comment_id, request)
        user_id = self.rows.owner_of_new(call)
        if comment.state != VISIBLE or comment.author_id == user_id:
            raise self._forbidden(comment, "Only visible comments of others are voted on.")
        keys = {"tenant": call.tenant_id, "comment": comment.id, "user": user_id}
        former = _vote_in(call.writes.run(VOTE_OF, **keys))
        call.writes.queue(VOTE, **keys, helpful=request.is_helpful)
        return self._counted(call, comment, former=former, now=request.is_helpful)

    def withdraw_vote_on_story_comment(
        self, call: Call, request: story_comment_pb2.WithdrawVoteOnStoryCommentRequest
    ) -> StoryComment:
        """Take the own vote back."""
        comment = self.rows.lock_seen(call, request.story_comment_id, request)
        keys = {"tenant": call.tenant_id, "comment": comment.id, "user": self.rows.owner_of_new(call)}
        former = _vote_in(call.writes.run(UNVOTE, **keys))
        return self._counted(call, comment, former=former, now=None)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _begin(self, call: Call, comment: StoryComment) -> None:
        """Put a new comment into its thread. The row of the story is locked, so that it counts one after the other."""
        key = {"tenant": call.tenant_id, "story": comment.story_id}
        story = call.writes.run(DRAW, **key).first()
        if story is None or story["state"] != PUBLISHED:
            raise self._forbidden(comment, "The story is not published.", "NOT_PUBLISHED")
        if story["comment_mode"] == Story.COMMENT_MODE_CLOSED:
            raise self._forbidden(comment, "The story takes no comments.", "CLOSED")
        comment.story_author_id = story["author_id"]
        path = ""
        if comment.parent_id:
            above = call.writes.run(ABOVE, **key, comment=comment.parent_id).first()
            if above is None:
                raise not_found(self.rows.type, comment.parent_id)
            if above["state"] != VISIBLE:
                raise self._forbidden(comment, "The comment that it answers is not visible.", "NOT_VISIBLE")
            path = above["path"]
        comment.path = path_below(path, story["comments_made"])
        comment.depth = depth_of(comment.path)
        is_checked = story["comment_mode"] == Story.COMMENT_MODE_MODERATED
        is_free = story["author_id"] == comment.author_id or self.rows.sees_all(call)
        comment.state = PENDING if is_checked and not is_free else VISIBLE

    def _tell_above(self, call: Call, comment: StoryComment) -> None:
        """Tell who wrote the comment that this one answers. The author of the story is told of every comment."""
        if not comment.parent_id:
            return
        writer = call.writes.run(WRITER, tenant=call.tenant_id, comment=comment.parent_id).row(0)["author_id"]
        if writer in (None, comment.author_id, comment.story_author_id):
            return
        names = ("id", "story_id", "parent_id", "body")
        reply = StoryCommentReply(parent_author_id=writer, **{name: getattr(comment, name) for name in names})
        former, call.audience = call.audience, writer
        call.emit(ANSWERED, comment.id, reply)
        call.audience = former

    def _change(self, call: Call, comment: StoryComment, before: StoryComment) -> None:
        """Keep what a comment said, and mark a late change."""
        now = self._clock()
        if now - before.create_time.ToDatetime(UTC) > UNMARKED:
            comment.edit_time.FromDatetime(now)
        call.writes.queue(KEEP_BODY, tenant=call.tenant_id, comment=before.id, body=before.body)
        note_change(call, subject_of(comment))

    def _expect_moderator(self, call: Call, comment: StoryComment) -> None:
        """Raise Denied for who neither wrote the story nor moderates."""
        if self.rows.sees_all(call):
            return
        story = call.reads.run(STORY_OF, tenant=call.tenant_id, story=comment.story_id).first()
        if story is None or story["author_id"] != call.caller.user_id:
            raise Denied("Only the author of the story, or a moderator, does that.", metadata={"permission": MODERATE})

    def _counted(self, call: Call, comment: StoryComment, *, former: bool | None, now: bool | None) -> StoryComment:
        """Count a vote in the place of a former one."""
        comment.helpful_count += (now is True) - (former is True)
        comment.unhelpful_count += (now is False) - (former is False)
        comment.score = helpfulness(comment.helpful_count, comment.unhelpful_count)
        call.writes.queue(
            VOTED,
            tenant=call.tenant_id,
            comment=comment.id,
            helpful=comment.helpful_count,
            unhelpful=comment.unhelpful_count,
            score=comment.score,
        )
        self.present(call, [comment])
        return comment

    def _forbidden(self, comment: StoryComment, fault: str, state: str = "") -> StateForbids:
        named = state or StoryComment.State.Name(comment.state).removeprefix("STATE_")
        return StateForbids(fault, metadata={"resource_type": self.rows.type, "resource": comment.id, "state": named})


def _vote_in(result: Result) -> bool | None:
    row = result.first()
    return None if row is None else bool(row["is_helpful"])


def _is_counted(comment: StoryComment) -> bool:
    return comment.state == VISIBLE and not comment.HasField("delete_time")
