"""Stories: who sees which, how they are published and changed, their chapters, and what they are found by."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from plinth.stories.v1.story_pb2 import (
    CreateStoryRequest,
    GetStoryRequest,
    Story,
    SubmitStoryRequest,
    UpdateStoryRequest,
)

from tests.clients import Rest, Stubs, Tenant, database, new_member, new_tenant, problem, reason, refused, rows, stubs
from tests.domains.stories.instances import SETTINGS, STORIES, new_chapter, new_story

QUEUE = "/api/v1/moderation/queue"
SERVICE = "plinth.stories.v1.StoryService"
ABSENT = "01890000-0000-7000-8000-000000000000"
NOT_FOUND, TAKEN, FORBIDDEN = (404, "RESOURCE_NOT_FOUND"), (409, "RESOURCE_TAKEN"), (409, "STATE_FORBIDS")
STALE = (412, "ETAG_MISMATCH")


@dataclass(frozen=True)
class Person:
    """Somebody, or an API key, in a tenant."""

    id: str
    rest: Rest
    stubs: Stubs

    def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """A POST that succeeds."""
        return told(
            self.rest.post(path, body or {}, headers={name.replace("_", "-"): headers[name] for name in headers})
        )

    def patch(self, path: str, **fields: Any) -> dict[str, Any]:
        """A PATCH that succeeds."""
        return told(self.rest.patch(path, fields))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """A GET that succeeds."""
        return told(self.rest.get(path, query))

    def status(self, path: str) -> int:
        """Whether they see something."""
        return self.rest.get(path).status_code

    def listed(self, path: str = STORIES, **query: Any) -> list[str]:
        """The titles of the stories in a list."""
        return [story["title"] for story in self.get(path, **query)["stories"]]


def told(response: httpx.Response) -> dict[str, Any]:
    """The answer to a call that succeeds."""
    assert response.is_success, response.text
    answer: dict[str, Any] = response.json()
    return answer


def person(tenant: Tenant, role: str) -> Person:
    """Somebody new with a role."""
    account, session = new_member(tenant, role)
    token = session.access_token
    return Person(account.id, Rest(tenant.stack, token), stubs(tenant.stack, token))


def owner(tenant: Tenant) -> Person:
    """The owner, who may do everything."""
    return Person(tenant.owner.id, tenant.rest, tenant.stubs)


def key(tenant: Tenant, *permissions: str) -> Person:
    """An API key, which reads stories unless other permissions are given."""
    body = {"name": "Reader", "permissions": permissions or ("stories.stories.read",)}
    secret = owner(tenant).post(f"{tenant.path}/api-keys", body)["key"]
    return Person("", Rest(tenant.stack, secret), stubs(tenant.stack, secret))


def review(tenant: Tenant, kind: str, **settings: Any) -> None:
    """Say what waits for moderators, and wait until all processes have heard of it."""
    owner(tenant).patch(SETTINGS, review=f"REVIEW_{kind}", **settings)


def at(story: dict[str, Any], verb: str = "") -> str:
    """Where a story is, or what is done with it."""
    return "/".join(filter(None, (STORIES, story["id"], verb)))


def in_story(chapter: dict[str, Any], verb: str = "") -> str:
    """Where a chapter is, or what is done with it."""
    return "/".join(filter(None, (STORIES, chapter["storyId"], "chapters", chapter["id"], verb)))


def drafted(author: Person, title: str = "Fog", **fields: Any) -> dict[str, Any]:
    """A draft."""
    return author.post(STORIES, new_story(title=title, **fields))


def submitted(author: Person, title: str = "Fog", **fields: Any) -> dict[str, Any]:
    """A story that its author has submitted."""
    return author.post(at(drafted(author, title, **fields), "submit"))


def waiting(moderator: Person, subject: dict[str, Any], kind: str = "SUBMISSION") -> dict[str, Any]:
    """The item of the queue about a story, a chapter or a comment."""
    asked = f'kind = {kind} AND subject_id = "{subject["id"]}"'
    [item] = moderator.get(QUEUE, filter=asked)["moderationItems"]
    found: dict[str, Any] = item
    return found


def decide(moderator: Person, item: dict[str, Any], verb: str, **fields: Any) -> dict[str, Any]:
    """Approve, reject or ignore an item as it is."""
    return moderator.post(f"{QUEUE}/{item['id']}/{verb}", fields | {"etag": item["etag"]})


def approved(moderator: Person, subject: dict[str, Any]) -> None:
    """Let a moderator publish what waits."""
    decide(moderator, waiting(moderator, subject), "approve")


def published(author: Person, moderator: Person, title: str = "Fog", **fields: Any) -> dict[str, Any]:
    """A story that its author has submitted and a moderator has approved."""
    story = submitted(author, title, **fields)
    approved(moderator, story)
    return author.get(at(story))


def numbers(author: Person, story: dict[str, Any], state: str = "") -> list[int]:
    """The numbers of the revisions of a story."""
    asked = {"filter": f"state = {state}"} if state else {}
    return [each["number"] for each in author.get(at(story, "revisions"), **asked)["storyRevisions"]]


@pytest.fixture
def author(tenant: Tenant) -> Person:
    """Somebody who writes."""
    return person(tenant, "member")


@pytest.fixture
def other(tenant: Tenant) -> Person:
    """Somebody else who writes."""
    return person(tenant, "member")


@pytest.fixture
def moderator(tenant: Tenant) -> Person:
    """Somebody who moderates."""
    return person(tenant, "editor")


# Who sees what -------------------------------------------------------------------------------------------------------


def test_only_its_author_and_moderators_see_what_is_not_published(
    tenant: Tenant, author: Person, other: Person, moderator: Person
) -> None:
    story = drafted(author)
    viewer, machine = person(tenant, "viewer"), key(tenant)
    stranger = owner(new_tenant(tenant.stack))

    def seen_by(someone: Person) -> tuple[bool, bool, bool, bool]:
        """In Get, by its slug, in a list, and in one of its author."""
        by_id, by_slug = someone.status(at(story)), someone.status(f"{STORIES}/slug/{story['slug']}")
        assert {by_id, by_slug} <= {200, 404}
        titles, of_author = someone.listed(), someone.listed(authorId=author.id)
        return by_id == 200, by_slug == 200, "Fog" in titles, "Fog" in of_author

    def expect(*, seen: bool) -> None:
        # Twice: what is cached for one of them is not shown to the other.
        for _ in range(2):
            for someone in (author, moderator, owner(tenant)):
                assert seen_by(someone) == (True,) * 4
            for someone in (other, viewer, machine):
                assert seen_by(someone) == (seen,) * 4
            assert seen_by(stranger) == (False,) * 4

    expect(seen=False)
    story = author.post(at(story, "submit"))
    assert story["state"] == "STATE_SUBMITTED"
    expect(seen=False)
    approved(moderator, story)
    expect(seen=True)
    author.post(at(story, "unpublish"))
    expect(seen=False)
    author.post(at(story, "submit"))
    approved(moderator, story)
    expect(seen=True)
    review(tenant, "ALL", hideScore=1)
    other.post(at(story, "report"), {"reason": "REASON_SPAM"})
    assert author.get(at(story))["state"] == "STATE_HIDDEN"
    expect(seen=False)
    decide(moderator, waiting(moderator, story, "REPORT"), "reject", reason="Spam.")
    assert author.get(at(story))["state"] == "STATE_REMOVED"
    assert author.get(at(story))["reason"] == "Spam."
    expect(seen=False)


def test_lists_hold_what_the_caller_sees_and_the_filter_asks_for(
    author: Person, other: Person, moderator: Person
) -> None:
    published(author, moderator, "Sea", language="de", audience="AUDIENCE_TEEN")
    published(other, moderator, "Land")
    drafted(author, "Mine")
    drafted(other, "Theirs")
    assert author.listed() == ["Mine", "Land", "Sea"]
    assert moderator.listed() == ["Theirs", "Mine", "Land", "Sea"]
    assert author.listed(authorId="-") == author.listed()
    assert author.listed(authorId=other.id) == ["Land"]
    assert moderator.listed(authorId=other.id) == ["Theirs", "Land"]
    assert author.listed(filter="state = DRAFT") == ["Mine"]
    assert author.listed(filter='language = "de"') == author.listed(filter="audience = TEEN") == ["Sea"]
    assert author.listed(filter=f'author_id = "{other.id}"') == ["Land"]
    assert author.listed(orderBy="title") == ["Land", "Mine", "Sea"]
    assert author.listed(orderBy="title desc", pageSize=1, skip=1) == ["Mine"]
    assert author.get(STORIES, includeTotal=True, pageSize=1)["totalSize"] == 3
    assert author.rest.get(STORIES, {"filter": 'body = "x"'}).status_code == 400


def test_words_are_found_in_titles_summaries_and_tags_of_what_is_seen(
    author: Person, other: Person, moderator: Person
) -> None:
    published(author, moderator, "Lighthouse", summary="A keeper waits.", tags=["maritime"])
    draft = drafted(author, "Lighthouse again", body="<p>Hidden treasure.</p>")
    assert other.listed(q="lighthouse") == ["Lighthouse"]
    assert other.listed(q="keeper maritime") == ["Lighthouse"]
    assert other.listed(q="keeper absent") == []
    # Neither in the body, nor in what others have not published.
    assert author.listed(q="treasure") == other.listed(q="again") == []
    assert author.listed(q="again") == moderator.listed(q="again") == ["Lighthouse again"]
    author.patch(at(draft), title="Nothing of that")
    assert author.listed(q="again") == []


def test_what_waits_is_not_found_before_it_is_approved(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator, "Harbour", tags=["boats"])
    author.patch(at(story), title="Shipyard", tags=["cranes"])
    assert other.listed(q="shipyard") == other.listed(q="cranes") == []
    assert other.listed(q="harbour") == ["Harbour"]
    assert other.listed(f"{STORIES}/tags/cranes") == []
    approved(moderator, story)
    assert other.listed(q="shipyard") == other.listed(f"{STORIES}/tags/cranes") == ["Shipyard"]
    assert other.listed(q="harbour") == other.listed(f"{STORIES}/tags/boats") == []


def test_a_stranger_reaches_nothing_of_another_tenant(tenant: Tenant, author: Person, moderator: Person) -> None:
    story = published(author, moderator, tags=["sea"])
    chapter = author.post(at(story, "chapters"), new_chapter())
    stranger = owner(new_tenant(tenant.stack))
    for path in (at(story), at(story, "chapters"), at(story, "revisions"), in_story(chapter)):
        assert reason(stranger.rest.get(path)) == NOT_FOUND
    assert reason(stranger.rest.patch(at(story), {"title": "Mine"})) == NOT_FOUND
    assert reason(stranger.rest.post(at(story, "unpublish"), {})) == NOT_FOUND
    assert stranger.listed(f"{STORIES}/tags/sea") == stranger.listed(f"{STORIES}/trending") == []
    assert stranger.get(f"{STORIES}/tags")["tags"] == []
    assert stranger.listed(q="fog") == stranger.listed(authorId=author.id) == []


def test_revisions_are_seen_by_the_author_and_moderators(
    tenant: Tenant, author: Person, other: Person, moderator: Person
) -> None:
    story = published(author, moderator)
    [revision] = author.get(at(story, "revisions"))["storyRevisions"]
    path = at(story, f"revisions/{revision['id']}")
    assert (revision["number"], revision["state"], revision["content"]["title"]) == (1, "STATE_PUBLISHED", "Fog")
    assert author.get(path) == moderator.get(path) == revision
    assert other.status(path) == 404
    answer = other.rest.get(at(story, "revisions"))
    assert answer.status_code == 404 or answer.json()["storyRevisions"] == []
    # Viewers, and keys, lack the permission or own nothing.
    assert person(tenant, "viewer").status(path) == 403
    assert key(tenant, "stories.revisions.read").status(path) == 403


def test_moderators_list_the_revisions_of_a_story(author: Person, moderator: Person) -> None:
    story = published(author, moderator)
    assert numbers(moderator, story) == [1]


def test_events_of_what_is_not_published_are_for_its_author(tenant: Tenant, author: Person, moderator: Person) -> None:
    story = drafted(author)
    author.patch(at(story), summary="Changed.")
    author.post(at(story, "submit"))
    author.post(at(story, "withdraw"))
    author.post(at(story, "submit"))
    approved(moderator, story)
    author.post(at(story, "unpublish"))
    assert author.rest.delete(at(story)).status_code == 204
    query = (
        "SELECT type, audience::text AS audience FROM events WHERE tenant_id = %s AND resource_id = %s"
        " ORDER BY transaction_id, sequence"
    )
    found = [(row["type"], row["audience"]) for row in rows(tenant.stack, query, tenant.id, story["id"])]
    private = ["created", "updated", "submitted", "withdrawn", "submitted"]
    assert found[:5] == [(f"story.{each}", author.id) for each in private]
    # Everyone learns of it at once, and who saw it that it is gone.
    assert sorted(found[5:7]) == [("story.published", None), ("story.updated", None)]
    assert found[7:] == [("story.unpublished", None), ("story.deleted", author.id)]


def test_a_story_belongs_to_a_person_and_a_key_is_none(tenant: Tenant) -> None:
    machine = key(tenant, "stories.stories.create", "stories.stories.read")
    assert reason(machine.rest.post(STORIES, new_story())) == (403, "USER_REQUIRED")
    viewer = person(tenant, "viewer")
    assert viewer.rest.post(STORIES, new_story()).status_code == 403


def test_somebody_elses_story_is_refused_where_it_is_seen_and_unknown_where_it_is_not(
    author: Person, other: Person, moderator: Person
) -> None:
    shown, hidden = published(author, moderator, "Shown"), drafted(author, "Hidden")
    chapter = author.post(at(shown, "chapters"), new_chapter())
    for story, status in ((shown, 403), (hidden, 404)):
        assert other.rest.patch(at(story), {"title": "Mine"}).status_code == status
        assert other.rest.put(at(story), {"title": "Mine"}).status_code == status
        assert other.rest.delete(at(story)).status_code == status
        for verb in ("submit", "withdraw", "unpublish"):
            assert other.rest.post(at(story, verb), {}).status_code == status
        assert other.rest.post(at(story, "chapters"), new_chapter()).status_code in (403, 404)
    for verb in ("submit", "withdraw"):
        assert other.rest.post(in_story(chapter, verb), {}).status_code == 404
    assert author.get(at(shown))["title"] == "Shown"
    assert other.rest.get(f"{STORIES}/{ABSENT}").status_code == 404


def test_nobody_adds_a_chapter_to_a_story_of_somebody_else(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator)
    assert other.rest.post(at(story, "chapters"), new_chapter()).status_code == 404


# What a story says ---------------------------------------------------------------------------------------------------


def test_slugs_come_from_titles_and_are_numbered_when_taken(author: Person, other: Person) -> None:
    first, second = drafted(author, "Die Säge & das Meer"), drafted(other, "Die Säge & das Meer")
    assert (first["slug"], second["slug"]) == ("die-sage-das-meer", "die-sage-das-meer-2")
    assert drafted(author, "Other", slug="own-one")["slug"] == "own-one"
    assert reason(other.rest.post(STORIES, new_story(slug="own-one"))) == TAKEN
    assert reason(other.rest.patch(at(second), {"slug": "own-one"})) == TAKEN
    # It stays when the title changes, so that links go on working.
    assert author.patch(at(first), title="Elsewhere")["slug"] == "die-sage-das-meer"
    assert author.get(f"{STORIES}/slug/die-sage-das-meer")["id"] == first["id"]
    assert "story.title.slug" in problem(author.rest.post(STORIES, new_story(title="???"))).rules
    assert author.rest.post(STORIES, new_story(slug="Not A Slug")).status_code == 422
    assert author.rest.post(STORIES, {"body": "<p>No title.</p>"}).status_code == 422


def test_html_is_cleaned_and_words_are_counted(author: Person) -> None:
    dirty = (
        '<p onclick="steal()">One <b>two</b></p><script>steal()</script><style>p{}</style>'
        '<form action="/x"><input></form><a href="javascript:steal()">three</a><iframe src="//x"></iframe>'
    )
    story = drafted(author, body=dirty)
    for gone in ("script", "steal", "style", "form", "input", "iframe", "onclick"):
        assert gone not in story["body"]
    assert "<p>One <b>two</b></p>" in story["body"]
    assert story["wordCount"] == 3
    changed = author.patch(at(story), body="<p>four</p><script>x</script>")
    assert (changed["body"], changed["wordCount"]) == ("<p>four</p>", 1)
    chapter = author.post(at(story, "chapters"), {"title": "C", "body": "<p>a b</p><script>x</script>"})
    assert (chapter["body"], chapter["wordCount"]) == ("<p>a b</p>", 2)


def test_what_is_written_is_checked(author: Person) -> None:
    for wrong in (
        {"coverUrl": "javascript:x"},
        {"language": "not a language"},
        {"tags": ["x"] * 2},
        {"tags": [f"tag {number}" for number in range(21)]},
        {"warnings": ["CONTENT_WARNING_DEATH"] * 2},
        {"title": "x" * 201},
    ):
        assert author.rest.post(STORIES, new_story(**wrong)).status_code == 422, wrong
    for name, value in (("state", "STATE_PUBLISHED"), ("authorId", ABSENT), ("trend", 9.5), ("ratingCount", 3)):
        assert author.rest.post(STORIES, new_story(**{name: value})).status_code == 422, name
    assert drafted(author, language="DE-at")["language"] == "de-AT"


def test_tags_are_lower_case_and_lead_to_published_stories_alone(
    tenant: Tenant, author: Person, other: Person, moderator: Person
) -> None:
    story = drafted(author, "Sea", tags=["  Deep   Sea ", "deep sea", "Ünder"])
    assert story["tags"] == ["deep sea", "ünder"]

    def found() -> tuple[list[str], dict[str, int]]:
        counted = {each["tag"]: each["stories"] for each in other.get(f"{STORIES}/tags")["tags"]}
        return other.listed(f"{STORIES}/tags/Deep%20%20SEA"), counted

    nothing: tuple[list[str], dict[str, int]] = ([], {})
    shown = (["Sea"], {"deep sea": 1, "ünder": 1})
    assert found() == nothing
    author.post(at(story, "submit"))
    assert found() == nothing
    approved(moderator, story)
    assert found() == shown
    author.post(at(story, "unpublish"))
    assert found() == nothing
    author.post(at(story, "submit"))
    approved(moderator, story)
    assert author.rest.delete(at(story)).status_code == 204
    assert found() == nothing
    author.post(at(story, "undelete"))
    assert found() == shown
    review(tenant, "ALL", hideScore=1)
    other.post(at(story, "report"), {"reason": "REASON_SPAM"})
    assert found() == nothing
    decide(moderator, waiting(moderator, story, "REPORT"), "approve")
    assert found() == shown


def test_tags_are_listed_by_how_many_stories_have_them(author: Person, moderator: Person) -> None:
    published(author, moderator, "One", tags=["sea", "seal", "land"], language="en")
    published(author, moderator, "Two", tags=["sea", "100%"], language="de")
    told_tags = moderator.get(f"{STORIES}/tags")["tags"]
    assert [(each["tag"], each["stories"]) for each in told_tags] == [("sea", 2), ("100%", 1), ("land", 1), ("seal", 1)]
    assert [each["tag"] for each in moderator.get(f"{STORIES}/tags", prefix="SE")["tags"]] == ["sea", "seal"]
    assert moderator.get(f"{STORIES}/tags", prefix="%")["tags"] == []
    # Those published last come first, page by page.
    path = f"{STORIES}/tags/sea"
    assert moderator.listed(path) == ["Two", "One"]
    assert moderator.listed(path, language="EN") == ["One"]
    page = moderator.get(path, pageSize=1)
    assert moderator.listed(path, pageSize=1, pageToken=page["nextPageToken"]) == ["One"]
    assert reason(moderator.rest.get(f"{STORIES}/tags/land", {"pageToken": page["nextPageToken"]}))[0] == 400


# States --------------------------------------------------------------------------------------------------------------


def test_a_story_goes_its_way_and_no_other(author: Person, moderator: Person) -> None:
    story = drafted(author)
    assert (story["state"], story["revisionNumber"], "publishTime" in story) == ("STATE_DRAFT", 0, False)

    def refuse(*verbs: str) -> None:
        for verb in verbs:
            answer = author.rest.post(at(story, verb), {})
            assert reason(answer) == FORBIDDEN, verb
            assert problem(answer).metadata["state"] == author.get(at(story))["state"].removeprefix("STATE_")

    refuse("withdraw", "unpublish")
    waits = author.post(at(story, "submit"))
    assert (waits["state"], waits["revisionNumber"], waits["pendingRevisionNumber"]) == ("STATE_SUBMITTED", 0, 1)
    refuse("submit", "unpublish")
    draft = author.post(at(story, "withdraw"))
    assert (draft["state"], draft["pendingRevisionNumber"]) == ("STATE_DRAFT", 0)
    assert moderator.get(QUEUE)["moderationItems"] == []
    author.post(at(story, "submit"))
    decide(moderator, waiting(moderator, story), "reject", reason="Too short.")
    rejected = author.get(at(story))
    assert (rejected["state"], rejected["reason"]) == ("STATE_REJECTED", "Too short.")
    refuse("withdraw", "unpublish")
    again = author.post(at(story, "submit"))
    assert (again["state"], again["reason"]) == ("STATE_SUBMITTED", "")
    approved(moderator, story)
    shown = author.get(at(story))
    assert (shown["state"], shown["revisionNumber"], shown["pendingRevisionNumber"]) == ("STATE_PUBLISHED", 3, 0)
    assert shown["publishTime"]
    refuse("submit", "withdraw")
    assert author.post(at(story, "unpublish"))["state"] == "STATE_UNPUBLISHED"
    refuse("withdraw", "unpublish")


def test_a_story_without_a_text_is_not_submitted(author: Person) -> None:
    story = drafted(author, body="")
    answer = author.rest.post(at(story, "submit"), {})
    assert (reason(answer), problem(answer).metadata["state"]) == (FORBIDDEN, "INCOMPLETE")
    chapter = author.post(at(story, "chapters"), {"title": "Empty"})
    answer = author.rest.post(in_story(chapter, "submit"), {})
    assert (reason(answer), problem(answer).metadata["state"]) == (FORBIDDEN, "INCOMPLETE")
    # A chapter is enough for the story, and one that was deleted is none.
    assert author.rest.delete(in_story(chapter)).status_code == 204
    assert reason(author.rest.post(at(story, "submit"), {})) == FORBIDDEN
    author.post(in_story(chapter, "undelete"))
    assert author.post(at(story, "submit"))["state"] == "STATE_SUBMITTED"


def test_a_stale_etag_keeps_a_story_as_it_is(author: Person, moderator: Person) -> None:
    story = drafted(author)
    author.patch(at(story), summary="Newer.")
    stale = {"if-match": story["etag"]}
    assert reason(author.rest.post(at(story, "submit"), {}, headers=stale)) == STALE
    assert reason(author.rest.patch(at(story), {"title": "x", "etag": story["etag"]})) == STALE
    assert reason(author.rest.delete(at(story), headers=stale)) == STALE
    waits = author.post(at(story, "submit"))
    assert reason(author.rest.post(at(story, "withdraw"), {}, headers=stale)) == STALE
    approved(moderator, story)
    assert reason(author.rest.post(at(story, "unpublish"), {}, headers={"if-match": waits["etag"]})) == STALE


def test_settings_say_whose_stories_wait(tenant: Tenant, author: Person, other: Person, moderator: Person) -> None:
    assert owner(tenant).get(SETTINGS)["review"] in ("REVIEW_ALL", "REVIEW_UNSPECIFIED")
    assert submitted(author)["state"] == "STATE_SUBMITTED"
    # What moderators write waits for nobody.
    assert submitted(moderator)["state"] == "STATE_PUBLISHED"
    review(tenant, "NONE")
    free = submitted(author)
    assert (free["state"], free["revisionNumber"]) == ("STATE_PUBLISHED", 1)
    assert free["publishTime"]
    review(tenant, "NEW_AUTHORS", reviewedStories=2)
    assert submitted(author)["state"] == "STATE_SUBMITTED"
    published(author, moderator)
    assert submitted(author)["state"] == "STATE_PUBLISHED"
    # Each author is counted alone.
    assert submitted(other)["state"] == "STATE_SUBMITTED"
    assert owner(tenant).patch(SETTINGS, reviewedStories=0)["reviewedStories"] == 3
    assert author.rest.patch(SETTINGS, {"review": "REVIEW_NONE"}).status_code == 403


def test_an_unpublished_story_is_reviewed_again(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator)
    first = story["publishTime"]
    author.post(at(story, "unpublish"))
    assert author.patch(at(story), body="<p>Another.</p>")["body"] == "<p>Another.</p>"
    assert author.post(at(story, "submit"))["state"] == "STATE_SUBMITTED"
    assert other.status(at(story)) == 404
    approved(moderator, story)
    again = other.get(at(story))
    assert (again["body"], again["publishTime"], again["revisionNumber"]) == ("<p>Another.</p>", first, 2)


# Changes of what is published ----------------------------------------------------------------------------------------


def test_a_change_waits_while_the_old_text_stays(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator, summary="Old.", tags=["old"], body="<p>Old.</p>")
    answer = author.patch(
        at(story), title="New", summary="New.", body="<p>New.</p>", tags=["new"], commentMode="COMMENT_MODE_CLOSED"
    )
    for seen in (answer, author.get(at(story)), other.get(at(story))):
        assert (seen["title"], seen["summary"], seen["body"], seen["tags"]) == ("Fog", "Old.", "<p>Old.</p>", ["old"])
        assert (seen["revisionNumber"], seen["pendingRevisionNumber"]) == (1, 2)
        # What no reader reads does not wait.
        assert seen["commentMode"] == "COMMENT_MODE_CLOSED"
    item = waiting(moderator, story)
    assert (item["revisionNumber"], item["state"]) == (2, "STATE_OPEN")
    [revision] = author.get(at(story, "revisions"), filter="state = PENDING")["storyRevisions"]
    assert (revision["number"], revision["content"]["title"]) == (2, "New")
    decide(moderator, item, "approve")
    shown = other.get(at(story))
    assert (shown["title"], shown["summary"], shown["body"], shown["tags"]) == ("New", "New.", "<p>New.</p>", ["new"])
    assert (shown["revisionNumber"], shown["pendingRevisionNumber"], shown["state"]) == (2, 0, "STATE_PUBLISHED")
    assert shown["publishTime"] == story["publishTime"]


def test_further_changes_build_on_what_waits(author: Person, moderator: Person) -> None:
    story = published(author, moderator, summary="Old.")
    author.patch(at(story), title="Second")
    third = author.patch(at(story), summary="Third.")
    assert third["pendingRevisionNumber"] == 3
    assert numbers(author, story, "REPLACED") == [2]
    assert numbers(author, story, "PENDING") == [3]
    # The same again changes nothing.
    assert author.patch(at(story), summary="Third.")["pendingRevisionNumber"] == 3
    approved(moderator, story)
    shown = author.get(at(story))
    assert (shown["title"], shown["summary"], shown["revisionNumber"]) == ("Second", "Third.", 3)


def test_a_field_that_waits_can_be_changed_back(author: Person, moderator: Person) -> None:
    story = published(author, moderator, summary="Old.")
    assert author.patch(at(story), title="Wrong", summary="New.")["title"] == "Fog"
    author.patch(at(story), title="Fog")
    approved(moderator, story)
    shown = author.get(at(story))
    assert (shown["title"], shown["summary"]) == ("Fog", "New.")


def test_what_waits_is_taken_back_and_the_story_stays(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator)
    author.patch(at(story), title="New")
    item = waiting(moderator, story)
    back = author.post(at(story, "withdraw"))
    assert (back["state"], back["title"], back["pendingRevisionNumber"]) == ("STATE_PUBLISHED", "Fog", 0)
    assert numbers(author, story, "PENDING") == []
    assert waiting(moderator, story)["state"] == "STATE_WITHDRAWN"
    late = moderator.rest.post(f"{QUEUE}/{item['id']}/approve", {"etag": item["etag"]})
    assert late.status_code in (409, 412)
    assert other.get(at(story))["title"] == "Fog"
    assert reason(author.rest.post(at(story, "withdraw"), {})) == FORBIDDEN


def test_a_refused_change_leaves_what_is_published(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator)
    author.patch(at(story), title="New")
    decide(moderator, waiting(moderator, story), "reject", reason="Not better.")
    shown = other.get(at(story))
    assert (shown["title"], shown["state"], shown["pendingRevisionNumber"]) == ("Fog", "STATE_PUBLISHED", 0)
    assert author.get(at(story))["reason"] == "Not better."
    assert numbers(author, story, "REJECTED") == [2]


def test_approval_publishes_the_revision_that_was_read(author: Person, other: Person, moderator: Person) -> None:
    story = submitted(author, body="<p>Read.</p>")
    item = waiting(moderator, story)
    changed = author.patch(at(story), body="<p>Unread.</p>")
    assert (changed["state"], changed["pendingRevisionNumber"]) == ("STATE_SUBMITTED", 2)
    stale = moderator.rest.post(f"{QUEUE}/{item['id']}/approve", {"etag": item["etag"]})
    assert reason(stale) == STALE
    assert other.status(at(story)) == 404
    # Without an ETag, and without a claim, it is not known what they have read.
    assert not moderator.rest.post(f"{QUEUE}/{item['id']}/approve", {}).is_success
    newer = waiting(moderator, story)
    assert (newer["id"], newer["revisionNumber"]) == (item["id"], 2)
    decide(moderator, newer, "approve")
    shown = other.get(at(story))
    assert (shown["body"], shown["revisionNumber"]) == ("<p>Unread.</p>", 2)
    assert numbers(author, story, "REPLACED") == [1]


def test_changes_are_shown_at_once_where_nothing_waits(tenant: Tenant, author: Person, other: Person) -> None:
    review(tenant, "NONE")
    story = submitted(author)
    changed = author.patch(at(story), title="New")
    assert (changed["title"], changed["revisionNumber"], changed["pendingRevisionNumber"]) == ("New", 2, 0)
    assert other.get(at(story))["title"] == "New"
    assert numbers(author, story, "PUBLISHED") == [2, 1]


def test_a_change_that_waited_is_closed_by_one_that_need_not(tenant: Tenant, author: Person, moderator: Person) -> None:
    story = published(author, moderator)
    author.patch(at(story), title="Waits")
    review(tenant, "NONE")
    shown = author.patch(at(story), title="Shown")
    assert (shown["title"], shown["pendingRevisionNumber"]) == ("Shown", 0)
    assert numbers(author, story, "PENDING") == []
    assert waiting(moderator, story)["state"] == "STATE_WITHDRAWN"


def test_a_change_of_what_is_hidden_waits_as_well(
    tenant: Tenant, author: Person, other: Person, moderator: Person
) -> None:
    story = published(author, moderator, body="<p>Reviewed.</p>")
    review(tenant, "ALL", hideScore=1)
    other.post(at(story, "report"), {"reason": "REASON_SPAM"})
    item = waiting(moderator, story, "REPORT")
    author.rest.patch(at(story), {"body": "<p>Nobody has read this.</p>"})
    decide(moderator, item, "approve")
    assert other.get(at(story))["body"] == "<p>Reviewed.</p>"


# Chapters ------------------------------------------------------------------------------------------------------------


def chapters_of(someone: Person, story: dict[str, Any]) -> list[str]:
    """The titles of the chapters that somebody sees, in their order."""
    return [each["title"] for each in someone.get(at(story, "chapters"))["storyChapters"]]


def chapter_of(author: Person, story: dict[str, Any], title: str) -> dict[str, Any]:
    """A new chapter, as a draft."""
    return author.post(at(story, "chapters"), new_chapter() | {"title": title})


def test_chapters_have_an_order(author: Person) -> None:
    story = drafted(author)
    made = [chapter_of(author, story, title) for title in "abc"]
    assert [each["position"] for each in made] == [1, 2, 3]
    assert chapters_of(author, story) == ["a", "b", "c"]
    assert author.rest.delete(in_story(made[2])).status_code == 204
    assert chapters_of(author, story) == ["a", "b"]
    author.post(in_story(made[2], "undelete"))
    assert chapters_of(author, story) == ["a", "b", "c"]
    assert reason(author.rest.post(in_story(made[2], "undelete"), {})) == FORBIDDEN


def test_a_chapter_that_is_restored_has_its_place_again(author: Person) -> None:
    story = drafted(author)
    first, _ = (chapter_of(author, story, title) for title in "ab")
    assert author.rest.delete(in_story(first)).status_code == 204
    author.post(in_story(first, "undelete"))
    assert chapters_of(author, story) == ["a", "b"]


def test_chapters_are_put_into_another_order(author: Person) -> None:
    story = drafted(author)
    one, two, three = (chapter_of(author, story, title)["id"] for title in "abc")
    answer = author.post(at(story, "chapters/reorder"), {"ids": [three, one, two]})
    assert answer["ids"] == [three, one, two]
    assert chapters_of(author, story) == ["c", "a", "b"]
    short = author.rest.post(at(story, "chapters/reorder"), {"ids": [three, one]})
    assert problem(short).rules == ("ids.all",)


def test_a_chapter_is_seen_with_its_story_and_once_it_is_published(
    author: Person, other: Person, moderator: Person
) -> None:
    story = drafted(author)
    one, two = (chapter_of(author, story, title) for title in ("one", "two"))
    author.post(in_story(one, "submit"))
    approved(moderator, one)
    assert author.get(in_story(one))["state"] == "STATE_PUBLISHED"
    # Its story is a draft.
    assert other.status(in_story(one)) == other.status(at(story, "chapters")) == 404
    assert chapters_of(author, story) == chapters_of(moderator, story) == ["one", "two"]
    author.post(at(story, "submit"))
    approved(moderator, story)
    for _ in range(2):
        assert chapters_of(other, story) == ["one"]
        assert chapters_of(author, story) == ["one", "two"]
    assert (other.status(in_story(one)), other.status(in_story(two))) == (200, 404)
    author.post(in_story(two, "submit"))
    assert other.status(in_story(two)) == 404
    approved(moderator, two)
    assert chapters_of(other, story) == ["one", "two"]
    assert author.post(in_story(one, "withdraw"))["state"] == "STATE_DRAFT"
    assert chapters_of(other, story) == ["two"]
    assert other.rest.patch(in_story(two), {"title": "Mine"}).status_code in (403, 404)


def test_chapters_that_somebody_has_read_go_with_their_story(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator)
    chapter = chapter_of(author, story, "one")
    author.post(in_story(chapter, "submit"))
    approved(moderator, chapter)
    assert (other.status(in_story(chapter)), chapters_of(other, story)) == (200, ["one"])
    author.post(at(story, "unpublish"))
    assert (other.status(in_story(chapter)), other.status(at(story, "chapters"))) == (404, 404)


def test_a_change_of_a_published_chapter_waits(author: Person, other: Person, moderator: Person) -> None:
    story = published(author, moderator)
    chapter = chapter_of(author, story, "old")
    author.post(in_story(chapter, "submit"))
    approved(moderator, chapter)
    changed = author.patch(in_story(chapter), title="new", body="<p>New words here.</p>")
    assert (changed["title"], changed["pendingRevisionNumber"]) == ("old", 3)
    assert other.get(in_story(chapter))["body"] == chapter["body"]
    # The numbers are those of the story.
    found = author.get(at(story, "revisions"), filter=f'story_chapter_id = "{chapter["id"]}"')["storyRevisions"]
    assert [(each["number"], each["state"]) for each in found] == [(3, "STATE_PENDING"), (2, "STATE_PUBLISHED")]
    approved(moderator, chapter)
    shown = other.get(in_story(chapter))
    assert (shown["title"], shown["body"], shown["wordCount"]) == ("new", "<p>New words here.</p>", 3)
    assert (shown["revisionNumber"], shown["pendingRevisionNumber"]) == (3, 0)
    decided = author.patch(in_story(chapter), title="worse")
    decide(moderator, waiting(moderator, chapter), "reject", reason="Worse.")
    kept = author.get(in_story(decided))
    assert (kept["title"], kept["state"], kept["reason"]) == ("new", "STATE_PUBLISHED", "Worse.")


def test_a_rejected_chapter_is_submitted_again(author: Person, moderator: Person) -> None:
    story = published(author, moderator)
    chapter = chapter_of(author, story, "one")
    author.post(in_story(chapter, "submit"))
    assert reason(author.rest.post(in_story(chapter, "submit"), {})) == FORBIDDEN
    decide(moderator, waiting(moderator, chapter), "reject", reason="No.")
    rejected = author.get(in_story(chapter))
    assert (rejected["state"], rejected["reason"]) == ("STATE_REJECTED", "No.")
    assert reason(author.rest.post(in_story(chapter, "withdraw"), {})) == FORBIDDEN
    again = author.post(in_story(chapter, "submit"))
    assert (again["state"], again["reason"]) == ("STATE_SUBMITTED", "")


def test_a_story_has_at_most_500_chapters(tenant: Tenant, author: Person) -> None:
    story = drafted(author)
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO story_chapters (tenant_id, id, story_id, author_id, position, title, state)"
            " SELECT %s, gen_random_uuid(), %s, %s, n, 'c', 1 FROM generate_series(1, 499) n",
            (tenant.id, story["id"], author.id),
        )
    last = chapter_of(author, story, "last")
    assert last["position"] == 500
    assert reason(author.rest.post(at(story, "chapters"), new_chapter())) == (409, "LIMIT_REACHED")
    # What is deleted leaves room.
    assert author.rest.delete(in_story(last)).status_code == 204
    chapter_of(author, story, "instead")
    assert reason(author.rest.post(in_story(last, "undelete"), {})) == (409, "LIMIT_REACHED")


# Deletion ------------------------------------------------------------------------------------------------------------


def test_a_story_goes_and_comes_back_with_its_chapters_and_comments(
    author: Person, other: Person, moderator: Person
) -> None:
    story = published(author, moderator)
    kept, gone = (chapter_of(author, story, title) for title in ("kept", "gone"))
    for chapter in (kept, gone):
        author.post(in_story(chapter, "submit"))
        approved(moderator, chapter)
    comment = other.post(at(story, "comments"), {"body": "<p>Good.</p>"})
    path = at(story, f"comments/{comment['id']}")
    # Before its story, so that it does not come back with it.
    assert author.rest.delete(in_story(gone)).status_code == 204
    assert (other.status(in_story(kept)), other.status(path)) == (200, 200)
    assert author.rest.delete(at(story)).status_code == 204
    for someone in (author, other, moderator):
        for where in (at(story), in_story(kept), path, at(story, "chapters"), at(story, "comments")):
            assert someone.status(where) == 404, where
    assert author.listed() == []
    assert author.listed(showDeleted=True) == ["Fog"]
    assert other.listed(showDeleted=True) in ([], ["Fog"])
    assert other.rest.post(at(story, "undelete"), {}).status_code in (403, 404)
    assert author.post(at(story, "undelete"))["state"] == "STATE_PUBLISHED"
    assert chapters_of(other, story) == ["kept"]
    assert other.get(path)["body"] == "<p>Good.</p>"
    assert reason(author.rest.post(at(story, "undelete"), {})) == FORBIDDEN


def test_a_slug_is_free_once_its_story_is_deleted(author: Person, other: Person) -> None:
    story = drafted(author)
    assert author.rest.delete(at(story)).status_code == 204
    assert author.status(f"{STORIES}/slug/fog") == 404
    assert drafted(other)["slug"] == "fog"
    assert reason(author.rest.post(at(story, "undelete"), {})) == TAKEN


def test_what_is_deleted_waits_for_nobody(author: Person, moderator: Person) -> None:
    story = submitted(author)
    assert author.rest.delete(at(story)).status_code == 204
    assert moderator.get(QUEUE)["moderationItems"] == []


# Readers -------------------------------------------------------------------------------------------------------------


def test_what_is_read_most_comes_first(tenant: Tenant, author: Person, other: Person, moderator: Person) -> None:
    kept, rated, read, drafted_one = (published(author, moderator, title) for title in ("Kept", "Rated", "Read", "Out"))
    drafted(author, "Draft")
    path = f"{STORIES}/trending"
    reader = person(tenant, "member")
    # 2 for each publication; 3 for a rating, 1 for a reading, 4 for a bookmark.
    told(other.rest.put(at(read, "progress"), {"position": 0.5}))
    told(other.rest.put(at(rated, "ratings"), {"stars": 1}))
    told(other.rest.put(at(kept, "bookmark"), {}))
    assert other.listed(path) == ["Kept", "Rated", "Read", "Out"]
    assert other.listed(orderBy="trend desc") == other.listed(path)
    # Reading on, and a bookmark that was there, count once.
    for _ in range(9):
        told(other.rest.put(at(read, "progress"), {"position": 0.9}))
        told(other.rest.put(at(kept, "bookmark"), {}))
    assert other.listed(path) == ["Kept", "Rated", "Read", "Out"]
    told(reader.rest.put(at(read, "progress"), {"position": 0.1}))
    for _ in range(2):
        reader.post(at(read, "comments"), {"body": "<p>Good.</p>"})
    assert other.listed(path) == ["Read", "Kept", "Rated", "Out"]
    author.post(at(drafted_one, "unpublish"))
    author.post(at(kept, "unpublish"))
    # The author, and moderators, see drafts elsewhere.
    assert author.listed(path) == moderator.listed(path) == ["Read", "Rated"]
    page = other.get(path, pageSize=1)
    assert other.listed(path, pageSize=1, pageToken=page["nextPageToken"]) == ["Rated"]
    assert other.listed(path, language="en") == []


def test_rating_again_and_again_does_not_make_a_trend(author: Person, other: Person, moderator: Person) -> None:
    rated, kept = (published(author, moderator, title) for title in ("Rated", "Kept"))
    told(other.rest.put(at(kept, "bookmark"), {}))
    for stars in (1, 2, 3, 4, 5):
        told(other.rest.put(at(rated, "ratings"), {"stars": stars}))
    assert other.listed(f"{STORIES}/trending") == ["Kept", "Rated"]


def test_stories_are_sorted_by_what_people_think_of_them(tenant: Tenant, author: Person, moderator: Person) -> None:
    good, bad, unrated = (published(author, moderator, title) for title in ("Good", "Bad", "Unrated"))
    reader = person(tenant, "member")
    told(reader.rest.put(at(good, "ratings"), {"stars": 5}))
    told(reader.rest.put(at(bad, "ratings"), {"stars": 1}))
    # Ten average ones of three stars beside the one.
    told_of = {each["title"]: each for each in reader.get(STORIES)["stories"]}
    assert told_of["Good"]["ratingScore"] == pytest.approx(35 / 11)
    assert told_of["Bad"]["ratingScore"] == pytest.approx(31 / 11)
    assert told_of["Unrated"]["ratingScore"] == 0
    assert reader.listed(orderBy="rating_score desc") == ["Good", "Bad", "Unrated"]
    assert reader.listed(filter="rating_score > 3") == ["Good"]
    assert unrated["ratingCount"] == 0


def test_the_language_of_a_trend_is_no_filter(author: Person, moderator: Person) -> None:
    published(author, moderator, "Shown", language="en")
    drafted(author, "Draft")
    for language in ('" OR state=DRAFT OR language="', '"', 'en" OR "'):
        answer = author.rest.get(f"{STORIES}/trending", {"language": language})
        assert not answer.is_success or answer.json()["stories"] == [], answer.text
    assert author.listed(f"{STORIES}/trending", language="EN") == ["Shown"]


def test_the_feed_has_what_followed_authors_publish(author: Person, other: Person, moderator: Person) -> None:
    feed = f"{STORIES}/feed"
    published(author, moderator, "First")
    assert other.listed(feed) == []
    told(other.rest.put(f"/api/v1/authors/{author.id}/follow", {}))
    second = published(author, moderator, "Second")
    drafted(author, "Draft")
    submitted(author, "Submitted")
    assert other.listed(feed) == ["Second", "First"]
    author.post(at(second, "unpublish"))
    assert other.listed(feed) == ["First"]
    assert moderator.listed(feed) == []


# gRPC ----------------------------------------------------------------------------------------------------------------


def test_stubs_do_the_same(author: Person, other: Person, moderator: Person) -> None:
    mine, theirs = author.stubs[SERVICE], other.stubs[SERVICE]
    story = mine.CreateStory(CreateStoryRequest(story=Story(title="Fog", body="<p>Old.</p>")))
    assert (story.state, story.author_id) == (Story.STATE_DRAFT, author.id)
    assert refused(lambda: theirs.GetStory(GetStoryRequest(story_id=story.id))).reason == "RESOURCE_NOT_FOUND"
    stale = SubmitStoryRequest(story_id=story.id, etag='"0"')
    assert refused(lambda: mine.SubmitStory(stale)).reason == "ETAG_MISMATCH"
    waits = mine.SubmitStory(SubmitStoryRequest(story_id=story.id, etag=story.etag))
    assert waits.state == Story.STATE_SUBMITTED
    approved(moderator, {"id": story.id})
    # Of the fields of the mask alone.
    change = UpdateStoryRequest(
        story_id=story.id, story=Story(title="New", summary="Not named."), update_mask=FieldMask(paths=["title"])
    )
    assert mine.UpdateStory(change).pending_revision_number == 2
    assert refused(lambda: theirs.UpdateStory(change)).code == 7
    approved(moderator, {"id": story.id})
    shown = theirs.GetStory(GetStoryRequest(story_id=story.id))
    assert (shown.title, shown.summary, shown.revision_number) == ("New", "", 2)
