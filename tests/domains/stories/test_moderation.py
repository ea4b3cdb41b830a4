"""Moderation: the queue, claims and decisions, reports and what they weigh, appeals, the public log and figures."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from plinth.stories.v1.moderation_item_pb2 import ApproveModerationItemRequest, ModerationItem

from tests.clients import Tenant, database, new_tenant, problem, reason, refused, rows
from tests.domains.stories.test_stories import (
    ABSENT,
    FORBIDDEN,
    QUEUE,
    STALE,
    Person,
    approved,
    at,
    chapter_of,
    decide,
    drafted,
    in_story,
    key,
    owner,
    person,
    published,
    review,
    submitted,
    waiting,
)
from tests.stack import wait_for

DECISIONS, LOG, STATS = (f"/api/v1/moderation/{name}" for name in ("decisions", "log", "stats"))
PERMISSION_DENIED = 7
SERVICE = "plinth.stories.v1.ModerationItemService"


@pytest.fixture
def author(tenant: Tenant) -> Person:
    """Somebody who writes."""
    return person(tenant, "member")


@pytest.fixture
def reader(tenant: Tenant) -> Person:
    """Somebody who reads, and reports."""
    return person(tenant, "member")


@pytest.fixture
def moderator(tenant: Tenant) -> Person:
    """Somebody who moderates."""
    return person(tenant, "editor")


@pytest.fixture
def colleague(tenant: Tenant) -> Person:
    """Somebody else who moderates."""
    return person(tenant, "editor")


def lesser(tenant: Tenant) -> Person:
    """Somebody who moderates, and does not get what is left to others."""
    permissions = ["stories.stories.read", "stories.moderation.read", "stories.moderation.decide"]
    role = owner(tenant).post("rbac/roles", {"name": "lesser-moderator", "permissions": permissions})
    return person(tenant, role["name"])


def item_at(item: dict[str, Any], verb: str = "") -> str:
    """Where an item is, or what is done with it."""
    return "/".join(filter(None, (QUEUE, item["id"], verb)))


def queue(moderator: Person, **query: Any) -> list[str]:
    """The titles of the items in the queue."""
    return [each["title"] for each in moderator.get(QUEUE, **query)["moderationItems"]]


def report(someone: Person, story: dict[str, Any], why: str = "SPAM", **fields: Any) -> dict[str, Any]:
    """Report a story."""
    return someone.post(at(story, "report"), {"reason": f"REASON_{why}"} | fields)


def reported(moderator: Person, subject: dict[str, Any]) -> dict[str, Any]:
    """The item of the reports of something."""
    return waiting(moderator, subject, "REPORT")


def reports_of(moderator: Person, item: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    """The reports of an item."""
    found: list[dict[str, Any]] = moderator.get(item_at(item, "reports"), **query)["storyReports"]
    return found


def give_record(tenant: Tenant, someone: Person, *, agreed: int = 0, disagreed: int = 0) -> None:
    """The record of many former reports, which no test has the time to make."""
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO story_reporters (tenant_id, user_id, agreed, disagreed, ignored) VALUES (%s, %s, %s, %s, 0)",
            (tenant.id, someone.id, agreed, disagreed),
        )


def record_of(tenant: Tenant, someone: Person) -> tuple[int, int, int]:
    """How somebody's reports were decided: agreed, disagreed, ignored."""
    [row] = rows(
        tenant.stack,
        "SELECT agreed, disagreed, ignored FROM story_reporters WHERE tenant_id = %s AND user_id = %s",
        *(tenant.id, someone.id),
    )
    return row["agreed"], row["disagreed"], row["ignored"]


def decision_of(author: Person) -> dict[str, Any]:
    """The last decision about somebody's work."""
    found: dict[str, Any] = author.get(DECISIONS)["moderationDecisions"][0]
    return found


def removed(author: Person, reader: Person, moderator: Person) -> dict[str, Any]:
    """A story that a moderator has removed."""
    story = published(author, moderator)
    report(reader, story)
    decide(moderator, reported(moderator, story), "reject", reason="Spam.", rule="No spam")
    return author.get(at(story))


# The queue -----------------------------------------------------------------------------------------------------------


def test_what_was_reported_most_comes_first_and_only_what_waits(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    second = person(tenant, "member")
    once, twice = (published(author, moderator, title) for title in ("Once", "Twice"))
    submitted(author, "Waits first")
    submitted(author, "Waits second")
    report(reader, once)
    for someone in (reader, second):
        report(someone, twice)
    # By score, and what has waited longest first. What is decided waits no more.
    assert queue(moderator) == ["Twice", "Once", "Waits first", "Waits second"]
    assert queue(moderator, filter="state = APPROVED", orderBy="create_time") == ["Once", "Twice"]
    assert queue(moderator, filter="kind = REPORT AND score > 1") == ["Twice"]
    assert queue(moderator, orderBy="create_time desc", pageSize=1) == ["Twice"]
    page = moderator.get(QUEUE, pageSize=2, includeTotal=True)
    assert page["totalSize"] == 4
    assert queue(moderator, pageSize=2, pageToken=page["nextPageToken"]) == ["Waits first", "Waits second"]
    moderator.post(item_at(reported(moderator, once), "claim"))
    assert queue(moderator, filter="state = CLAIMED") == ["Once"]
    assert "Once" in queue(moderator)


def test_moderators_alone_see_the_queue(tenant: Tenant, author: Person, reader: Person, moderator: Person) -> None:
    item = waiting(moderator, submitted(author))
    for someone in (author, reader, person(tenant, "viewer"), key(tenant)):
        for path in (QUEUE, item_at(item), item_at(item, "reports"), STATS):
            assert someone.status(path) == 403
        assert someone.rest.post(item_at(item, "claim"), {}).status_code == 403
        assert someone.rest.post(item_at(item, "approve"), {"etag": item["etag"]}).status_code == 403
    stranger = owner(new_tenant(tenant.stack))
    assert stranger.status(item_at(item)) == 404
    assert stranger.rest.post(item_at(item, "claim"), {}).status_code == 404
    assert queue(stranger) == []


def test_an_item_says_what_it_is_about(author: Person, reader: Person, moderator: Person) -> None:
    story = published(author, moderator, "Fog")
    comment = reader.post(at(story, "comments"), {"body": f"<p>Buy <b>now</b>!</p><p>{'x' * 300}</p>"})
    author.post(at(story, "report"), {"reason": "REASON_SPAM", "storyCommentId": comment["id"]})
    item = reported(moderator, comment)
    assert (item["kind"], item["subjectKind"], item["state"]) == ("KIND_REPORT", "MODERATED_KIND_COMMENT", "STATE_OPEN")
    assert (item["subjectId"], item["storyId"], item["authorId"]) == (comment["id"], story["id"], reader.id)
    assert item["title"].startswith("Buy now! xxx")
    assert len(item["title"]) == 200
    assert (item["score"], item["reportCount"]) == (1, 1)


# Claims and decisions ------------------------------------------------------------------------------------------------


def test_who_claims_an_item_has_it_alone(author: Person, moderator: Person, colleague: Person) -> None:
    item = waiting(moderator, submitted(author))
    claimed = moderator.post(item_at(item, "claim"))
    assert (claimed["state"], claimed["claimedBy"]) == ("STATE_CLAIMED", moderator.id)
    assert claimed["claimExpireTime"]
    etag = {"etag": claimed["etag"]}
    for verb, body in (("claim", {}), ("approve", etag), ("reject", etag | {"reason": "x"}), ("escalate", etag)):
        answer = colleague.rest.post(item_at(item, verb), body)
        assert (reason(answer), problem(answer).metadata["state"]) == (FORBIDDEN, "CLAIMED"), verb
    assert reason(colleague.rest.post(item_at(item, "release"), {})) == FORBIDDEN
    # Again it begins anew.
    assert moderator.post(item_at(item, "claim"))["claimExpireTime"] > claimed["claimExpireTime"]
    assert moderator.post(item_at(item, "release"))["state"] == "STATE_OPEN"
    assert reason(moderator.rest.post(item_at(item, "release"), {})) == FORBIDDEN
    assert colleague.post(item_at(item, "claim"))["claimedBy"] == colleague.id
    # Who has claimed it needs no ETag.
    done = colleague.post(item_at(item, "approve"))
    assert (done["state"], done["claimedBy"], "claimExpireTime" in done) == ("STATE_APPROVED", "", False)


def test_a_claim_lasts_15_minutes(tenant: Tenant, author: Person, moderator: Person, colleague: Person) -> None:
    item = waiting(moderator, submitted(author))
    moderator.post(item_at(item, "claim"))
    [left] = rows(
        tenant.stack,
        "SELECT extract(epoch FROM claim_expire_time - update_time) AS seconds FROM moderation_items WHERE id = %s",
        item["id"],
    )
    assert float(left["seconds"]) == pytest.approx(15 * 60, abs=30)
    with database(tenant.stack) as connection:
        connection.execute(
            "UPDATE moderation_items SET claim_expire_time = now() - interval '1 second' WHERE id = %s", (item["id"],)
        )
    # Whose claim is over decides no more without an ETag.
    assert not moderator.rest.post(item_at(item, "approve"), {}).is_success
    assert colleague.post(item_at(item, "claim"))["claimedBy"] == colleague.id
    answer = moderator.rest.post(item_at(item, "claim"), {})
    assert problem(answer).metadata["state"] == "CLAIMED"


def test_of_two_moderators_at_once_one_decides(
    tenant: Tenant, author: Person, moderator: Person, colleague: Person
) -> None:
    for _ in range(3):
        story = submitted(author)
        item = waiting(moderator, story)

        def approve(someone: Person, item: dict[str, Any] = item) -> int:
            return someone.rest.post(item_at(item, "approve"), {"etag": item["etag"]}).status_code

        def reject(someone: Person, item: dict[str, Any] = item) -> int:
            return someone.rest.post(item_at(item, "reject"), {"etag": item["etag"], "reason": "No."}).status_code

        with ThreadPoolExecutor(2) as threads:
            first, second = threads.submit(approve, moderator), threads.submit(reject, colleague)
            results = (first.result(), second.result())
        assert min(results) == 200
        assert max(results) in (409, 412)
        query = "SELECT count(*) AS n FROM moderation_decisions WHERE tenant_id = %s AND subject_id = %s"
        assert rows(tenant.stack, query, tenant.id, story["id"]) == [{"n": 1}]
        expected = "STATE_PUBLISHED" if results[0] == 200 else "STATE_REJECTED"
        assert author.get(at(story))["state"] == expected


def test_of_two_moderators_at_once_one_gets_the_claim(author: Person, moderator: Person, colleague: Person) -> None:
    item = waiting(moderator, submitted(author))
    with ThreadPoolExecutor(2) as threads:
        answers = list(
            threads.map(lambda someone: someone.rest.post(item_at(item, "claim"), {}), (moderator, colleague))
        )
    assert sorted(answer.status_code for answer in answers) == [200, 409]


def test_a_decision_needs_the_item_as_it_is(author: Person, moderator: Person) -> None:
    story = submitted(author)
    item = waiting(moderator, story)
    moderator.post(item_at(item, "claim"))
    author.patch(at(story), title="Changed")
    # The claim is over: its holder has not seen what has come.
    changed = moderator.get(item_at(item))
    assert (changed["state"], changed["claimedBy"], changed["title"]) == ("STATE_OPEN", "", "Changed")
    assert not moderator.rest.post(item_at(item, "approve"), {}).is_success
    assert reason(moderator.rest.post(item_at(item, "approve"), {"etag": item["etag"]})) == STALE
    assert author.get(at(story))["state"] == "STATE_SUBMITTED"
    decide(moderator, changed, "approve")
    assert author.get(at(story))["title"] == "Changed"


@pytest.mark.parametrize("kind", ["story", "chapter", "comment"])
def test_what_was_reported_and_reads_otherwise_now_is_not_decided_unseen(
    tenant: Tenant, author: Person, reader: Person, moderator: Person, kind: str
) -> None:
    chapter = chapter_shown(author, moderator)
    story = at({"id": chapter["storyId"]})
    comment = author.post(f"{story}/comments", {"body": "<p>Bad.</p>"})
    path, about = {
        "story": (story, {}),
        "chapter": (in_story(chapter), {"storyChapterId": chapter["id"]}),
        "comment": (f"{story}/comments/{comment['id']}", {"storyCommentId": comment["id"]}),
    }[kind]
    # From now on changes of the author are shown at once.
    review(tenant, "NONE")
    assert reader.rest.post(f"{story}/report", {"reason": "REASON_SPAM", **about}).status_code == 201
    [item] = moderator.get(QUEUE)["moderationItems"]
    moderator.post(item_at(item, "claim"))
    author.patch(path, body="<p>Something else.</p>")
    [changed] = moderator.get(QUEUE)["moderationItems"]
    assert (changed["state"], changed["claimedBy"], changed["reportCount"]) == ("STATE_OPEN", "", 1)
    for verb, words in (("approve", {}), ("reject", {"reason": "x"}), ("ignore", {})):
        assert reason(moderator.rest.post(item_at(item, verb), {"etag": item["etag"], **words})) == STALE
        assert reason(moderator.rest.post(item_at(item, verb), words)) == FORBIDDEN
    assert author.get(path)["state"] in {"STATE_PUBLISHED", "STATE_VISIBLE"}
    assert decide(moderator, changed, "reject", reason="x")["state"] == "STATE_REJECTED"
    assert author.get(path)["state"] == "STATE_REMOVED"


def test_a_decision_needs_an_etag_or_a_claim(author: Person, moderator: Person) -> None:
    item = waiting(moderator, submitted(author))
    request = ApproveModerationItemRequest(moderation_item_id=item["id"])
    problem_of = refused(lambda: moderator.stubs[SERVICE].ApproveModerationItem(request))
    assert (problem_of.code, problem_of.metadata["state"]) == (9, "UNCLAIMED")


def test_the_etag_of_a_decision_may_be_a_header(author: Person, moderator: Person) -> None:
    story = submitted(author)
    item = waiting(moderator, story)
    answer = moderator.rest.post(item_at(item, "approve"), {}, headers={"if-match": item["etag"]})
    assert answer.status_code == 200, answer.text


def test_nobody_decides_about_their_own_work(tenant: Tenant, reader: Person, moderator: Person) -> None:
    story = submitted(moderator)
    report(reader, story)
    item = reported(moderator, story)
    for verb in ("approve", "reject", "ignore"):
        body = {"etag": item["etag"]} | ({"reason": "x"} if verb == "reject" else {})
        answer = moderator.rest.post(item_at(item, verb), body)
        assert (answer.status_code, problem(answer).metadata["state"]) == (403, "OWN")
    assert moderator.rest.post(item_at(item, "claim"), {}).status_code == 403
    decide(owner(tenant), item, "approve")


def test_what_is_escalated_is_left_to_others(tenant: Tenant, author: Person, moderator: Person) -> None:
    junior = lesser(tenant)
    story = submitted(author)
    item = waiting(junior, story)
    claimed = junior.post(item_at(item, "claim"))
    left = junior.post(item_at(item, "escalate"), {"note": "It may be illegal."})
    assert (left["isEscalated"], left["note"], left["state"]) == (True, "It may be illegal.", "STATE_OPEN")
    assert (claimed["claimedBy"], left["claimedBy"]) == (junior.id, "")
    etag = {"etag": left["etag"]}
    for verb, body in (("claim", {}), ("approve", etag), ("reject", etag | {"reason": "x"})):
        answer = junior.rest.post(item_at(item, verb), body)
        assert answer.status_code == 403
        assert problem(answer).metadata["permission"] == "stories.settings.update"
    # A change of the story leaves it where it is.
    author.patch(at(story), title="Other")
    again = waiting(moderator, story)
    assert (again["isEscalated"], again["note"]) == (True, "It may be illegal.")


def test_those_with_the_permission_decide_what_was_left_to_them(
    tenant: Tenant, author: Person, moderator: Person
) -> None:
    junior = lesser(tenant)
    story = submitted(author)
    left = junior.post(item_at(waiting(junior, story), "escalate"), {"etag": waiting(junior, story)["etag"]})
    decide(moderator, left, "reject", reason="Illegal.")
    # What comes after the decision is for all of them.
    author.post(at(story, "submit"))
    fresh = waiting(junior, story)
    assert (fresh["id"], fresh["isEscalated"], fresh["note"]) == (left["id"], False, "")
    decide(junior, fresh, "approve")


def test_a_rejection_needs_a_reason(author: Person, moderator: Person) -> None:
    item = waiting(moderator, submitted(author))
    for body in ({}, {"reason": ""}):
        answer = moderator.rest.post(item_at(item, "reject"), body | {"etag": item["etag"]})
        assert "reason" in problem(answer).violations
    assert moderator.rest.post(item_at(item, "reject"), {"reason": "x" * 1001, "etag": item["etag"]}).status_code == 422
    assert decide(moderator, item, "reject", reason="Too short.", rule="Quality")["state"] == "STATE_REJECTED"


def test_only_reports_are_ignored_and_nothing_is_decided_twice(author: Person, moderator: Person) -> None:
    item = waiting(moderator, submitted(author))
    answer = moderator.rest.post(item_at(item, "ignore"), {"etag": item["etag"]})
    assert (reason(answer), problem(answer).metadata["state"]) == (FORBIDDEN, "NOT_A_REPORT")
    done = decide(moderator, item, "approve")
    for verb in ("claim", "approve", "reject", "escalate"):
        body = {} if verb == "claim" else {"etag": done["etag"]} | ({"reason": "x"} if verb == "reject" else {})
        assert problem(moderator.rest.post(item_at(item, verb), body)).metadata["state"] == "APPROVED"
    assert moderator.rest.post(f"{QUEUE}/{ABSENT}/claim", {}).status_code == 404


def test_stubs_decide_as_well(author: Person, moderator: Person) -> None:
    item = waiting(moderator, submitted(author))
    stub = moderator.stubs[SERVICE]
    request = ApproveModerationItemRequest(moderation_item_id=item["id"], etag=item["etag"])
    assert refused(lambda: author.stubs[SERVICE].ApproveModerationItem(request)).code == PERMISSION_DENIED
    assert stub.ApproveModerationItem(request).state == ModerationItem.STATE_APPROVED
    assert refused(lambda: stub.ApproveModerationItem(request)).reason == "ETAG_MISMATCH"


# Reports -------------------------------------------------------------------------------------------------------------


def test_reports_weigh_by_the_record_of_who_makes_them(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    story = published(author, moderator)
    good, bad = person(tenant, "member"), person(tenant, "member")
    give_record(tenant, good, agreed=3)
    give_record(tenant, bad, disagreed=6)
    review(tenant, "ALL", hideScore=100)
    assert [report(each, story)["weight"] for each in (reader, good, bad, moderator)] == [1, 3, 0, 6]
    item = reported(moderator, story)
    assert (item["score"], item["reportCount"]) == (10, 4)
    assert [each["weight"] for each in reports_of(moderator, item, orderBy="weight desc")] == [6, 3, 1, 0]
    assert author.get(at(story))["state"] == "STATE_PUBLISHED"


def test_reports_hide_a_story_at_the_score_of_the_settings(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    second = person(tenant, "member")
    story = published(author, moderator)
    review(tenant, "ALL", hideScore=2)
    report(reader, story)
    assert second.get(at(story))["state"] == "STATE_PUBLISHED"
    report(second, story)
    assert author.get(at(story))["state"] == "STATE_HIDDEN"
    assert second.status(at(story)) == 404
    hidden = decision_of(author)
    assert (hidden["action"], hidden["isAutomated"], hidden["moderatorId"]) == ("ACTION_HIDE", True, "")
    # It waits until a moderator decides.
    item = reported(moderator, story)
    assert (item["state"], item["score"]) == ("STATE_OPEN", 2)
    done = decide(moderator, item, "approve")
    # Behind all that waits.
    assert (done["state"], done["score"], done["reportCount"]) == ("STATE_APPROVED", -1, 0)
    assert second.get(at(story))["state"] == "STATE_PUBLISHED"


def test_the_report_of_a_moderator_and_little_more_hides(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    story = published(author, moderator)
    trusted = person(tenant, "member")
    give_record(tenant, trusted, agreed=1)
    report(moderator, story)
    assert author.get(at(story))["state"] == "STATE_PUBLISHED"
    # 6 and 2 are the 8 of the default.
    report(trusted, story)
    assert author.get(at(story))["state"] == "STATE_HIDDEN"
    assert reader.status(at(story)) == 404


def test_a_person_has_one_open_report_of_a_thing(author: Person, reader: Person, moderator: Person) -> None:
    story = published(author, moderator)
    first = report(reader, story, text="First.")
    second = report(reader, story, "HATE", text="Second.")
    assert (second["id"], second["reason"], second["text"]) == (first["id"], "REASON_HATE", "Second.")
    item = reported(moderator, story)
    assert (item["score"], item["reportCount"]) == (1, 1)
    assert [each["text"] for each in reports_of(moderator, item)] == ["Second."]
    one = moderator.get(item_at(item, f"reports/{first['id']}"))
    assert (one["userId"], one["state"]) == (reader.id, "STATE_OPEN")


def test_what_is_reported_after_a_decision_opens_the_item_with_new_reports_alone(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    second = person(tenant, "member")
    story = published(author, moderator)
    report(reader, story)
    report(second, story)
    item = reported(moderator, story)
    decide(moderator, item, "approve")
    fresh = report(reader, story)
    again = reported(moderator, story)
    assert (again["id"], again["state"], again["reportCount"]) == (item["id"], "STATE_OPEN", 1)
    # Both of the former reports were wrong, which says nothing of so few.
    assert (again["score"], fresh["weight"]) == (1, 1)
    assert [each["id"] for each in reports_of(moderator, again, filter="state = OPEN")] == [fresh["id"]]
    assert len(reports_of(moderator, again)) == 3
    decide(moderator, again, "reject", reason="Spam after all.")
    assert (record_of(tenant, reader), record_of(tenant, second)) == ((1, 1, 0), (0, 1, 0))


def test_records_of_reporters_say_how_their_reports_were_decided(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    expected = {
        "reject": ("STATE_AGREED", (1, 0, 0), "STATE_REMOVED"),
        "approve": ("STATE_DISAGREED", (1, 1, 0), "STATE_PUBLISHED"),
        "ignore": ("STATE_IGNORED", (1, 1, 1), "STATE_PUBLISHED"),
    }
    for verb, (state, record, of_story) in expected.items():
        story = published(author, moderator, verb)
        report(reader, story)
        item = reported(moderator, story)
        decide(moderator, item, verb, **({"reason": "x"} if verb == "reject" else {}))
        assert [each["state"] for each in reports_of(moderator, item)] == [state]
        assert record_of(tenant, reader) == record
        assert author.get(at(story))["state"] == of_story
    # Reports that were ignored say nothing: one agreed is worth one more.
    assert report(reader, published(author, moderator, "next"))["weight"] == 2


def test_whoever_reported_is_told_what_was_decided_and_nobody_else(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    second = person(tenant, "member")
    outcomes = {"reject": "It was removed.", "approve": "It stays.", "ignore": ""}
    for verb in outcomes:
        story = published(author, moderator, verb)
        report(reader, story)
        report(second, story)
        decide(moderator, reported(moderator, story), verb, **({"reason": "x"} if verb == "reject" else {}))
    expected = [f"{verb} \u2014 {outcome}" for verb, outcome in outcomes.items() if outcome]

    def told(someone: Person) -> list[str]:
        found = someone.rest.get("notifications", {"filter": 'workflow = "report-decision"'}).json()
        return sorted(each["body"] for each in found["notifications"])

    def has_been_told(someone: Person) -> bool:
        return told(someone) == sorted(expected)

    for someone in (reader, second):
        wait_for(partial(has_been_told, someone), what="the reporter to be told")
    assert told(author) == told(moderator) == []
    query = "SELECT audience::text AS audience, payload FROM events WHERE tenant_id = %s AND type = %s"
    found = rows(tenant.stack, query, tenant.id, "story_report.decided")
    assert sorted(row["audience"] for row in found) == sorted([reader.id, second.id] * 2)
    assert not any(moderator.id.encode() in bytes(row["payload"]) for row in found)


def test_what_was_hidden_is_shown_again_when_its_reports_are_ignored(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    story = published(author, moderator)
    review(tenant, "ALL", hideScore=1)
    report(reader, story)
    assert author.get(at(story))["state"] == "STATE_HIDDEN"
    assert decide(moderator, reported(moderator, story), "ignore")["state"] == "STATE_IGNORED"
    assert reader.get(at(story))["state"] == "STATE_PUBLISHED"


def test_what_is_not_shown_or_is_ones_own_is_not_reported(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    story, draft = published(author, moderator), drafted(author, "Draft")
    body = {"reason": "REASON_SPAM"}
    own = author.rest.post(at(story, "report"), body)
    assert (reason(own), problem(own).metadata["state"]) == (FORBIDDEN, "OWN")
    assert reader.rest.post(at(draft, "report"), body).status_code == 404
    # Moderators see it, and it is not shown.
    assert reason(moderator.rest.post(at(draft, "report"), body)) == FORBIDDEN
    assert reader.rest.post(at(story, "report"), {}).status_code == 422
    assert reader.rest.post(at(story, "report"), body | {"storyCommentId": ABSENT}).status_code == 404
    assert reader.rest.post(at(story, "report"), body | {"storyChapterId": ABSENT}).status_code == 404
    assert person(tenant, "viewer").rest.post(at(story, "report"), body).status_code == 403
    assert moderator.get(QUEUE)["moderationItems"] == []


def test_a_key_reports_nothing(tenant: Tenant, author: Person, moderator: Person) -> None:
    story = published(author, moderator)
    machine = key(tenant, "stories.reports.create", "stories.stories.read")
    answer = machine.rest.post(at(story, "report"), {"reason": "REASON_SPAM"})
    assert reason(answer) == (403, "USER_REQUIRED")


def test_an_author_is_not_told_who_reported(tenant: Tenant, author: Person, reader: Person, moderator: Person) -> None:
    story = published(author, moderator)
    filed = report(reader, story, text="The third paragraph.")
    item = reported(moderator, story)
    for path in (item_at(item), item_at(item, "reports"), item_at(item, f"reports/{filed['id']}")):
        assert author.status(path) == 403
    decide(moderator, item, "reject", reason="Spam.")
    seen = "".join(author.rest.get(path).text for path in (at(story), DECISIONS, LOG, at(story, "revisions")))
    assert reader.id not in seen
    assert "third paragraph" not in seen
    query = "SELECT type, audience::text AS audience, payload FROM events WHERE tenant_id = %s"
    told_all = [
        row["type"]
        for row in rows(tenant.stack, query, tenant.id)
        if reader.id.encode() in bytes(row["payload"]) and row["audience"] != reader.id
    ]
    assert [each for each in told_all if each.startswith(("story", "moderation"))] == []


def test_comments_are_reported_hidden_removed_and_shown_again(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    story = published(author, moderator)
    comment = reader.post(at(story, "comments"), {"body": "<p>Buy now.</p>"})
    path = at(story, f"comments/{comment['id']}")
    # Who wrote neither the comment nor the story.
    third = person(tenant, "member")
    review(tenant, "ALL", hideScore=1)
    report(author, story, storyCommentId=comment["id"])
    assert reader.get(path)["state"] == "STATE_HIDDEN"
    assert third.status(path) == 404
    assert author.get(at(story))["commentCount"] == 0
    decide(moderator, reported(moderator, comment), "ignore")
    assert third.get(path)["state"] == "STATE_VISIBLE"
    report(author, story, storyCommentId=comment["id"])
    decide(moderator, reported(moderator, comment), "reject", reason="Spam.")
    gone = reader.get(path)
    assert (gone["state"], gone["reason"]) == ("STATE_REMOVED", "Spam.")
    appeal = reader.post(f"{DECISIONS}/{decision_of(reader)['id']}/appeal", {"text": "It is a quotation."})
    decide(owner(tenant), appeal, "approve")
    assert third.get(path)["state"] == "STATE_VISIBLE"
    assert author.get(at(story))["commentCount"] == 1


def chapter_shown(author: Person, moderator: Person) -> dict[str, Any]:
    """A published chapter of a published story."""
    story = published(author, moderator)
    chapter = chapter_of(author, story, "One")
    author.post(in_story(chapter, "submit"))
    approved(moderator, chapter)
    return author.get(in_story(chapter))


def report_chapter(someone: Person, chapter: dict[str, Any]) -> dict[str, Any]:
    """Report a chapter."""
    return report(someone, {"id": chapter["storyId"]}, storyChapterId=chapter["id"])


def test_a_chapter_that_was_reported_may_stay(author: Person, reader: Person, moderator: Person) -> None:
    chapter = chapter_shown(author, moderator)
    report_chapter(reader, chapter)
    item = reported(moderator, chapter)
    assert (item["subjectKind"], item["title"], item["storyId"]) == (
        "MODERATED_KIND_CHAPTER",
        "One",
        chapter["storyId"],
    )
    decide(moderator, item, "approve")
    assert reader.get(in_story(chapter))["state"] == "STATE_PUBLISHED"


def test_a_chapter_that_was_reported_is_removed(author: Person, reader: Person, moderator: Person) -> None:
    chapter = chapter_shown(author, moderator)
    report_chapter(reader, chapter)
    decide(moderator, reported(moderator, chapter), "reject", reason="Spam.")
    assert reader.status(in_story(chapter)) == 404
    assert author.get(in_story(chapter))["reason"] == "Spam."
    # Its story stays.
    assert reader.status(at({"id": chapter["storyId"]})) == 200


def test_reports_hide_a_chapter(tenant: Tenant, author: Person, reader: Person, moderator: Person) -> None:
    chapter = chapter_shown(author, moderator)
    review(tenant, "ALL", hideScore=1)
    report_chapter(reader, chapter)
    assert reader.status(in_story(chapter)) == 404
    assert decision_of(author)["action"] == "ACTION_HIDE"
    decide(moderator, reported(moderator, chapter), "approve")
    assert reader.status(in_story(chapter)) == 200


def test_an_author_does_not_show_again_a_chapter_that_was_hidden(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    chapter = chapter_shown(author, moderator)
    review(tenant, "NONE", hideScore=1)
    report_chapter(reader, chapter)
    for verb in ("withdraw", "submit"):
        author.rest.post(in_story(chapter, verb), {})
    assert reader.status(in_story(chapter)) == 404


def test_an_author_does_not_show_again_a_chapter_that_was_removed(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    chapter = chapter_shown(author, moderator)
    review(tenant, "NONE")
    report_chapter(reader, chapter)
    decide(moderator, reported(moderator, chapter), "reject", reason="Spam.")
    author.rest.post(in_story(chapter, "submit"), {})
    assert reader.status(in_story(chapter)) == 404


def test_an_author_does_not_escape_a_decision_by_unpublishing(
    author: Person, reader: Person, moderator: Person
) -> None:
    story = published(author, moderator)
    report(reader, story)
    author.post(at(story, "unpublish"))
    decide(moderator, reported(moderator, story), "reject", reason="Spam.")
    assert author.get(at(story))["state"] == "STATE_REMOVED"


def test_what_is_gone_is_out_of_the_queue(author: Person, reader: Person, moderator: Person) -> None:
    story = published(author, moderator)
    comment = reader.post(at(story, "comments"), {"body": "<p>Buy now.</p>"})
    report(author, story, storyCommentId=comment["id"])
    assert len(moderator.get(QUEUE)["moderationItems"]) == 1
    assert reader.rest.delete(at(story, f"comments/{comment['id']}")).status_code == 204
    assert moderator.get(QUEUE)["moderationItems"] == []


# Decisions and appeals -----------------------------------------------------------------------------------------------


def test_authors_see_decisions_about_their_work_and_not_who_decided(
    author: Person, reader: Person, moderator: Person, colleague: Person
) -> None:
    story = removed(author, reader, moderator)
    found = author.get(DECISIONS)["moderationDecisions"]
    assert [each["action"] for each in found] == ["ACTION_REMOVE", "ACTION_PUBLISH"]
    removal = found[0]
    assert (removal["reason"], removal["rule"], removal["title"]) == ("Spam.", "No spam", "Fog")
    assert (removal["authorId"], removal["storyId"], removal["subjectId"]) == (author.id, story["id"], story["id"])
    path = f"{DECISIONS}/{removal['id']}"
    assert [each["moderatorId"] for each in found] == ["", ""]
    assert author.get(path)["moderatorId"] == ""
    assert colleague.get(path)["moderatorId"] == moderator.id
    listed = colleague.get(DECISIONS, authorId=author.id, filter="action = REMOVE")["moderationDecisions"]
    assert [each["moderatorId"] for each in listed] == [moderator.id]
    assert len(colleague.get(DECISIONS, authorId="-")["moderationDecisions"]) == 2
    # Empty means the caller, who has written nothing.
    assert colleague.get(DECISIONS)["moderationDecisions"] == reader.get(DECISIONS)["moderationDecisions"] == []
    assert reader.status(path) == 404
    assert reader.rest.get(DECISIONS, {"authorId": author.id}).status_code == 403


def test_authors_cannot_find_out_who_decided(author: Person, reader: Person, moderator: Person) -> None:
    removed(author, reader, moderator)

    def found(user_id: str) -> int:
        answer = author.rest.get(DECISIONS, {"filter": f'moderator_id = "{user_id}"'})
        return len(answer.json()["moderationDecisions"]) if answer.is_success else 0

    assert found(moderator.id) == found(reader.id)


def test_the_author_is_told_of_a_decision(tenant: Tenant, author: Person, reader: Person, moderator: Person) -> None:
    removed(author, reader, moderator)
    query = (
        "SELECT audience::text AS audience, payload FROM events WHERE tenant_id = %s AND type = 'moderation.decided'"
    )
    found = rows(tenant.stack, query, tenant.id)
    assert [row["audience"] for row in found] == [author.id] * 2
    assert not any(moderator.id.encode() in bytes(row["payload"]) for row in found)


def test_an_appeal_that_succeeds_shows_again_what_was_removed(
    author: Person, reader: Person, moderator: Person, colleague: Person
) -> None:
    story = removed(author, reader, moderator)
    assert story["state"] == "STATE_REMOVED"
    removal = decision_of(author)
    path = f"{DECISIONS}/{removal['id']}/appeal"
    answer = author.rest.post(path, {"text": "It is a quotation."})
    assert answer.status_code == 201, answer.text
    appeal = answer.json()
    assert (appeal["kind"], appeal["state"], appeal["text"]) == ("KIND_APPEAL", "STATE_OPEN", "It is a quotation.")
    assert (appeal["appealedDecisionId"], appeal["subjectId"]) == (removal["id"], story["id"])
    assert author.get(f"{DECISIONS}/{removal['id']}")["isAppealed"] is True
    again = author.rest.post(path, {"text": "Again."})
    assert (reason(again), problem(again).metadata["state"]) == (FORBIDDEN, "APPEALED")
    # Somebody else decides.
    for verb in ("claim", "approve", "reject"):
        body = {} if verb == "claim" else {"etag": appeal["etag"]} | ({"reason": "x"} if verb == "reject" else {})
        denied = moderator.rest.post(item_at(appeal, verb), body)
        assert (denied.status_code, problem(denied).metadata["state"]) == (403, "SAME_MODERATOR"), verb
    assert decide(colleague, appeal, "approve", reason="A quotation.")["state"] == "STATE_APPROVED"
    shown = reader.get(at(story))
    assert (shown["state"], shown["reason"]) == ("STATE_PUBLISHED", "")
    answer_to = decision_of(author)
    assert (answer_to["action"], answer_to["appealedDecisionId"]) == ("ACTION_RESTORE", removal["id"])
    # A success restricts nothing.
    nothing = author.rest.post(f"{DECISIONS}/{answer_to['id']}/appeal", {"text": "Why?"})
    assert problem(nothing).metadata["state"] == "NOT_RESTRICTING"


def test_an_appeal_that_fails_leaves_what_was_removed(
    author: Person, reader: Person, moderator: Person, colleague: Person
) -> None:
    story = removed(author, reader, moderator)
    removal = decision_of(author)
    appeal = author.post(f"{DECISIONS}/{removal['id']}/appeal", {"text": "No."})
    decide(colleague, appeal, "reject", reason="It is spam.")
    kept = author.get(at(story))
    assert (kept["state"], kept["reason"]) == ("STATE_REMOVED", "Spam.")
    failed = decision_of(author)
    assert (failed["action"], failed["appealedDecisionId"]) == ("ACTION_UPHOLD", removal["id"])
    assert author.rest.post(f"{DECISIONS}/{failed['id']}/appeal", {"text": "No."}).status_code == 409


def test_an_appeal_against_a_rejection_publishes_what_was_submitted(
    author: Person, reader: Person, moderator: Person, colleague: Person
) -> None:
    for verb, state in (("reject", "STATE_REJECTED"), ("approve", "STATE_PUBLISHED")):
        story = submitted(author, verb)
        decide(moderator, waiting(moderator, story), "reject", reason="Bad.")
        appeal = author.post(f"{DECISIONS}/{decision_of(author)['id']}/appeal", {"text": "Good."})
        decide(colleague, appeal, verb, **({"reason": "Bad."} if verb == "reject" else {}))
        assert author.get(at(story))["state"] == state
    shown = reader.get(at(story))
    assert (shown["title"], shown["reason"]) == ("approve", "")
    assert shown["publishTime"]


def test_an_appeal_publishes_nothing_that_nobody_has_read(
    author: Person, reader: Person, moderator: Person, colleague: Person
) -> None:
    story = submitted(author, body="<p>Submitted.</p>")
    decide(moderator, waiting(moderator, story), "reject", reason="Bad.")
    appeal = author.post(f"{DECISIONS}/{decision_of(author)['id']}/appeal", {"text": "Good."})
    author.patch(at(story), body="<p>Written later.</p>")
    answer = colleague.rest.post(item_at(appeal, "approve"), {"etag": appeal["etag"]})
    assert not answer.is_success or reader.get(at(story))["body"] == "<p>Submitted.</p>"


def test_an_appeal_against_the_refusal_of_a_change_shows_the_change(
    author: Person, moderator: Person, colleague: Person
) -> None:
    story = published(author, moderator, summary="Old.")
    author.patch(at(story), summary="New.")
    # A second change, since the first one does not wait (test_a_change_waits_while_the_old_text_stays).
    author.patch(at(story), title="New")
    decide(moderator, waiting(moderator, story), "reject", reason="Bad.")
    appeal = author.post(f"{DECISIONS}/{decision_of(author)['id']}/appeal", {"text": "Good."})
    decide(colleague, appeal, "approve")
    assert author.get(at(story))["title"] == "New"


def test_nobody_appeals_for_somebody_else(author: Person, reader: Person, moderator: Person) -> None:
    removed(author, reader, moderator)
    path = f"{DECISIONS}/{decision_of(author)['id']}/appeal"
    assert reader.rest.post(path, {"text": "It is fine."}).status_code == 404
    assert author.rest.post(path, {"text": ""}).status_code == 422


def test_moderators_do_not_appeal_for_an_author(author: Person, reader: Person, moderator: Person) -> None:
    removed(author, reader, moderator)
    path = f"{DECISIONS}/{decision_of(author)['id']}/appeal"
    assert moderator.rest.post(path, {"text": "Mine."}).status_code in (403, 404, 409)
    # Their only appeal is not used up.
    assert author.rest.post(path, {"text": "It is fine."}).status_code == 201


def test_an_appeal_is_made_within_six_months(tenant: Tenant, author: Person, reader: Person, moderator: Person) -> None:
    removed(author, reader, moderator)
    removal = decision_of(author)
    path = f"{DECISIONS}/{removal['id']}/appeal"

    def age(days: int) -> None:
        with database(tenant.stack) as connection:
            connection.execute(
                "UPDATE moderation_decisions SET create_time = now() - %s * interval '1 day' WHERE id = %s",
                (days, removal["id"]),
            )

    age(184)
    late = author.rest.post(path, {"text": "Late."})
    assert (reason(late), problem(late).metadata["state"]) == (FORBIDDEN, "EXPIRED")
    age(182)
    assert author.rest.post(path, {"text": "In time."}).status_code == 201


# The log and figures -------------------------------------------------------------------------------------------------


def test_the_log_tells_everyone_what_was_decided_and_of_nobody(
    tenant: Tenant, author: Person, reader: Person, moderator: Person, colleague: Person
) -> None:
    story = removed(author, reader, moderator)
    other = published(author, moderator, "Sea")
    comment = reader.post(at(other, "comments"), {"body": "<p>Secret words.</p>"})
    report(author, other, storyCommentId=comment["id"], text="The informant.")
    decide(moderator, reported(moderator, comment), "reject", reason="Rude.")
    appeal = author.post(
        f"{DECISIONS}/{author.get(DECISIONS, filter='action = REMOVE')['moderationDecisions'][0]['id']}/appeal",
        {"text": "The plea."},
    )
    decide(colleague, appeal, "reject", reason="Still spam.")
    viewer = person(tenant, "viewer")
    answer = viewer.rest.get(LOG)
    entries = answer.json()["entries"]
    assert [(each["action"], each["title"]) for each in entries] == [
        ("ACTION_UPHOLD", "Fog"),
        ("ACTION_REMOVE", ""),
        ("ACTION_PUBLISH", "Sea"),
        ("ACTION_REMOVE", "Fog"),
        ("ACTION_PUBLISH", "Fog"),
    ]
    upheld, of_comment, _, removal, _ = entries
    assert (removal["rule"], removal["reason"], removal["storyId"]) == ("No spam", "Spam.", story["id"])
    assert (removal["isAutomated"], removal["isAppeal"], upheld["isAppeal"]) == (False, False, True)
    assert (of_comment["subjectKind"], of_comment["storyId"]) == ("MODERATED_KIND_COMMENT", other["id"])
    for hidden in (author.id, reader.id, moderator.id, colleague.id, "Secret", "informant", "plea"):
        assert hidden not in answer.text
    # Page by page it is the same.
    seen, token = [], ""
    for _ in entries:
        page = viewer.get(LOG, pageSize=1, pageToken=token)
        seen += page["entries"]
        token = page["nextPageToken"]
    assert (seen, token) == (entries, "")
    assert owner(new_tenant(tenant.stack)).get(LOG)["entries"] == []
    assert key(tenant).get(LOG)["entries"] == entries


def test_figures_are_those_of_the_facts(
    tenant: Tenant, author: Person, reader: Person, moderator: Person, colleague: Person
) -> None:
    empty = moderator.get(STATS)
    assert (empty["days"], empty["open"], empty["decisions"], empty["medianSeconds"]) == (30, 0, 0, 0)
    one = removed(author, reader, moderator)
    appeal = author.post(f"{DECISIONS}/{decision_of(author)['id']}/appeal", {"text": "Good."})
    decide(colleague, appeal, "approve")
    rejected = submitted(author, "Rejected")
    decide(moderator, waiting(moderator, rejected), "reject", reason="Bad.")
    appeal = author.post(f"{DECISIONS}/{decision_of(author)['id']}/appeal", {"text": "Good."})
    decide(colleague, appeal, "reject", reason="Bad.")
    review(tenant, "ALL", hideScore=2)
    # The reader's first report led to a removal, so that the next one weighs 2.
    report(reader, one)
    submitted(author, "Waits")
    found = moderator.get(STATS)
    # Published, removed, restored, rejected, upheld, and hidden by the reports.
    facts = {"open": 2, "reports": 2, "decisions": 6, "restrictions": 3, "automated": 1, "appeals": 2}
    assert {name: found[name] for name in facts} == facts
    assert found["appealsUpheld"] == 1
    assert found["reporters"] == [{"userId": reader.id, "agreed": 1, "disagreed": 0, "ignored": 0, "weight": 2}]
    assert 0 <= found["oldestOpenSeconds"] < 3600
    with database(tenant.stack) as connection:
        # The oldest waits for two hours; of five decisions of people the one in the middle took 100 s.
        connection.execute(
            "UPDATE moderation_items SET open_time = now() - interval '2 hours'"
            " WHERE tenant_id = %s AND state = 1 AND kind = 2",
            (tenant.id,),
        )
        connection.execute(
            "UPDATE moderation_decisions d SET facts = jsonb_set(facts, '{open_time}',"
            " to_jsonb(d.create_time - n.place * interval '50 seconds'))"
            " FROM (SELECT id, row_number() OVER (ORDER BY create_time) - 1 AS place FROM moderation_decisions"
            " WHERE tenant_id = %s AND NOT is_automated) n WHERE d.id = n.id",
            (tenant.id,),
        )
        connection.execute(
            "UPDATE story_reports SET create_time = now() - interval '3 days' WHERE tenant_id = %s AND state = 2",
            (tenant.id,),
        )
    moved = moderator.get(STATS, days=2)
    assert (moved["days"], moved["reports"], moved["medianSeconds"]) == (2, 1, 100)
    assert 7200 <= moved["oldestOpenSeconds"] < 10_800
    assert moderator.rest.get(STATS, {"days": 366}).status_code == 422


def test_figures_of_another_tenant_count_nothing(
    tenant: Tenant, author: Person, reader: Person, moderator: Person
) -> None:
    removed(author, reader, moderator)
    found = owner(new_tenant(tenant.stack)).get(STATS)
    assert (found["reports"], found["decisions"], found["open"], found["reporters"]) == (0, 0, 0, [])
