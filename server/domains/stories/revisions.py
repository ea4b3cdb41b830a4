"""Revisions: what was submitted or published of stories and their chapters."""

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf import json_format
from plinth.stories.v1 import story_revision_pb2
from plinth.stories.v1.story_chapter_pb2 import StoryChapter
from plinth.stories.v1.story_pb2 import Story
from plinth.stories.v1.story_revision_pb2 import StoryContent, StoryRevision
from sqlalchemy import Integer, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from server.data.statements import Statement
from server.domains.stories.story_resource import MODERATE, STORY
from server.domains.stories.tables import story_revisions
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.queries import OrderTerm
from server.kernel.resources import Parent, Resource, Service

PENDING, SHOWN = StoryRevision.STATE_PENDING, StoryRevision.STATE_PUBLISHED
REFUSED, REPLACED = StoryRevision.STATE_REJECTED, StoryRevision.STATE_REPLACED
Written = TypeVar("Written", Story, StoryChapter)
FIELDS: dict[type, Sequence[str]] = {
    Story: ("title", "summary", "language", "body", "cover_url", "audience", "warnings", "tags"),
    StoryChapter: ("title", "body"),
}
"""What authors write."""
_id = UUID(as_uuid=False)
_of_one = """r.tenant_id = :tenant AND r.story_id = :story AND r.story_chapter_id IS NOT DISTINCT FROM :chapter
   AND r.state = 1"""
_names = (bindparam("tenant", type_=_id), bindparam("story", type_=_id), bindparam("chapter", type_=_id))
DRAW = Statement(
    text(
        "UPDATE stories SET revisions_made = revisions_made + 1 WHERE tenant_id = :tenant AND id = :story"
        " RETURNING revisions_made"
    )
    .bindparams(*_names[:2])
    .columns(revisions_made=Integer())
)
"""Takes `tenant` and `story`. The number of the next revision."""
END = Statement(
    text(
        f"UPDATE story_revisions r SET state = :state, version = version + 1, update_time = now() WHERE {_of_one}"  # noqa: S608
    ).bindparams(*_names, bindparam("state", type_=Integer()))
)
"""Takes `tenant`, `story`, `chapter` or None, and `state`, which the one that waits gets."""
KEEP = Statement(
    text(
        """
INSERT INTO story_revisions (tenant_id, id, story_id, story_chapter_id, author_id, number, state, content)
VALUES (:tenant, :id, :story, :chapter, :author, :number, :state, :content)"""
    ).bindparams(
        *_names,
        *(bindparam(name, type_=_id) for name in ("id", "author")),
        *(bindparam(name, type_=Integer()) for name in ("number", "state")),
        bindparam("content", type_=JSONB()),
    )
)
WAITING = Statement(
    text(f"SELECT r.content FROM story_revisions r WHERE {_of_one}")  # noqa: S608
    .bindparams(*_names)
    .columns(content=JSONB())
)
"""Takes `tenant`, `story` and `chapter` or None. What the revision that waits says."""


NUMBERED = Statement(
    text(
        "SELECT r.content FROM story_revisions r"
        " WHERE r.tenant_id = :tenant AND r.story_id = :story AND r.number = :number"
    )
    .bindparams(*_names[:2], bindparam("number", type_=Integer()))
    .columns(content=JSONB())
)
"""Takes `tenant`, `story` and `number`."""
APPROVE = Statement(
    text(
        "UPDATE story_revisions SET state = 2, version = version + 1, update_time = now()"
        " WHERE tenant_id = :tenant AND story_id = :story AND number = :number"
    ).bindparams(*_names[:2], bindparam("number", type_=Integer()))
)
"""Takes `tenant`, `story` and `number`."""


class StoryRevisionService(Service[StoryRevision]):
    """Revisions. The kernel reads them; submissions and changes make them."""

    descriptor = story_revision_pb2.DESCRIPTOR.services_by_name["StoryRevisionService"]
    resource = Resource(
        StoryRevision,
        story_revisions,
        filterable=("id", "story_chapter_id", "number", "state", "create_time"),
        sortable=("number", "create_time"),
        default_order=(OrderTerm("number", descending=True),),
        parent=Parent("story_id", STORY),
        owner="author_id",
        seen_by=MODERATE,
    )


def content_of(written: Story | StoryChapter) -> StoryContent:
    """What an author wrote."""
    content = StoryContent()
    for name in FIELDS[type(written)]:
        value = getattr(written, name)
        if name in ("warnings", "tags"):
            getattr(content, name).extend(value)
        else:
            setattr(content, name, value)
    return content


def fill(written: Written, content: StoryContent) -> Written:
    """Make a story or a chapter say what a revision says. Returns it."""
    for name in FIELDS[type(written)]:
        written.ClearField(name)
        value = getattr(content, name)
        if name in ("warnings", "tags"):
            getattr(written, name).extend(value)
        else:
            setattr(written, name, value)
    return written


def keys_of(call: Call, written: Story | StoryChapter) -> dict[str, str | None]:
    """The parameters that name the revisions of a story or of a chapter."""
    is_chapter = isinstance(written, StoryChapter)
    story_id = written.story_id if isinstance(written, StoryChapter) else written.id
    return {"tenant": call.tenant_id, "story": story_id, "chapter": written.id if is_chapter else None}


def keep(call: Call, written: Story | StoryChapter, content: StoryContent, state: int) -> int:
    """Keep what is submitted or published, in the place of one that waits. Returns its number."""
    keys = keys_of(call, written)
    number = int(call.writes.run(DRAW, tenant=keys["tenant"], story=keys["story"]).value() or 0)
    call.writes.queue(END, **keys, state=REPLACED)
    call.writes.queue(
        KEEP,
        **keys,
        id=new_id(),
        author=written.author_id,
        number=number,
        state=state,
        content=json_format.MessageToDict(content, preserving_proto_field_name=True),
    )
    return number


def end_waiting(call: Call, written: Story | StoryChapter, state: int) -> None:
    """Decide what becomes of the revision that waits, if one does."""
    call.writes.queue(END, **keys_of(call, written), state=state)


def waiting(call: Call, written: Story | StoryChapter) -> StoryContent | None:
    """What the revision says that waits, if one does."""
    found = call.writes.run(WAITING, **keys_of(call, written)).first()
    return json_format.ParseDict(found["content"], StoryContent()) if found else None


def content_with(call: Call, written: Story | StoryChapter, number: int) -> StoryContent | None:
    """What the revision with a number says, which is shown from now on."""
    keys = keys_of(call, written)
    named = {"tenant": keys["tenant"], "story": keys["story"], "number": number}
    found = call.writes.run(NUMBERED, **named).first()
    call.writes.queue(APPROVE, **named)
    return json_format.ParseDict(found["content"], StoryContent()) if found else None
