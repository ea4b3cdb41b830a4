"""Stories, from a draft to what everyone reads."""

from collections.abc import Mapping
from typing import ClassVar

from plinth.stories.v1 import story_pb2
from plinth.stories.v1.story_pb2 import (
    ListStoriesRequest,
    ListStoryTagsResponse,
    ListTaggedStoriesResponse,
    ListTrendingStoriesResponse,
    Story,
    StoryTag,
)
from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnySelect
from server.data.events import NO_TENANT
from server.data.statements import Row, Statement
from server.domains.stories.reviewing import Reviewing, clean, follow_change, incomplete
from server.domains.stories.story_resource import PUBLISHED, SLUG_KEY, STARS, STORY
from server.domains.stories.story_tags import COUNTS, MOST_TAGS, keep_tags, tagged
from server.domains.stories.tables import stories
from server.domains.stories.trends import BEGINNING, act_on
from server.domains.stories.trends import PUBLISHED as PUBLISHING
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.locales import usual_form
from server.kernel.messages import fitting
from server.kernel.problems import not_found
from server.kernel.queries import PageTokens, page_size
from server.kernel.resources import EventFacts, Lister, Service, Slugs

SHOWN = "story.published"
LAST = "\U0010ffff"
_id = UUID(as_uuid=False)
HAS_CHAPTER = Statement(
    text(
        "SELECT id FROM story_chapters c WHERE c.tenant_id = :tenant AND c.story_id = :story AND c.delete_time IS NULL"
        " LIMIT 1"
    )
    .bindparams(bindparam("tenant", type_=_id), bindparam("story", type_=_id))
    .columns(id=_id)
)
"""Takes `tenant` and `story`."""


class StoryService(Service[Story]):
    """Stories."""

    descriptor = story_pb2.DESCRIPTOR.services_by_name["StoryService"]
    resource = STORY
    events: ClassVar[Mapping[str, EventFacts]] = {
        SHOWN: EventFacts(Story, "A story is seen by everyone: its author submitted it, or a moderator approved it."),
    }

    def __init__(self, reviewing: Reviewing, tokens: PageTokens, clock: Clock = utc_now) -> None:
        super().__init__()
        self._reviewing, self._tokens, self._clock = reviewing, tokens, clock
        self._lister = Lister(self.rows, tokens)
        self._slugs = Slugs(self.rows, "story", SLUG_KEY)
        self._tagged = tagged(self.rows.plan.columns)
        self._by_slug = Statement(self._with_slug)

    # Hooks ---------------------------------------------------------------------------------------------------------

    def prepare(self, call: Call, resource: Story, before: Story | None) -> None:
        """Clean what was written, and keep a change of what is submitted or published as a revision."""
        clean(resource)
        resource.language = usual_form(resource.language)
        tags = dict.fromkeys(" ".join(tag.lower().split()) for tag in resource.tags)
        del resource.tags[:]
        resource.tags.extend(tag for tag in tags if tag)
        if before is not None:
            self._reviewing.change(call, resource, before)
            clean(resource)
        if resource.title and not resource.slug:
            resource.slug = self._slugs.from_title(call, resource.title)

    def before_write(self, call: Call, values: Row, before: Story | None) -> None:
        """Nobody has read a new story yet."""
        del call
        if before is None:
            values |= dict.fromkeys(STORY.hidden, 0) | {"rating_counts": [0] * STARS}

    def after_write(self, call: Call, resource: Story, before: Story | None) -> None:
        """Let its tags find it, and tell once it is seen."""
        keep_tags(call.writes, str(call.tenant_id), resource, before)
        if before is not None:
            follow_change(call, resource, before)
        if before is not None and resource.state == PUBLISHED and before.state != PUBLISHED:
            call.emit(SHOWN, resource.id, resource)
            if not before.HasField("publish_time"):
                act_on(call.writes, str(call.tenant_id), resource.id, PUBLISHING, self._clock())

    # Custom methods ------------------------------------------------------------------------------------------------

    def update_story(self, call: Call, request: story_pb2.UpdateStoryRequest) -> Story:
        """Change a story, or what of it waits."""
        return self._reviewing.requested(call, self.rows, request, request.story_id, request.story)

    def get_story_by_slug(self, call: Call, request: story_pb2.GetStoryBySlugRequest) -> Story:
        """Get a story by its slug."""
        found = self.rows.find(call, self._by_slug, tenant=call.tenant_id, slug_asked=request.slug)
        if found is None:
            raise not_found(self.rows.type, request.slug)
        # As far as the caller sees it.
        return self.rows.get(call, found.id)

    def submit_story(self, call: Call, request: story_pb2.SubmitStoryRequest) -> Story:
        """Submit a story."""
        before = self.rows.lock(call, request.story_id, etag=request.etag)
        after = self.rows.acted(before, "wait")
        has_text = before.body or call.reads.run(HAS_CHAPTER, tenant=call.tenant_id, story=before.id).returned
        if not has_text:
            raise incomplete(self.rows.type, before.id, "It has neither a body nor a chapter.")
        self._reviewing.submit(call, after)
        return self.rows.update(call, after, before)

    def withdraw_story(self, call: Call, request: story_pb2.WithdrawStoryRequest) -> Story:
        """Take back what waits."""
        before = self.rows.lock(call, request.story_id, etag=request.etag)
        # What is published stays so, and only what waits is taken back.
        after = self.rows.copy_of(before) if before.pending_revision_number else self.rows.acted(before, "withdraw")
        self._reviewing.withdraw(call, after)
        return self.rows.update(call, after, before)

    def list_trending_stories(
        self, call: Call, request: story_pb2.ListTrendingStoriesRequest
    ) -> ListTrendingStoriesResponse:
        """List what is read most."""
        language = f' AND language = "{usual_form(request.language)}"' if request.language else ""
        asked = ListStoriesRequest(
            page_size=request.page_size,
            page_token=request.page_token,
            filter=f"state = PUBLISHED{language}",
            order_by="trend desc",
        )
        found, token, _ = self._lister.page(call, asked)
        return ListTrendingStoriesResponse(stories=found, next_page_token=token)

    def list_tagged_stories(self, call: Call, request: story_pb2.ListTaggedStoriesRequest) -> ListTaggedStoriesResponse:
        """List the stories with a tag."""
        tag, language = " ".join(request.tag.lower().split()), usual_form(request.language)
        question = "\n".join((call.method.path, str(call.tenant_id), tag, language))
        cursor = self._tokens.read(question, request.page_token) if request.page_token else {}
        after, last = tuple(cursor.values()) or (BEGINNING, NO_TENANT)
        size = page_size(request.page_size)
        result = call.reads.run(
            self._tagged,
            tenant=call.tenant_id,
            tag=tag,
            language=language,
            is_further=bool(cursor),
            after=after,
            last=last,
            limit=size + 1,
        )
        found = fitting(self.rows.plan.message(result.raw(row)) for row in range(min(size, result.returned)))
        token = ""
        if len(found) < result.returned:
            token = self._tokens.write(question, [found[-1].publish_time.ToDatetime(BEGINNING.tzinfo), found[-1].id])
        return ListTaggedStoriesResponse(stories=found, next_page_token=token)

    def list_story_tags(self, call: Call, request: story_pb2.ListStoryTagsRequest) -> ListStoryTagsResponse:
        """List the tags of published stories."""
        start = request.prefix.lower()
        rows = call.reads.run(COUNTS, tenant=call.tenant_id, start=start, stop=start + LAST, most=MOST_TAGS).all()
        return ListStoryTagsResponse(tags=[StoryTag(tag=row["tag"], stories=row["stories"]) for row in rows])

    # Parts ---------------------------------------------------------------------------------------------------------

    def _with_slug(self) -> AnySelect:
        return select(*self.rows.plan.columns).where(
            stories.c.tenant_id == bindparam("tenant", type_=_id),
            stories.c.slug == bindparam("slug_asked", type_=stories.c.slug.type),
            stories.c.delete_time.is_(None),
        )
