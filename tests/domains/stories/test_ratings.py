"""Ratings: one by each person, what they add up to, and what becomes of a sudden rush of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from plinth.stories.v1 import story_rating_pb2

from tests.clients import (
    Account,
    Rest,
    Session,
    Tenant,
    another_tenant,
    database,
    log_in,
    new_tenant,
    problem,
    reason,
    refused,
    rows,
    sign_up,
    stubs,
    switch_tenant,
)
from tests.contract.instances import made
from tests.domains.stories.instances import STORIES, new_story, published
from tests.stack import Stack

FORBIDDEN, ABSENT = (409, "STATE_FORBIDS"), (404, "RESOURCE_NOT_FOUND")
QUEUE = "/api/v1/moderation/queue"
CROWD, RUSH, MEAN = 20, 20, 3


@pytest.fixture(scope="module")
def people(stack: Stack) -> Sequence[tuple[Account, Session]]:
    """They sign in once, since that takes time, and come into the tenant of each test."""
    with ThreadPoolExecutor(4) as pool:
        accounts = list(pool.map(lambda _: sign_up(stack), range(CROWD)))
        return list(zip(accounts, pool.map(lambda account: log_in(stack, account), accounts), strict=True))


def join(tenant: Tenant, person: tuple[Account, Session], role: str = "member") -> Rest:
    account, session = person
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, %s)", (tenant.id, account.id, [role])
        )
    return Rest(tenant.stack, switch_tenant(tenant.stack, session, tenant.id).access_token)


def path_of(story: dict[str, Any]) -> str:
    return f"{STORIES}/{story['id']}/ratings"


def told(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    ratings: dict[str, Any] = answer.json()
    return ratings


def rate(rest: Rest, story: dict[str, Any], stars: int) -> dict[str, Any]:
    return told(rest.put(path_of(story), {"stars": stars}))


def crowd(tenant: Tenant, story: dict[str, Any], count: int, stars: int = 4, minutes: int = 1) -> None:
    """Ratings of many others, some time ago. By SQL: nobody needs to sign up for them."""
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO story_ratings (tenant_id, story_id, user_id, stars, update_time)"
            " SELECT %s, %s, gen_random_uuid(), %s, now() - %s * interval '1 minute' FROM generate_series(1, %s)",
            (tenant.id, story["id"], stars, minutes, count),
        )
        connection.execute(
            "UPDATE stories SET rating_counts[%s] = rating_counts[%s] + %s WHERE id = %s",
            (stars, stars, count, story["id"]),
        )


def check(ratings: dict[str, Any], *stars: int) -> None:
    """The ratings that count are exactly these."""
    count, total = len(stars), sum(stars)
    assert ratings["count"] == count
    assert ratings["histogram"] == [stars.count(each) for each in range(1, 6)]
    assert ratings["average"] == pytest.approx(total / count if count else 0)
    assert ratings["score"] == pytest.approx((10 * MEAN + total) / (10 + count) if count else 0)


def trend_of(tenant: Tenant, story: dict[str, Any]) -> float:
    [row] = rows(tenant.stack, "SELECT trend FROM stories WHERE id = %s", story["id"])
    return float(row["trend"])


# One by each person --------------------------------------------------------------------------------------------------


def test_a_rating_is_set_changed_and_taken_back(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story = published(tenant)
    first, second = join(tenant, people[0]), join(tenant, people[1])
    check(told(first.get(path_of(story))))
    # Twice: the second changes nothing.
    for _ in range(2):
        check(rate(first, story, 5), 5)
    check(rate(second, story, 2), 5, 2)
    ratings = rate(first, story, 4)
    check(ratings, 4, 2)
    assert (ratings["own"], ratings["isHeld"]) == (4, False)
    for rest, own in ((first, 4), (second, 2), (tenant.rest, 0)):
        ratings = told(rest.get(path_of(story)))
        check(ratings, 4, 2)
        assert ratings["own"] == own
    for _ in range(2):
        ratings = told(first.delete(path_of(story)))
        check(ratings, 2)
        assert ratings["own"] == 0
    check(told(second.delete(path_of(story))))


def test_a_story_tells_what_people_think_of_it(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    one = f"{STORIES}/{story['id']}"
    # Read before, so that it is cached.
    before = rest.get(one).json()
    assert (before["ratingCount"], before["ratingAverage"]) == (0, 0)
    rate(rest, story, 5)
    after = rest.get(one).json()
    assert (after["ratingCount"], after["ratingAverage"]) == (1, 5)
    assert after["ratingScore"] == pytest.approx((10 * MEAN + 5) / 11)
    # A rating is no new version of the story.
    assert after["etag"] == before["etag"]


def test_a_single_five_does_not_come_before_many_fours(
    tenant: Tenant, people: Sequence[tuple[Account, Session]]
) -> None:
    rest = join(tenant, people[0])
    single, many, bad, none = (published(tenant) for _ in range(4))
    crowd(tenant, many, 19)
    crowd(tenant, bad, 5, stars=1)
    rate(rest, single, 5)
    check(rate(rest, many, 4), *[4] * 20)
    check(rate(rest, bad, 1), *[1] * 6)
    found = rest.get(STORIES, {"orderBy": "rating_score desc"}).json()["stories"]
    assert [each["id"] for each in found] == [many["id"], single["id"], bad["id"], none["id"]]


def test_the_score_leans_on_the_mean_of_the_tenant(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    with database(tenant.stack) as connection:
        connection.execute("INSERT INTO story_means (tenant_id, rating_mean) VALUES (%s, 4.5)", (tenant.id,))
    assert rate(rest, story, 1)["score"] == pytest.approx((45 + 1) / 11)


@pytest.mark.parametrize("stars", [0, 6, -1, 2.5, None])
def test_stars_are_from_one_to_five(
    tenant: Tenant, people: Sequence[tuple[Account, Session]], stars: float | None
) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    answer = rest.put(path_of(story), {} if stars is None else {"stars": stars})
    assert problem(answer).code == 3
    check(told(rest.get(path_of(story))))


def test_nobody_rates_their_own_story(tenant: Tenant) -> None:
    story = published(tenant)
    answer = tenant.rest.put(path_of(story), {"stars": 5})
    assert reason(answer) == FORBIDDEN
    assert problem(answer).metadata["state"] == "OWN"
    check(told(tenant.rest.get(path_of(story))))


def test_only_what_is_published_is_rated(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    rest = join(tenant, people[0])
    # A moderator sees the draft of somebody else, and rates it no more than others do.
    draft = rest.post(STORIES, new_story()).json()
    assert reason(tenant.rest.put(path_of(draft), {"stars": 5})) == FORBIDDEN
    story = published(tenant)
    rate(rest, story, 5)
    made(tenant, f"{STORIES}/{story['id']}/unpublish", {}, 200)
    for answer in (
        rest.put(path_of(story), {"stars": 4}),
        rest.get(path_of(story)),
        rest.delete(path_of(story)),
        rest.put(path_of({"id": tenant.id}), {"stars": 4}),
    ):
        assert reason(answer) == ABSENT
    check(told(tenant.rest.get(path_of(story))), 5)


def test_who_only_reads_sees_ratings_and_gives_none(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, viewer = published(tenant), join(tenant, people[0], "viewer")
    check(told(viewer.get(path_of(story))))
    assert viewer.put(path_of(story), {"stars": 5}).status_code == 403
    assert viewer.delete(path_of(story)).status_code == 403
    stranger = another_tenant(tenant).rest
    assert reason(stranger.get(path_of(story))) == ABSENT
    assert reason(stranger.put(path_of(story), {"stars": 5})) == ABSENT


def test_twenty_people_at_once_are_all_counted(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story = published(tenant)
    everybody = [join(tenant, each) for each in people]
    stars = [1 + number % 5 for number in range(CROWD)]
    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda each: rate(each[0], story, each[1]), zip(everybody, stars, strict=True)))
    assert sorted(each["count"] for each in answers) == [*range(1, CROWD + 1)]
    check(told(tenant.rest.get(path_of(story))), *stars)

    # Some take it back while others change it.
    def change(number: int) -> None:
        rest = everybody[number]
        told(rest.delete(path_of(story))) if number % 2 else rate(rest, story, 5)

    with ThreadPoolExecutor(CROWD) as pool:
        list(pool.map(change, range(CROWD)))
    check(told(tenant.rest.get(path_of(story))), *[5] * (CROWD // 2))


def test_a_rating_is_an_act_once(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    before = trend_of(tenant, story)
    rate(rest, story, 5)
    assert trend_of(tenant, story) > before


def test_who_rates_again_makes_no_trend(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    rate(rest, story, 5)
    once = trend_of(tenant, story)
    for stars in (5, 4, 5):
        rate(rest, story, stars)
    assert trend_of(tenant, story) == once


# Rushes --------------------------------------------------------------------------------------------------------------


def waiting(tenant: Tenant) -> list[dict[str, Any]]:
    """What is in the queue."""
    found: list[dict[str, Any]] = tenant.rest.get(QUEUE).json()["moderationItems"]
    return found


def moderator_of(tenant: Tenant, person: tuple[Account, Session]) -> Rest:
    """Somebody else than the author, who decides."""
    return join(tenant, person, "editor")


def test_the_first_twenty_ratings_of_an_hour_count(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    crowd(tenant, story, RUSH - 1)
    ratings = rate(rest, story, 4)
    check(ratings, *[4] * RUSH)
    assert not ratings["isHeld"]
    assert waiting(tenant) == []


def test_ratings_of_another_hour_are_no_rush(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    crowd(tenant, story, 5 * RUSH, minutes=61)
    assert not rate(rest, story, 4)["isHeld"]
    assert waiting(tenant) == []


def test_many_ratings_are_no_rush_where_they_are_usual(
    tenant: Tenant, people: Sequence[tuple[Account, Session]]
) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    crowd(tenant, story, RUSH)
    # Five times as many as now in each hour of a month: 20 / 5 * 719 are as many as that.
    crowd(tenant, story, 719 * RUSH // 5, minutes=24 * 60)
    assert not rate(rest, story, 4)["isHeld"]
    assert waiting(tenant) == []


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_rush_waits_for_a_moderator(tenant: Tenant, people: Sequence[tuple[Account, Session]], decision: str) -> None:
    story = published(tenant)
    moderator, first, second, third = moderator_of(tenant, people[0]), *(join(tenant, each) for each in people[1:4])
    crowd(tenant, story, RUSH - 1)
    rate(first, story, 4)
    # From here on they are held: the raters see their own, and nobody counts it.
    for rest, stars in ((second, 1), (third, 2), (second, 5)):
        ratings = rate(rest, story, stars)
        assert (ratings["own"], ratings["isHeld"]) == (stars, True)
        check(ratings, *[4] * RUSH)
    assert not told(first.get(path_of(story)))["isHeld"]
    [item] = waiting(tenant)
    assert (item["kind"], item["storyId"], item["subjectId"]) == ("KIND_RUSH", story["id"], story["id"])
    body: dict[str, Any] = {"etag": item["etag"], "reason": "Planted.", "rule": "ratings"}
    decide = f"{QUEUE}/{item['id']}/{decision}"
    if decision == "approve":
        del body["rule"]
    # Nobody decides about ratings of their own story.
    assert tenant.rest.post(decide, body).status_code == 403
    decided = moderator.post(decide, body)
    assert decided.status_code == 200, decided.text
    assert waiting(tenant) == []
    held = [2, 5] if decision == "approve" else []
    check(told(second.get(path_of(story))), *[4] * RUSH, *held)
    ratings = told(second.get(path_of(story)))
    assert (ratings["own"], ratings["isHeld"]) == (5 if held else 0, False)
    assert tenant.rest.get(f"{STORIES}/{story['id']}").json()["ratingCount"] == RUSH + len(held)


def test_a_further_rating_opens_the_item_again(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story = published(tenant)
    moderator, first, second = moderator_of(tenant, people[0]), *(join(tenant, each) for each in people[1:3])
    crowd(tenant, story, RUSH)
    rate(first, story, 1)
    [item] = waiting(tenant)
    assert moderator.post(f"{QUEUE}/{item['id']}/approve", {"etag": item["etag"]}).is_success
    assert rate(second, story, 1)["isHeld"]
    [again] = waiting(tenant)
    assert again["id"] == item["id"]
    # One that is held and taken back leaves nothing.
    check(told(second.delete(path_of(story))), *[4] * RUSH, 1)


def test_a_change_of_a_rating_that_counts_is_no_rush(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    rate(rest, story, 5)
    crowd(tenant, story, RUSH)
    check(rate(rest, story, 4), *[4] * (RUSH + 1))
    assert waiting(tenant) == []


# Events and gRPC -----------------------------------------------------------------------------------------------------


def test_others_are_not_told_who_gave_how_many_stars(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> None:
    story, rest = published(tenant), join(tenant, people[0])
    rate(rest, story, 2)
    query = "SELECT payload, audience FROM events WHERE tenant_id = %s AND type = 'story.rated'"
    [event] = rows(tenant.stack, query, tenant.id)
    payload = story_rating_pb2.StoryRatings.FromString(event["payload"])
    assert payload.count == 1
    assert event["audience"] is not None or not payload.own


def test_a_service_rates_and_is_told_why_not(stack: Stack, people: Sequence[tuple[Account, Session]]) -> None:
    tenant = new_tenant(stack)
    story = published(tenant)
    join(tenant, people[0])
    token = switch_tenant(stack, people[0][1], tenant.id).access_token
    service = "plinth.stories.v1.StoryRatingService"
    rater, author = stubs(stack, token)[service], tenant.stubs[service]
    request = story_rating_pb2.RateStoryRequest(story_id=story["id"], stars=3)
    ratings = rater.RateStory(request)
    assert (ratings.count, ratings.own, list(ratings.histogram)) == (1, 3, [0, 0, 1, 0, 0])
    assert refused(lambda: author.RateStory(request)).code == 9
    deleted = rater.DeleteStoryRating(story_rating_pb2.DeleteStoryRatingRequest(story_id=story["id"]))
    assert (deleted.count, deleted.own) == (0, 0)
