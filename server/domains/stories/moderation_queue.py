"""The queue of moderators: what opens an item, and what closes it."""

from typing import NamedTuple

from plinth.stories.v1.moderation_item_pb2 import ModeratedKind, ModerationItem
from plinth.stories.v1.story_chapter_pb2 import StoryChapter
from plinth.stories.v1.story_comment_pb2 import StoryComment
from plinth.stories.v1.story_pb2 import Story
from sqlalchemy import Double, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.rich_text import text_of

STORY, CHAPTER = ModeratedKind.MODERATED_KIND_STORY, ModeratedKind.MODERATED_KIND_CHAPTER
COMMENT = ModeratedKind.MODERATED_KIND_COMMENT
SUBMISSION, REPORT = ModerationItem.KIND_SUBMISSION, ModerationItem.KIND_REPORT
RUSH, APPEAL = ModerationItem.KIND_RUSH, ModerationItem.KIND_APPEAL
LONGEST_TITLE = 200
_id = UUID(as_uuid=False)
_key = (
    bindparam("tenant", type_=_id),
    bindparam("subject_kind", type_=Integer()),
    bindparam("subject", type_=_id),
    bindparam("kind", type_=Integer()),
)
OPEN = Statement(
    text(
        """
INSERT INTO moderation_items AS i (tenant_id, id, kind, subject_kind, subject_id, story_id, author_id, state, title,
                                   text, score, report_count, revision_number, appealed_decision_id, open_time)
VALUES (:tenant, :id, :kind, :subject_kind, :subject, :story, :author, 1, :title,
        :text, :score, :reports, :revision, :decision, now())
ON CONFLICT (tenant_id, subject_kind, subject_id, kind) DO UPDATE
   SET state = 1, title = excluded.title, text = excluded.text, revision_number = excluded.revision_number,
       appealed_decision_id = excluded.appealed_decision_id, claimed_by = NULL, claim_expire_time = NULL,
       score = excluded.score, report_count = excluded.report_count,
       open_time = CASE WHEN i.state IN (1, 2) THEN i.open_time ELSE now() END,
       is_escalated = i.is_escalated AND i.state IN (1, 2), note = CASE WHEN i.state IN (1, 2) THEN i.note ELSE '' END,
       version = i.version + 1, update_time = now()
RETURNING i.id"""
    )
    .bindparams(
        *_key,
        *(bindparam(name, type_=_id) for name in ("id", "story", "author", "decision")),
        *(bindparam(name, type_=Text()) for name in ("title", "text")),
        *(bindparam(name, type_=Integer()) for name in ("reports", "revision")),
        bindparam("score", type_=Double()),
    )
    .columns(id=_id)
)
"""Takes the subject, `kind`, and what the item says. A claim ends: its holder has not seen what has come."""
WITHDRAW = Statement(
    text(
        """
UPDATE moderation_items SET state = 6, score = -1, claimed_by = NULL, claim_expire_time = NULL,
       version = version + 1, update_time = now()
 WHERE tenant_id = :tenant AND subject_kind = :subject_kind AND subject_id = :subject AND kind = :kind
   AND state IN (1, 2)"""
    ).bindparams(*_key)
)
"""Takes the subject and `kind`."""


WITHDRAW_ALL = Statement(
    text(
        """
UPDATE moderation_items SET state = 6, score = -1, claimed_by = NULL, claim_expire_time = NULL,
       version = version + 1, update_time = now()
 WHERE tenant_id = :tenant AND state IN (1, 2)
   AND (subject_kind = :subject_kind AND subject_id = :subject OR :subject_kind = 1 AND story_id = :subject)"""
    ).bindparams(_key[0], _key[1], _key[2])
)
"""Takes the subject. All that waits about it, and about what belongs to it."""


REOPEN = Statement(
    text(
        """
UPDATE moderation_items SET title = :title, state = 1, claimed_by = NULL, claim_expire_time = NULL,
       version = version + 1, update_time = now()
 WHERE tenant_id = :tenant AND subject_kind = :subject_kind AND subject_id = :subject AND kind = :kind
   AND state IN (1, 2)"""
    ).bindparams(*_key, bindparam("title", type_=Text()))
)
"""Takes the subject, `kind` and `title`."""


class Subject(NamedTuple):
    """What is moderated."""

    kind: int
    id: str
    story_id: str
    author_id: str
    title: str


def subject_of(resource: Story | StoryChapter | StoryComment) -> Subject:
    """A story, a chapter or a comment, as the queue names it."""
    if isinstance(resource, Story):
        return Subject(STORY, resource.id, resource.id, resource.author_id, resource.title)
    if isinstance(resource, StoryChapter):
        return Subject(CHAPTER, resource.id, resource.story_id, resource.author_id, resource.title)
    title = " ".join(text_of(resource.body).split())[:LONGEST_TITLE]
    return Subject(COMMENT, resource.id, resource.story_id, resource.author_id, title)


def open_item(
    call: Call,
    kind: int,
    subject: Subject,
    *,
    revision: int = 0,
    score: float = 0.0,
    reports: int = 0,
    decision_id: str | None = None,
    words: str = "",
) -> str:
    """Put something into the queue, or what was there back to its beginning. Returns the id of the item."""
    result = call.writes.run(
        OPEN,
        tenant=call.tenant_id,
        id=new_id(),
        kind=kind,
        subject_kind=subject.kind,
        subject=subject.id,
        story=subject.story_id,
        author=subject.author_id,
        title=subject.title,
        text=words,
        score=score,
        reports=reports,
        revision=revision,
        decision=decision_id,
    )
    row = result.first()
    return str(row["id"]) if row else ""


def note_change(call: Call, subject: Subject) -> None:
    """Give reports of something that reads otherwise now another version, and end a claim: nobody decides unseen."""
    key = {"tenant": call.tenant_id, "subject_kind": subject.kind, "subject": subject.id}
    call.writes.queue(REOPEN, **key, kind=REPORT, title=subject.title)


def withdraw_item(call: Call, kind: int, subject: Subject) -> None:
    """Take something out of the queue that nobody has decided."""
    call.writes.queue(WITHDRAW, tenant=call.tenant_id, subject_kind=subject.kind, subject=subject.id, kind=kind)


def withdraw_items(call: Call, subject: Subject) -> None:
    """Take all out of the queue that is about something, which is deleted."""
    key = {"tenant": call.tenant_id, "subject_kind": subject.kind, "subject": subject.id}
    call.writes.queue(WITHDRAW_ALL, **key)
