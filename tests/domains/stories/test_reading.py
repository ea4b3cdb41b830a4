"""Reading: bookmarks, progress and followed authors, which are seen by the reader alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest
from plinth.stories.v1 import story_reading_pb2

from tests.clients import (
    Account,
    Rest,
    Session,
    Tenant,
    another_tenant,
    database,
    log_in,
    problem,
    reason,
    refused,
    rows,
    sign_up,
    stubs,
    switch_tenant,
)
from tests.contract.instances import made
from tests.domains.stories.instances import SETTINGS, STORIES, new_chapter, new_story, published
from tests.stack import Stack

ABSENT = (404, "RESOURCE_NOT_FOUND")
AUTHORS, BOOKMARKED, FEED = "/api/v1/authors", f"{STORIES}/bookmarked", f"{STORIES}/feed"


class Person(NamedTuple):
    """Somebody in a tenant."""

    id: str
    token: str
    rest: Rest


@pytest.fixture(scope="module")
def people(stack: Stack) -> Sequence[tuple[Account, Session]]:
    """They sign in once, since that takes time, and come into the tenant of each test."""
    accounts = [sign_up(stack) for _ in range(2)]
    return [(account, log_in(stack, account)) for account in accounts]


def join(tenant: Tenant, account: Account, session: Session) -> Person:
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, '{member}')", (tenant.id, account.id)
        )
    token = switch_tenant(tenant.stack, session, tenant.id).access_token
    return Person(account.id, token, Rest(tenant.stack, token))


@pytest.fixture
def reader(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> Person:
    return join(tenant, *people[0])


@pytest.fixture
def other(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> Person:
    """Another reader, whose stories are published at once too."""
    assert tenant.rest.patch(SETTINGS, {"review": "REVIEW_NONE"}).is_success
    return join(tenant, *people[1])


def story_of(person: Person) -> dict[str, Any]:
    """A story that somebody publishes."""
    story = person.rest.post(STORIES, new_story()).json()
    answer = person.rest.post(f"{STORIES}/{story['id']}/submit", {})
    assert answer.json()["state"] == "STATE_PUBLISHED", answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def put(rest: Rest, story: dict[str, Any], what: str, **body: Any) -> dict[str, Any]:
    return told(rest.put(f"{STORIES}/{story['id']}/{what}", body))


def reading(rest: Rest, story: dict[str, Any]) -> dict[str, Any]:
    return told(rest.get(f"{STORIES}/{story['id']}/reading"))


def told(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def listed(rest: Rest, path: str, name: str = "stories", key: str = "id", size: int = 1) -> list[str]:
    """All that a list has, by pages of one. No page but the last is short, and none is empty."""
    found: list[str] = []
    token = ""
    while True:
        page = told(rest.get(path, {"pageSize": size, "pageToken": token}))
        found += [each[key] for each in page[name]]
        token = page["nextPageToken"]
        if not token:
            return found
        assert len(page[name]) == size


def trend_of(tenant: Tenant, story: dict[str, Any]) -> float:
    [row] = rows(tenant.stack, "SELECT trend FROM stories WHERE id = %s", story["id"])
    return float(row["trend"])


def put_into_state(tenant: Tenant, story: dict[str, Any], state: int) -> None:
    """What reports, or a moderator, make of a story."""
    with database(tenant.stack) as connection:
        connection.execute("UPDATE stories SET state = %s WHERE id = %s", (state, story["id"]))


# Bookmarks -----------------------------------------------------------------------------------------------------------


def test_the_last_bookmark_comes_first(tenant: Tenant, reader: Person) -> None:
    first, second, third = (published(tenant) for _ in range(3))
    for story in (second, third, first):
        for _ in range(2):
            assert put(reader.rest, story, "bookmark")["isBookmarked"]
        # A second bookmark does not move it.
        put(reader.rest, second, "bookmark")
    assert listed(reader.rest, BOOKMARKED) == [first["id"], third["id"], second["id"]]
    assert listed(reader.rest, BOOKMARKED, size=2) == [first["id"], third["id"], second["id"]]
    for _ in range(2):
        assert not told(reader.rest.delete(f"{STORIES}/{third['id']}/bookmark"))["isBookmarked"]
    assert listed(reader.rest, BOOKMARKED) == [first["id"], second["id"]]
    put(reader.rest, third, "bookmark")
    assert listed(reader.rest, BOOKMARKED) == [third["id"], first["id"], second["id"]]
    # What is read without a bookmark is not there.
    fourth = published(tenant)
    put(reader.rest, fourth, "progress", position=0.5)
    assert fourth["id"] not in listed(reader.rest, BOOKMARKED)


def test_bookmarks_of_one_moment_are_each_listed_once(tenant: Tenant, reader: Person) -> None:
    stories = [published(tenant) for _ in range(4)]
    for story in stories:
        put(reader.rest, story, "bookmark")
    with database(tenant.stack) as connection:
        connection.execute("UPDATE story_readings SET bookmark_time = now() WHERE tenant_id = %s", (tenant.id,))
    assert listed(reader.rest, BOOKMARKED) == sorted((each["id"] for each in stories), reverse=True)


@pytest.mark.parametrize("how", ["hidden", "removed", "unpublished", "deleted"])
def test_what_goes_out_of_sight_is_in_no_list_and_comes_back(tenant: Tenant, reader: Person, how: str) -> None:
    story, kept = published(tenant), published(tenant)
    for each in (story, kept):
        put(reader.rest, each, "bookmark")
    told(reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {}))
    both = {story["id"], kept["id"]}
    assert set(listed(reader.rest, BOOKMARKED)) == set(listed(reader.rest, FEED)) == both
    one = f"{STORIES}/{story['id']}"
    if how == "unpublished":
        made(tenant, f"{one}/unpublish", {}, 200)
    elif how == "deleted":
        assert tenant.rest.delete(one).status_code == 204
    else:
        put_into_state(tenant, story, 6 if how == "hidden" else 7)
    for path in (BOOKMARKED, FEED):
        assert listed(reader.rest, path) == [kept["id"]]
    for answer in (
        reader.rest.get(f"{one}/reading"),
        reader.rest.put(f"{one}/bookmark", {}),
        reader.rest.delete(f"{one}/bookmark"),
        reader.rest.put(f"{one}/progress", {"position": 1}),
    ):
        assert reason(answer) == ABSENT
    if how == "unpublished":
        made(tenant, f"{one}/submit", {}, 200)
    elif how == "deleted":
        made(tenant, f"{one}/undelete", {}, 200)
    else:
        put_into_state(tenant, story, 3)
    # The bookmark was kept.
    assert set(listed(reader.rest, BOOKMARKED)) == set(listed(reader.rest, FEED)) == both


def test_authors_keep_bookmarks_of_their_own_stories(tenant: Tenant) -> None:
    draft = made(tenant, STORIES, new_story())
    put(tenant.rest, draft, "bookmark")
    assert listed(tenant.rest, BOOKMARKED) == [draft["id"]]


def test_moderators_keep_bookmarks_of_what_they_still_see(tenant: Tenant, other: Person) -> None:
    story = story_of(other)
    put(tenant.rest, story, "bookmark")
    put_into_state(tenant, story, 6)
    assert reading(tenant.rest, story)["isBookmarked"]
    assert listed(tenant.rest, BOOKMARKED) == [story["id"]]


# Progress ------------------------------------------------------------------------------------------------------------


def test_progress_is_set_and_read_and_leaves_the_bookmark(tenant: Tenant, reader: Person) -> None:
    story = made(tenant, STORIES, new_story())
    chapter = made(tenant, f"{STORIES}/{story['id']}/chapters", new_chapter())
    made(tenant, f"{STORIES}/{story['id']}/submit", {}, 200)
    chapters = f"{STORIES}/{story['id']}/chapters/{chapter['id']}"
    if tenant.rest.get(chapters).json()["state"] != "STATE_PUBLISHED":
        made(tenant, f"{chapters}/submit", {}, 200)
    begun = reading(reader.rest, story)
    assert (begun["isBookmarked"], begun["storyChapterId"], begun["position"]) == (False, "", 0)
    assert not begun.get("readTime")
    put(reader.rest, story, "bookmark")
    assert not reading(reader.rest, story).get("readTime")
    put(reader.rest, story, "progress", position=0.25)
    now = put(reader.rest, story, "progress", storyChapterId=chapter["id"], position=0.5)
    assert (now["isBookmarked"], now["storyChapterId"], now["position"]) == (True, chapter["id"], 0.5)
    assert now["readTime"]
    assert reading(reader.rest, story) == now
    # Back to the body, and to its beginning.
    again = put(reader.rest, story, "progress")
    assert (again["storyChapterId"], again["position"]) == ("", 0)
    assert told(reader.rest.delete(f"{STORIES}/{story['id']}/bookmark"))["readTime"] == again["readTime"]


def test_a_place_is_in_the_story(tenant: Tenant, reader: Person) -> None:
    story, elsewhere = published(tenant), published(tenant)
    chapter = made(tenant, f"{STORIES}/{elsewhere['id']}/chapters", new_chapter())
    path = f"{STORIES}/{story['id']}/progress"
    assert reason(reader.rest.put(path, {"storyChapterId": chapter["id"]})) == ABSENT
    for position in (-0.1, 1.1):
        assert "position" in problem(reader.rest.put(path, {"position": position})).violations
    assert not reading(reader.rest, story).get("readTime")


def test_a_chapter_that_is_not_seen_is_no_place(tenant: Tenant, reader: Person) -> None:
    story = published(tenant)
    chapter = made(tenant, f"{STORIES}/{story['id']}/chapters", new_chapter())
    with database(tenant.stack) as connection:
        connection.execute("UPDATE story_chapters SET state = 1 WHERE id = %s", (chapter["id"],))
    assert reason(reader.rest.get(f"{STORIES}/{story['id']}/chapters/{chapter['id']}")) == ABSENT
    answer = reader.rest.put(f"{STORIES}/{story['id']}/progress", {"storyChapterId": chapter["id"]})
    assert reason(answer) == ABSENT


def test_a_reader_counts_once(tenant: Tenant, reader: Person, other: Person) -> None:
    story = published(tenant)
    before = trend_of(tenant, story)
    put(reader.rest, story, "progress", position=0.1)
    once = trend_of(tenant, story)
    assert once > before
    for position in (0.2, 0.3, 1):
        put(reader.rest, story, "progress", position=position)
    assert trend_of(tenant, story) == once
    put(other.rest, story, "progress", position=1)
    assert trend_of(tenant, story) > once


def test_a_reader_with_a_bookmark_counts_as_one_too(tenant: Tenant, reader: Person) -> None:
    story = published(tenant)
    put(reader.rest, story, "bookmark")
    bookmarked = trend_of(tenant, story)
    put(reader.rest, story, "bookmark")
    assert trend_of(tenant, story) == bookmarked
    put(reader.rest, story, "progress", position=0.1)
    assert trend_of(tenant, story) > bookmarked


def test_who_bookmarks_again_makes_no_trend(tenant: Tenant, reader: Person) -> None:
    story = published(tenant)
    put(reader.rest, story, "bookmark")
    once = trend_of(tenant, story)
    for _ in range(3):
        told(reader.rest.delete(f"{STORIES}/{story['id']}/bookmark"))
        put(reader.rest, story, "bookmark")
    assert trend_of(tenant, story) == once


def test_a_reader_counts_once_however_often_they_begin_at_once(tenant: Tenant, reader: Person) -> None:
    story, alone = published(tenant), published(tenant)
    with database(tenant.stack) as connection:
        # Both begin the same: what one act adds depends on what was there.
        connection.execute("UPDATE stories SET trend = 0 WHERE tenant_id = %s", (tenant.id,))
    # Who waits for this connection, and who waits for them.
    waiting = (
        "WITH first AS (SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)))"
        " SELECT pid FROM pg_stat_activity WHERE pg_blocking_pids(pid) && (%s::int || ARRAY(SELECT pid FROM first))"
    )
    with ThreadPoolExecutor(2) as pool, database(tenant.stack) as connection:
        connection.execute("SELECT id FROM stories WHERE id = %s FOR UPDATE", (story["id"],))
        both = [pool.submit(put, reader.rest, story, "progress", position=0.1) for _ in range(2)]
        own = connection.info.backend_pid
        tenant.stack.wait_for(lambda: len(rows(tenant.stack, waiting, own, own)) == 2)
        connection.commit()
    assert [each.result()["position"] for each in both] == [0.1, 0.1]
    put(reader.rest, alone, "progress", position=0.1)
    # A second act would add one: twice as much is one more as a logarithm.
    assert abs(trend_of(tenant, story) - trend_of(tenant, alone)) < 0.5


# Authors -------------------------------------------------------------------------------------------------------------


def test_who_is_followed_last_comes_first(tenant: Tenant, reader: Person, other: Person) -> None:
    path = f"{AUTHORS}/followed"
    assert listed(reader.rest, path, "authors", "userId") == []
    since = told(reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {}))
    assert since["userId"] == tenant.owner.id
    told(reader.rest.put(f"{AUTHORS}/{other.id}/follow", {}))
    # A second time changes nothing.
    assert told(reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {})) == since
    assert listed(reader.rest, path, "authors", "userId") == [other.id, tenant.owner.id]
    assert told(reader.rest.get(path))["authors"][1] == since


def test_who_is_followed_no_more_is_in_no_list(tenant: Tenant, reader: Person, other: Person) -> None:
    stories = {published(tenant)["id"], story_of(other)["id"]}
    for author in (tenant.owner.id, other.id):
        told(reader.rest.put(f"{AUTHORS}/{author}/follow", {}))
    assert set(listed(reader.rest, FEED)) == stories
    path = f"{AUTHORS}/{other.id}/follow"
    # Only who follows somebody stops.
    assert reason(tenant.rest.delete(path)) == ABSENT
    assert reader.rest.delete(path).status_code == 204
    assert reason(reader.rest.delete(path)) == ABSENT
    assert listed(reader.rest, f"{AUTHORS}/followed", "authors", "userId") == [tenant.owner.id]
    assert len(listed(reader.rest, FEED)) == 1
    query = "SELECT audience::text FROM events WHERE tenant_id = %s AND type = 'author.unfollowed'"
    assert [row["audience"] for row in rows(tenant.stack, query, tenant.id)] == [reader.id]


def test_only_members_are_followed(tenant: Tenant, reader: Person, people: Sequence[tuple[Account, Session]]) -> None:
    stranger, _ = people[1]
    for user_id in (stranger.id, tenant.id):
        assert reason(reader.rest.put(f"{AUTHORS}/{user_id}/follow", {})) == ABSENT
    assert reader.rest.put(f"{AUTHORS}/nobody/follow", {}).status_code in (400, 422)
    assert listed(reader.rest, f"{AUTHORS}/followed", "authors", "userId") == []


def test_a_reader_follows_a_thousand_authors_at_most(tenant: Tenant, reader: Person) -> None:
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO author_follows (tenant_id, user_id, author_id, follow_time)"
            " SELECT %s, %s, gen_random_uuid(), now() FROM generate_series(1, 1000)",
            (tenant.id, reader.id),
        )
    path = f"{AUTHORS}/{tenant.owner.id}/follow"
    assert problem(reader.rest.put(path, {})).code == 9
    assert len(listed(reader.rest, f"{AUTHORS}/followed", "authors", "userId", size=200)) == 1_000
    with database(tenant.stack) as connection:
        connection.execute(
            "DELETE FROM author_follows WHERE ctid = (SELECT ctid FROM author_follows WHERE tenant_id = %s LIMIT 1)",
            (tenant.id,),
        )
    told(reader.rest.put(path, {}))
    # Who is followed already is so still.
    told(reader.rest.put(path, {}))


def test_the_limit_of_authors_has_a_reason_of_its_own(tenant: Tenant, reader: Person) -> None:
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO author_follows (tenant_id, user_id, author_id, follow_time)"
            " SELECT %s, %s, gen_random_uuid(), now() FROM generate_series(1, 1000)",
            (tenant.id, reader.id),
        )
    answer = reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {})
    assert reason(answer) == (409, "LIMIT_REACHED")


def test_the_feed_has_the_stories_of_followed_authors_newest_first(
    tenant: Tenant, reader: Person, other: Person
) -> None:
    # Published in another order than they were created.
    late = made(tenant, STORIES, new_story())
    early = published(tenant)
    theirs = story_of(other)
    made(tenant, f"{STORIES}/{late['id']}/submit", {}, 200)
    draft = made(tenant, STORIES, new_story())
    assert listed(reader.rest, FEED) == []
    told(reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {}))
    assert listed(reader.rest, FEED) == [late["id"], early["id"]]
    told(reader.rest.put(f"{AUTHORS}/{other.id}/follow", {}))
    for size in (1, 2, 200):
        assert listed(reader.rest, FEED, size=size) == [late["id"], theirs["id"], early["id"]]
    assert listed(other.rest, FEED) == []
    made(tenant, f"{STORIES}/{draft['id']}/submit", {}, 200)
    assert listed(reader.rest, FEED)[0] == draft["id"]


def test_stories_published_in_one_moment_are_each_in_the_feed_once(tenant: Tenant, reader: Person) -> None:
    stories = [published(tenant) for _ in range(4)]
    with database(tenant.stack) as connection:
        connection.execute("UPDATE stories SET publish_time = now() WHERE tenant_id = %s", (tenant.id,))
    told(reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {}))
    assert listed(reader.rest, FEED) == sorted((each["id"] for each in stories), reverse=True)


# For oneself ---------------------------------------------------------------------------------------------------------


def test_nobody_sees_what_somebody_else_reads(tenant: Tenant, reader: Person, other: Person) -> None:
    story = published(tenant)
    put(reader.rest, story, "bookmark")
    put(reader.rest, story, "progress", position=0.5)
    told(reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {}))
    # The owner of the tenant, who wrote the story, sees it no more than others do.
    for rest in (other.rest, tenant.rest):
        seen = reading(rest, story)
        assert (seen["isBookmarked"], seen["position"], seen.get("readTime")) == (False, 0, None)
        assert listed(rest, BOOKMARKED) == listed(rest, FEED) == []
        assert listed(rest, f"{AUTHORS}/followed", "authors", "userId") == []
    # What one of them does changes nothing for the other.
    told(other.rest.delete(f"{STORIES}/{story['id']}/bookmark"))
    assert reason(other.rest.delete(f"{AUTHORS}/{tenant.owner.id}/follow")) == ABSENT
    assert reading(reader.rest, story)["isBookmarked"]
    assert listed(reader.rest, FEED) == [story["id"]]
    # A token of one is none of the other.
    put(reader.rest, published(tenant), "bookmark")
    token = told(reader.rest.get(BOOKMARKED, {"pageSize": 1}))["nextPageToken"]
    assert reason(other.rest.get(BOOKMARKED, {"pageSize": 1, "pageToken": token})) == (400, "PAGE_TOKEN_INVALID")


def test_events_of_reading_are_for_the_reader_alone(tenant: Tenant, reader: Person) -> None:
    story = published(tenant)
    put(reader.rest, story, "bookmark")
    put(reader.rest, story, "progress", position=0.5)
    told(reader.rest.delete(f"{STORIES}/{story['id']}/bookmark"))
    told(reader.rest.put(f"{AUTHORS}/{tenant.owner.id}/follow", {}))
    query = (
        "SELECT type, audience::text FROM events WHERE tenant_id = %s AND actor_id = %s"
        " AND (type LIKE 'story.%%' OR type LIKE 'author.%%') ORDER BY id"
    )
    found = rows(tenant.stack, query, tenant.id, reader.id)
    assert [row["type"] for row in found] == [
        *("story.read", "story.read", "story.bookmark_removed", "author.followed")
    ]
    assert {row["audience"] for row in found} == {reader.id}


def test_reading_stays_in_its_tenant(tenant: Tenant) -> None:
    story = published(tenant)
    put(tenant.rest, story, "bookmark")
    # The same person in another tenant.
    elsewhere = another_tenant(tenant)
    assert listed(elsewhere.rest, BOOKMARKED) == []
    for answer in (
        elsewhere.rest.get(f"{STORIES}/{story['id']}/reading"),
        elsewhere.rest.put(f"{STORIES}/{story['id']}/bookmark", {}),
        elsewhere.rest.put(f"{STORIES}/{story['id']}/progress", {}),
    ):
        assert reason(answer) == ABSENT


def test_a_service_reads_too(tenant: Tenant, reader: Person) -> None:
    story = published(tenant)
    service = stubs(tenant.stack, reader.token)["plinth.stories.v1.StoryReadingService"]
    service.SetStoryProgress(story_reading_pb2.SetStoryProgressRequest(story_id=story["id"], position=0.5))
    asked = story_reading_pb2.GetStoryReadingRequest(story_id=story["id"])
    assert service.GetStoryReading(asked).position == 0.5
    absent = story_reading_pb2.FollowAuthorRequest(user_id=tenant.id)
    assert refused(lambda: service.FollowAuthor(absent)).code == 5
