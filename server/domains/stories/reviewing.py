"""Reviewing: what an author submits or changes is shown at once, or waits for a moderator as a revision."""

from plinth.stories.v1.story_chapter_pb2 import StoryChapter
from plinth.stories.v1.story_pb2 import Story
from plinth.stories.v1.story_revision_pb2 import StoryContent

from server.domains.stories.moderation_queue import (
    SUBMISSION,
    note_change,
    open_item,
    subject_of,
    withdraw_item,
    withdraw_items,
)
from server.domains.stories.revisions import (
    PENDING,
    REPLACED,
    SHOWN,
    Written,
    content_of,
    end_waiting,
    fill,
    keep,
    waiting,
)
from server.domains.stories.settings import ReviewRules
from server.domains.stories.story_resource import DRAFT, HIDDEN, PUBLISHED, REMOVED, SUBMITTED
from server.kernel.call import Call
from server.kernel.chain import Request
from server.kernel.clock import Clock
from server.kernel.problems import StateForbids
from server.kernel.resources import ResourceRows, mask_of
from server.kernel.rich_text import clean_html, text_of

DECIDED = ("state", "revision_number", "pending_revision_number")
"""What says how far something has come."""
SEEN = (PUBLISHED, HIDDEN, REMOVED)


class Reviewing:
    """The way of stories and chapters to their readers."""

    def __init__(self, rules: ReviewRules, clock: Clock) -> None:
        self._rules, self._clock = rules, clock

    def submit(self, call: Call, written: Story | StoryChapter) -> None:
        """Submit a copy of what is locked: it waits, or is published."""
        must_wait = self._rules.must_wait(call, written.author_id)
        number = keep(call, written, content_of(written), PENDING if must_wait else SHOWN)
        written.reason = ""
        if must_wait:
            open_item(call, SUBMISSION, subject_of(written), revision=number)
            written.state, written.pending_revision_number = SUBMITTED, number
        else:
            self.publish(written, number)

    def publish(self, written: Story | StoryChapter, number: int) -> None:
        """Show a revision of a copy of what is locked."""
        written.state = PUBLISHED
        written.revision_number, written.pending_revision_number, written.reason = number, 0, ""
        if not written.HasField("publish_time"):
            written.publish_time.FromDatetime(self._clock())

    def requested(
        self, call: Call, rows: ResourceRows[Written], request: Request, resource_id: str, source: Written
    ) -> Written:
        """Store the changes that a request has, of what waits if something does."""
        before = rows.lock(call, resource_id, etag=source.etag, request=request)
        base = rows.copy_of(before)
        if before.pending_revision_number and (content := waiting(call, before)) is not None:
            fill(base, content)
        mask = mask_of(call, request, source, rows.read_only.names)
        return rows.update(call, rows.changed(call, source, base, mask), before)

    def change(self, call: Call, written: Written, before: Written) -> None:
        """Keep a change of what was submitted or published as a revision.

        Where it has to wait, `written` says what it said before.
        """
        if any(getattr(written, name) != getattr(before, name) for name in DECIDED):
            # Not its author has changed it.
            return
        wanted = content_of(written)
        known = (waiting(call, before) if before.pending_revision_number else None) or content_of(before)
        if before.state == SUBMITTED and wanted != known:
            self._wait(call, written, wanted)
        elif before.state in SEEN:
            self._change_seen(call, written, wanted, before, known)

    def withdraw(self, call: Call, written: Story | StoryChapter) -> None:
        """Take back what waits: it is a draft again, or stays published as it is."""
        end_waiting(call, written, REPLACED)
        withdraw_item(call, SUBMISSION, subject_of(written))
        written.pending_revision_number = 0
        if written.state == SUBMITTED:
            written.state = DRAFT

    def _change_seen(
        self, call: Call, written: Written, wanted: StoryContent, before: Written, known: StoryContent
    ) -> None:
        """Change what readers see, or saw until it was hidden."""
        shown = content_of(before)
        # What is hidden is not changed unseen.
        must_wait = before.state != PUBLISHED or self._rules.must_wait(call, before.author_id)
        if wanted == known:
            fill(written, shown)
        elif must_wait:
            fill(written, shown)
            self._wait(call, written, wanted)
        else:
            written.revision_number = keep(call, written, wanted, SHOWN)
            written.pending_revision_number = 0
            withdraw_item(call, SUBMISSION, subject_of(written))

    def _wait(self, call: Call, written: Written, wanted: StoryContent) -> None:
        written.pending_revision_number = keep(call, written, wanted, PENDING)
        open_item(call, SUBMISSION, subject_of(written), revision=written.pending_revision_number)


def follow_change(call: Call, written: Story | StoryChapter, before: Story | StoryChapter) -> None:
    """Tell the queue what became of something: that it reads otherwise, or was deleted or restored."""
    if before.state in SEEN and content_of(written) != content_of(before):
        note_change(call, subject_of(written))
    _follow_deletion(call, written, before)


def _follow_deletion(call: Call, written: Story | StoryChapter, before: Story | StoryChapter) -> None:
    # What is deleted leaves the queue, and what waits and is restored comes back.
    is_gone, was_gone = written.HasField("delete_time"), before.HasField("delete_time")
    if is_gone and not was_gone:
        withdraw_items(call, subject_of(written))
    elif was_gone and not is_gone and written.pending_revision_number:
        open_item(call, SUBMISSION, subject_of(written), revision=written.pending_revision_number)


def clean(written: Story | StoryChapter) -> None:
    """Clean the text of a story or a chapter, and count its words."""
    if "\0" not in written.body:
        # One with a NUL is refused, and cleaning would take it out.
        written.body = clean_html(written.body)
    written.word_count = len(text_of(written.body).split())


def incomplete(kind: str, resource_id: str, fault: str) -> StateForbids:
    """The problem of what is submitted without a text."""
    return StateForbids(fault, metadata={"resource_type": kind, "resource": resource_id, "state": "INCOMPLETE"})
