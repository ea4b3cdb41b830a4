"""What readers keep for themselves: bookmarks, how far they have read, and authors they follow."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from plinth.stories.v1 import story_reading_pb2
from plinth.stories.v1.story_pb2 import Story
from plinth.stories.v1.story_reading_pb2 import (
    FollowedAuthor,
    ListBookmarkedStoriesResponse,
    ListFollowedAuthorsResponse,
    ListStoryFeedResponse,
    StoryReading,
)
from sqlalchemy import Boolean, DateTime, Double, Integer, bindparam, select, text, tuple_
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyColumn, AnySelect
from server.data.statements import Row, Statement
from server.domains.stories.chapters import CHAPTER
from server.domains.stories.story_resource import PUBLISHED, STORY
from server.domains.stories.tables import author_follows, stories, story_readings
from server.domains.stories.trends import BOOKMARKED, READ, act_on
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.messages import fitting
from server.kernel.ports import Memberships
from server.kernel.problems import limit_reached, not_found
from server.kernel.queries import PageTokens, page_size
from server.kernel.resources import EventFacts, Hooks, ReadRows, Service

MOST_FOLLOWED = 1_000
UNFOLLOWED = "author.unfollowed"
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
LAST_TIME = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
USER_TYPE = "plinth.dev/User"
_id, _time = UUID(as_uuid=False), DateTime(timezone=True)
_s, _r, _f = stories.c, story_readings.c, author_follows.c
_tenant, _user, _story = (bindparam(name, type_=_id) for name in ("tenant", "user", "story"))
_page = (bindparam("after", type_=_time), bindparam("last", type_=_id))
_limit = bindparam("limit", type_=Integer())
READING = Statement(
    text(
        "SELECT story_chapter_id, position, read_time, bookmark_time FROM story_readings"
        " WHERE tenant_id = :tenant AND user_id = :user AND story_id = :story"
    )
    .bindparams(_tenant, _user, _story)
    .columns(story_chapter_id=_id, position=Double(), read_time=_time, bookmark_time=_time)
)
"""Takes `tenant`, `user` and `story`, as the next do."""
BOOKMARK = Statement(
    text(
        """
INSERT INTO story_readings AS r (tenant_id, user_id, story_id, bookmark_time, first_bookmark_time)
VALUES (:tenant, :user, :story, now(), now())
ON CONFLICT (tenant_id, user_id, story_id) DO UPDATE
   SET bookmark_time = coalesce(r.bookmark_time, now()), first_bookmark_time = coalesce(r.first_bookmark_time, now())
RETURNING first_bookmark_time = now() AS is_first"""
    )
    .bindparams(_tenant, _user, _story)
    .columns(is_first=Boolean())
)
UNBOOKMARK = Statement(
    text(
        "UPDATE story_readings SET bookmark_time = NULL"
        " WHERE tenant_id = :tenant AND user_id = :user AND story_id = :story"
    ).bindparams(_tenant, _user, _story)
)
PROGRESS = Statement(
    text(
        """
INSERT INTO story_readings AS r (tenant_id, user_id, story_id, story_chapter_id, position, read_time, first_read_time)
VALUES (:tenant, :user, :story, :chapter, :position, now(), now())
ON CONFLICT (tenant_id, user_id, story_id) DO UPDATE
   SET story_chapter_id = excluded.story_chapter_id, position = excluded.position, read_time = excluded.read_time,
       first_read_time = coalesce(r.first_read_time, now())
RETURNING first_read_time = now() AS is_first"""
    )
    .bindparams(_tenant, _user, _story, bindparam("chapter", type_=_id), bindparam("position", type_=Double()))
    .columns(is_first=Boolean())
)
"""Takes `chapter` or None, and `position` too."""
FOLLOW = Statement(
    text(
        """
INSERT INTO author_follows (tenant_id, user_id, author_id, follow_time)
SELECT :tenant, :user, :author, now()
 WHERE (SELECT count(*) FROM author_follows WHERE tenant_id = :tenant AND user_id = :user) < :most
ON CONFLICT DO NOTHING"""
    ).bindparams(_tenant, _user, bindparam("author", type_=_id), bindparam("most", type_=Integer()))
)
"""Takes `tenant`, `user`, `author` and `most`."""
UNFOLLOW = Statement(
    text(
        "DELETE FROM author_follows WHERE tenant_id = :tenant AND user_id = :user AND author_id = :author"
        " RETURNING author_id"
    )
    .bindparams(_tenant, _user, bindparam("author", type_=_id))
    .columns(author_id=_id)
)
"""Takes `tenant`, `user` and `author`. Finds nothing if the user does not follow them."""
FOLLOWED_AT = Statement(
    text("SELECT follow_time FROM author_follows WHERE tenant_id = :tenant AND user_id = :user AND author_id = :author")
    .bindparams(_tenant, _user, bindparam("author", type_=_id))
    .columns(follow_time=_time)
)
"""Takes `tenant`, `user` and `author`."""
FOLLOWED = Statement(
    select(_f.author_id, _f.follow_time)
    .where(_f.tenant_id == _tenant, _f.user_id == _user, tuple_(_f.follow_time, _f.author_id) < tuple_(*_page))
    .order_by(_f.follow_time.desc(), _f.author_id.desc())
    .limit(_limit)
)
"""Takes `tenant`, `user`, `after` and `last`, and `limit`."""


class StoryReadingService(Service):
    """Bookmarks, progress and follows."""

    descriptor = story_reading_pb2.DESCRIPTOR.services_by_name["StoryReadingService"]
    events: ClassVar[Mapping[str, EventFacts]] = {
        UNFOLLOWED: EventFacts(FollowedAuthor, "Somebody follows an author no more. They alone are told."),
    }

    def __init__(self, memberships: Memberships, tokens: PageTokens, clock: Clock = utc_now) -> None:
        super().__init__()
        self._memberships, self._tokens, self._clock = memberships, tokens, clock
        self._stories = ReadRows(Hooks(), STORY)
        self._chapters = ReadRows(Hooks(), CHAPTER)
        columns = self._stories.plan.columns
        self._bookmarked = Statement(lambda: _bookmarked(columns))
        self._feed = Statement(lambda: _feed(columns))

    # Stories -------------------------------------------------------------------------------------------------------

    def get_story_reading(self, call: Call, request: story_reading_pb2.GetStoryReadingRequest) -> StoryReading:
        """How the caller reads a story."""
        return self._reading(call, self._stories.get(call, request.story_id).id)

    def bookmark_story(self, call: Call, request: story_reading_pb2.BookmarkStoryRequest) -> StoryReading:
        """Bookmark a story."""
        key = self._key(call, request.story_id)
        if call.writes.run(BOOKMARK, **key).row(0)["is_first"]:
            act_on(call.writes, str(call.tenant_id), str(key["story"]), BOOKMARKED, self._clock())
        return self._reading(call, str(key["story"]))

    def remove_story_bookmark(self, call: Call, request: story_reading_pb2.RemoveStoryBookmarkRequest) -> StoryReading:
        """Take a bookmark back."""
        key = self._key(call, request.story_id)
        call.writes.queue(UNBOOKMARK, **key)
        return self._reading(call, str(key["story"]))

    def set_story_progress(self, call: Call, request: story_reading_pb2.SetStoryProgressRequest) -> StoryReading:
        """Set how far the caller has read."""
        chapter = None
        if request.story_chapter_id:
            chapter = self._chapters.get(call, request.story_chapter_id, request).id
        key = self._key(call, request.story_id)
        if call.writes.run(PROGRESS, **key, chapter=chapter, position=request.position).row(0)["is_first"]:
            act_on(call.writes, str(call.tenant_id), str(key["story"]), READ, self._clock())
        return self._reading(call, str(key["story"]))

    def list_bookmarked_stories(
        self, call: Call, request: story_reading_pb2.ListBookmarkedStoriesRequest
    ) -> ListBookmarkedStoriesResponse:
        """List the stories with a bookmark."""
        found, token = self._page(call, request, self._bookmarked, sees_all=self._stories.sees_all(call))
        return ListBookmarkedStoriesResponse(stories=found, next_page_token=token)

    def list_story_feed(self, call: Call, request: story_reading_pb2.ListStoryFeedRequest) -> ListStoryFeedResponse:
        """List the stories of the authors that the caller follows."""
        found, token = self._page(call, request, self._feed)
        return ListStoryFeedResponse(stories=found, next_page_token=token)

    # Authors -------------------------------------------------------------------------------------------------------

    def follow_author(self, call: Call, request: story_reading_pb2.FollowAuthorRequest) -> FollowedAuthor:
        """Follow an author."""
        author_id = request.user_id.lower()
        if author_id not in self._memberships.among(call.writes, str(call.tenant_id), [author_id]):
            raise not_found(USER_TYPE, author_id)
        key = {"tenant": call.tenant_id, "user": self._reader(call), "author": author_id}
        call.writes.queue(FOLLOW, **key, most=MOST_FOLLOWED)
        row = call.writes.run(FOLLOWED_AT, **key).first()
        if row is None:
            raise limit_reached(f"You follow {MOST_FOLLOWED:,} authors already.", MOST_FOLLOWED, USER_TYPE)
        call.audience = str(key["user"])
        return FollowedAuthor(user_id=author_id, follow_time=row["follow_time"])

    def unfollow_author(self, call: Call, request: story_reading_pb2.UnfollowAuthorRequest) -> Empty:
        """Follow an author no more."""
        # Empty for an API key, which follows nobody.
        user_id, author_id = call.caller.user_id, request.user_id.lower()
        key = {"tenant": call.tenant_id, "user": user_id or None, "author": author_id}
        if not call.writes.run(UNFOLLOW, **key).returned:
            raise not_found(USER_TYPE, request.user_id)
        call.audience = user_id
        call.event_payload = FollowedAuthor(user_id=author_id)
        return Empty()

    def list_followed_authors(
        self, call: Call, request: story_reading_pb2.ListFollowedAuthorsRequest
    ) -> ListFollowedAuthorsResponse:
        """List the authors that the caller follows."""
        question, asked, size = self._asked(call, request.page_token, request.page_size)
        rows = call.reads.run(FOLLOWED, **asked).all()
        authors = [FollowedAuthor(user_id=row["author_id"], follow_time=row["follow_time"]) for row in rows[:size]]
        token = ""
        if len(rows) > size:
            token = self._tokens.write(question, [rows[size - 1]["follow_time"], rows[size - 1]["author_id"]])
        return ListFollowedAuthorsResponse(authors=authors, next_page_token=token)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _reader(self, call: Call) -> str:
        """The caller. Raises Denied for an API key, which reads nothing."""
        return self._stories.owner_of_new(call)

    def _key(self, call: Call, story_id: str) -> Row:
        """The parameters of the caller's reading of a story that they see. What they do is told nobody else."""
        story = self._stories.get(call, story_id)
        call.audience = self._reader(call)
        return {"tenant": call.tenant_id, "user": call.audience, "story": story.id}

    def _reading(self, call: Call, story_id: str) -> StoryReading:
        reads = call.reads
        row = reads.run(READING, tenant=call.tenant_id, user=self._reader(call), story=story_id).first()
        reading = StoryReading(story_id=story_id)
        if row is not None:
            reading.is_bookmarked = row["bookmark_time"] is not None
            reading.story_chapter_id, reading.position = row["story_chapter_id"] or "", row["position"]
            if row["read_time"] is not None:
                reading.read_time.FromDatetime(row["read_time"])
        return reading

    def _asked(self, call: Call, token: str, size: int) -> tuple[str, Row, int]:
        """The question of a page, the parameters of its statement, and its size."""
        user_id = self._reader(call)
        question = "\n".join((call.method.path, str(call.tenant_id), user_id))
        cursor: Mapping[str, object] = self._tokens.read(question, token) if token else {}
        after, last = tuple(cursor.values()) or (LAST_TIME, LAST_ID)
        size = page_size(size)
        asked = {"tenant": call.tenant_id, "user": user_id, "after": after, "last": last, "limit": size + 1}
        return question, asked, size

    def _page(
        self,
        call: Call,
        request: story_reading_pb2.ListBookmarkedStoriesRequest | story_reading_pb2.ListStoryFeedRequest,
        statement: Statement,
        **more: object,
    ) -> tuple[Sequence[Story], str]:
        question, asked, size = self._asked(call, request.page_token, request.page_size)
        result = call.reads.run(statement, **asked, **more)
        found = fitting(self._stories.plan.message(result.raw(row)) for row in range(min(size, result.returned)))
        token = ""
        if len(found) < result.returned:
            last = result.row(len(found) - 1)
            token = self._tokens.write(question, [last["place"], last["id"]])
        return found, token


def _bookmarked(columns: Sequence[AnyColumn]) -> AnySelect:
    """The stories with a bookmark that everyone sees, or that are the reader's own."""
    return (
        select(*columns, _r.bookmark_time.label("place"))
        .join(stories, (_s.tenant_id == _r.tenant_id) & (_s.id == _r.story_id))
        .where(
            _r.tenant_id == _tenant,
            _r.user_id == _user,
            _r.bookmark_time.is_not(None),
            tuple_(_r.bookmark_time, _r.story_id) < tuple_(*_page),
            _s.delete_time.is_(None),
            bindparam("sees_all", type_=Boolean()) | (_s.state == text(str(int(PUBLISHED)))) | (_s.author_id == _user),
        )
        .order_by(_r.bookmark_time.desc(), _r.story_id.desc())
        .limit(_limit)
    )


def _feed(columns: Sequence[AnyColumn]) -> AnySelect:
    """The published stories of followed authors."""
    followed = select(_f.author_id).where(_f.tenant_id == _tenant, _f.user_id == _user)
    return (
        select(*columns, _s.publish_time.label("place"))
        .where(
            _s.tenant_id == _tenant,
            _s.state == text(str(int(PUBLISHED))),
            _s.delete_time.is_(None),
            _s.author_id.in_(followed),
            tuple_(_s.publish_time, _s.id) < tuple_(*_page),
        )
        .order_by(_s.publish_time.desc(), _s.id.desc())
        .limit(_limit)
    )
