"""Comments: who sees which, how threads grow, what edits and deletions leave, and how votes count."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from itertools import pairwise
from math import isclose, sqrt
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from plinth.stories.v1 import story_comment_pb2

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
from tests.domains.stories.instances import SETTINGS, STORIES, new_comment, new_story
from tests.stack import Stack, wait_for

FORBIDDEN, ABSENT, STALE = (409, "STATE_FORBIDS"), (404, "RESOURCE_NOT_FOUND"), (412, "ETAG_MISMATCH")
LEVELS, WIDTH = 8, 7
ROLES = ("member", "member", "viewer")


class Person(NamedTuple):
    """Somebody in a tenant."""

    id: str
    token: str
    rest: Rest


class Thread(NamedTuple):
    """A published story of a member, and who meets there. The owner of the tenant moderates."""

    tenant: Tenant
    story: str
    author: Person
    writer: Person
    reader: Person

    @property
    def moderator(self) -> Rest:
        return self.tenant.rest

    @property
    def path(self) -> str:
        return f"{STORIES}/{self.story}/comments"

    def write(self, person: Person | None = None, **body: Any) -> dict[str, Any]:
        """A comment of the writer, or of somebody else."""
        answer = (person or self.writer).rest.post(self.path, new_comment() | body)
        assert answer.status_code == 201, answer.text
        written: dict[str, Any] = answer.json()
        return written

    def get(self, comment: dict[str, Any], rest: Rest | None = None) -> dict[str, Any]:
        """A comment as it is now."""
        answer = (rest or self.moderator).get(f"{self.path}/{comment['id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def act(self, rest: Rest, comment: dict[str, Any], action: str, **body: Any) -> httpx.Response:
        return rest.post(f"{self.path}/{comment['id']}/{action}", body)

    def vote(self, person: Person, comment: dict[str, Any], *, helpful: bool) -> httpx.Response:
        return person.rest.put(f"{self.path}/{comment['id']}/vote", {"isHelpful": helpful})

    def listed(self, rest: Rest, **options: Any) -> list[str]:
        """The ids of the comments that somebody sees."""
        return [each["id"] for each in page(rest.get(self.path, options))]

    def moderate(self) -> None:
        """From now on, the author looks at comments first."""
        assert self.author.rest.patch(f"{STORIES}/{self.story}", {"commentMode": "COMMENT_MODE_MODERATED"}).is_success


@pytest.fixture(scope="module")
def people(stack: Stack) -> Sequence[tuple[Account, Session]]:
    """They sign in once, since that takes time, and come into the tenant of each test."""
    accounts = [sign_up(stack) for _ in ROLES]
    return [(account, log_in(stack, account)) for account in accounts]


@pytest.fixture
def thread(tenant: Tenant, people: Sequence[tuple[Account, Session]]) -> Thread:
    author, writer, reader = (join(tenant, *each, role) for each, role in zip(people, ROLES, strict=True))
    assert tenant.rest.patch(SETTINGS, {"review": "REVIEW_NONE"}).is_success
    story = author.rest.post(STORIES, new_story()).json()["id"]
    assert author.rest.post(f"{STORIES}/{story}/submit", {}).json()["state"] == "STATE_PUBLISHED"
    return Thread(tenant, story, author, writer, reader)


def join(tenant: Tenant, account: Account, session: Session, role: str) -> Person:
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, %s)", (tenant.id, account.id, [role])
        )
    token = switch_tenant(tenant.stack, session, tenant.id).access_token
    return Person(account.id, token, Rest(tenant.stack, token))


def page(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["storyComments"]
    return found


def change(tenant: Tenant, sql: str, *values: Any) -> None:
    """What no RPC does: time that passes, and reports that come together."""
    with database(tenant.stack) as connection:
        assert connection.execute(sql.encode(), values).rowcount


def comment_count(thread: Thread) -> int:
    """What the story says. Its answer is cached, and invalidated by whatever changes the count."""
    count: int = thread.reader.rest.get(f"{STORIES}/{thread.story}").json()["commentCount"]
    return count


# Who sees which ------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_of_each(thread: Thread) -> dict[str, dict[str, Any]]:
    """A comment of the writer in each state, and the reply that keeps a deleted one's place."""
    made_: dict[str, dict[str, Any]] = {"VISIBLE": thread.write(), "HIDDEN": thread.write()}
    made_ |= {"REMOVED": thread.write(), "DELETED": thread.write()}
    made_["reply"] = thread.write(thread.author, parentId=made_["DELETED"]["id"])
    thread.moderate()
    made_["PENDING"] = thread.write()
    change(thread.tenant, "UPDATE story_comments SET state = 3 WHERE id = %s", made_["HIDDEN"]["id"])
    assert thread.act(thread.author.rest, made_["REMOVED"], "remove", reason="It tells the end.").status_code == 200
    trace = "UPDATE story_comments SET state = 5, author_id = NULL, body = '' WHERE id = %s"
    change(thread.tenant, trace, made_["DELETED"]["id"])
    return made_


# What everyone sees, and what the writer, the author and moderators see too.
SHOWN = {"VISIBLE", "DELETED", "reply"}
ALL = {*SHOWN, "PENDING", "HIDDEN", "REMOVED"}


def test_each_state_is_seen_by_those_whom_it_is_for(thread: Thread, one_of_each: dict[str, dict[str, Any]]) -> None:
    seen = {
        "moderator": (thread.moderator, ALL),
        "author": (thread.author.rest, ALL),
        "writer": (thread.writer.rest, ALL),
        "reader": (thread.reader.rest, SHOWN),
    }
    for who, (rest, names) in seen.items():
        expected = {one_of_each[name]["id"] for name in names}
        assert set(thread.listed(rest)) == expected, who
        for name, each in one_of_each.items():
            answer = rest.get(f"{thread.path}/{each['id']}")
            if name not in names:
                assert reason(answer) == ABSENT, (who, name)
            elif name != "reply":
                assert answer.json()["state"] == f"STATE_{name}", (who, name)
    assert thread.get(one_of_each["REMOVED"], thread.writer.rest)["reason"] == "It tells the end."


def test_filters_show_nothing_that_is_hidden(thread: Thread, one_of_each: dict[str, dict[str, Any]]) -> None:
    reader = thread.reader.rest
    for state in ("PENDING", "HIDDEN", "REMOVED"):
        assert thread.listed(reader, filter=f"state = {state}") == []
        assert thread.listed(thread.author.rest, filter=f"state = {state}") == [one_of_each[state]["id"]]
    assert thread.listed(reader, filter=f'id = "{one_of_each["HIDDEN"]["id"]}"') == []
    assert thread.listed(reader, authorId=thread.writer.id) == [one_of_each["VISIBLE"]["id"]]
    assert reader.get(thread.path, {"includeTotal": True}).json()["totalSize"] == len(SHOWN)


def test_another_tenant_sees_no_comment_and_writes_none(thread: Thread) -> None:
    comment = thread.write()
    stranger = another_tenant(thread.tenant).rest
    assert reason(stranger.get(thread.path)) == ABSENT
    assert reason(stranger.get(f"{thread.path}/{comment['id']}")) == ABSENT
    assert reason(stranger.get(f"{thread.path}/{comment['id']}/replies")) == ABSENT
    assert reason(stranger.post(thread.path, new_comment())) == ABSENT
    assert reason(stranger.put(f"{thread.path}/{comment['id']}/vote", {"isHelpful": True})) == ABSENT
    assert stranger.delete(f"{thread.path}/{comment['id']}").status_code == 404


@pytest.mark.parametrize("state", ["DRAFT", "SUBMITTED", "REJECTED", "UNPUBLISHED", "HIDDEN", "REMOVED"])
def test_comments_go_out_of_sight_with_their_story(thread: Thread, state: str) -> None:
    comment = thread.write()
    number = {"DRAFT": 1, "SUBMITTED": 2, "REJECTED": 4, "UNPUBLISHED": 5, "HIDDEN": 6, "REMOVED": 7}[state]
    change(thread.tenant, "UPDATE stories SET state = %s WHERE id = %s", number, thread.story)
    one = f"{thread.path}/{comment['id']}"
    for rest in (thread.author.rest, thread.moderator):
        assert thread.listed(rest) == [comment["id"]]
        assert rest.get(one).status_code == 200
        assert reason(rest.post(thread.path, new_comment())) == FORBIDDEN
    for rest in (thread.writer.rest, thread.reader.rest):
        for path in (thread.path, one, f"{one}/replies"):
            assert reason(rest.get(path)) == ABSENT
    assert reason(thread.writer.rest.post(thread.path, new_comment())) == ABSENT
    assert reason(thread.vote(thread.writer, comment, helpful=True)) == ABSENT


def test_who_only_reads_writes_and_votes_on_nothing(thread: Thread) -> None:
    comment = thread.write()
    assert thread.reader.rest.post(thread.path, new_comment()).status_code == 403
    assert thread.vote(thread.reader, comment, helpful=True).status_code == 403
    assert thread.act(thread.reader.rest, comment, "remove", reason="No.").status_code == 403


# Comments that wait --------------------------------------------------------------------------------------------------


def test_a_moderated_story_shows_comments_once_its_author_approves_them(thread: Thread) -> None:
    thread.moderate()
    comment = thread.write()
    assert comment["state"] == "STATE_PENDING"
    assert comment_count(thread) == 0
    # Its writer sees it, and does not approve it; others do not even see it.
    denied = thread.act(thread.writer.rest, comment, "approve")
    assert denied.status_code == 403
    assert thread.act(thread.writer.rest, comment, "remove", reason="Mine.").status_code == 403
    assert thread.listed(thread.reader.rest) == []
    assert reason(thread.writer.rest.post(thread.path, new_comment() | {"parentId": comment["id"]})) == FORBIDDEN
    approved = thread.act(thread.author.rest, comment, "approve")
    assert approved.json()["state"] == "STATE_VISIBLE"
    assert thread.listed(thread.reader.rest) == [comment["id"]]
    assert comment_count(thread) == 1
    assert reason(thread.act(thread.author.rest, comment, "approve")) == FORBIDDEN
    assert comment_count(thread) == 1


def test_a_moderator_approves_too_and_what_is_removed_before_was_never_shown(thread: Thread) -> None:
    thread.moderate()
    first, second = thread.write(), thread.write()
    assert thread.act(thread.moderator, first, "approve").json()["state"] == "STATE_VISIBLE"
    assert thread.act(thread.author.rest, second, "remove", reason="Off topic.").json()["state"] == "STATE_REMOVED"
    assert thread.listed(thread.reader.rest) == [first["id"]]
    assert comment_count(thread) == 1
    assert reason(thread.act(thread.moderator, second, "approve")) == FORBIDDEN


def test_comments_of_the_author_and_of_moderators_wait_for_nobody(thread: Thread) -> None:
    thread.moderate()
    owned = thread.write(thread.author)
    moderated = made(thread.tenant, thread.path, new_comment())
    assert (owned["state"], moderated["state"]) == ("STATE_VISIBLE", "STATE_VISIBLE")
    # The author of one story is nobody in that of somebody else.
    other = made(thread.tenant, STORIES, new_story(commentMode="COMMENT_MODE_MODERATED"))["id"]
    made(thread.tenant, f"{STORIES}/{other}/submit", {}, 200)
    elsewhere = thread._replace(story=other)
    waiting = elsewhere.write(thread.author)
    assert waiting["state"] == "STATE_PENDING"
    assert thread.act(thread.author.rest, waiting, "approve").status_code == 404
    assert elsewhere.act(thread.author.rest, waiting, "approve").status_code == 403


def answers_told(thread: Thread) -> list[tuple[str, str]]:
    """Who is told of which answers, in the order of the events."""
    query = (
        "SELECT audience::text AS person, resource_id FROM events WHERE tenant_id = %s AND type = %s ORDER BY sequence"
    )
    found = rows(thread.tenant.stack, query, thread.tenant.id, "story_comment.answered")
    return [(row["person"], row["resource_id"]) for row in found]


def test_whoever_is_answered_is_told_once_the_answer_is_shown(thread: Thread) -> None:
    owner, comment = thread.tenant.owner.id, made(thread.tenant, thread.path, new_comment())
    below = {"parentId": comment["id"]}
    # Nobody is told of an answer of their own, and the author of the story is told of every comment.
    made(thread.tenant, thread.path, new_comment() | below)
    thread.write(parentId=thread.write(thread.author)["id"])
    answer = thread.write(**below, body="<p>I see it <em>otherwise</em>.</p>")
    assert answers_told(thread) == [(owner, answer["id"])]
    thread.moderate()
    waiting = thread.write(**below)
    assert len(answers_told(thread)) == 1
    assert thread.act(thread.author.rest, waiting, "approve").is_success
    assert answers_told(thread)[1:] == [(owner, waiting["id"])]

    def bodies() -> list[str]:
        found = thread.tenant.rest.get("notifications", {"filter": 'workflow = "story-comment"'}).json()
        return [each["body"] for each in found["notifications"]]

    wait_for(lambda: len(bodies()) == 2, what="the writer to be told")
    assert bodies()[-1] == "I see it otherwise."


def test_a_closed_story_takes_no_comments_and_keeps_those_it_has(thread: Thread) -> None:
    comment = thread.write()
    story = f"{STORIES}/{thread.story}"
    assert thread.author.rest.patch(story, {"commentMode": "COMMENT_MODE_CLOSED"}).is_success
    for person in (thread.writer, thread.author):
        closed = person.rest.post(thread.path, new_comment())
        assert reason(closed) == FORBIDDEN
        assert problem(closed).metadata["state"] == "CLOSED"
        assert reason(person.rest.post(thread.path, new_comment() | {"parentId": comment["id"]})) == FORBIDDEN
    assert thread.listed(thread.reader.rest) == [comment["id"]]
    assert thread.author.rest.patch(story, {"commentMode": "COMMENT_MODE_OPEN"}).is_success
    thread.write()


# Threads -------------------------------------------------------------------------------------------------------------


def test_what_answers_the_eighth_level_stands_beside_it(thread: Thread) -> None:
    chain = [thread.write()]
    for _ in range(LEVELS + 1):
        chain.append(thread.write(parentId=chain[-1]["id"]))
    assert [each["depth"] for each in chain] == [*range(1, LEVELS + 1), LEVELS, LEVELS]
    for above, below in pairwise(chain):
        assert below["parentId"] == above["id"]
        assert below["path"] > above["path"]
    for above, below in pairwise(chain[:LEVELS]):
        assert below["path"].startswith(above["path"])
    beside = chain[LEVELS - 2]["path"]
    assert all(each["path"].startswith(beside) for each in chain[LEVELS - 1 :])
    assert {len(each["path"]) for each in chain[LEVELS - 1 :]} == {LEVELS * WIDTH}
    assert thread.listed(thread.reader.rest) == [each["id"] for each in chain]


def test_each_comment_is_followed_by_its_replies(thread: Thread) -> None:
    first, second = thread.write(), thread.write()
    a = thread.write(parentId=first["id"])
    b = thread.write(parentId=second["id"])
    c = thread.write(thread.author, parentId=first["id"])
    d = thread.write(thread.author, parentId=a["id"])
    order = [each["id"] for each in (first, a, d, c, second, b)]
    reader = thread.reader.rest
    assert thread.listed(reader) == order
    assert thread.listed(reader, filter="depth = 1") == [first["id"], second["id"]]
    below = f"{thread.path}/{first['id']}/replies"
    assert [each["id"] for each in page(reader.get(below))] == order[1:4]
    assert page(reader.get(f"{thread.path}/{b['id']}/replies")) == []
    # By pages of one, each token continues where the last page ended.
    found, token = [], ""
    while True:
        answer = reader.get(below, {"pageSize": 1, "pageToken": token})
        found += [each["id"] for each in page(answer)]
        token = answer.json()["nextPageToken"]
        if not token:
            break
    assert found == order[1:4]
    assert thread.get(first)["replyCount"] == 2
    assert thread.get(a)["replyCount"] == 1
    assert reason(reader.get(f"{thread.path}/{thread.tenant.id}/replies")) == ABSENT


def test_a_comment_belongs_to_its_own_story(thread: Thread) -> None:
    comment = thread.write()
    other = thread.author.rest.post(STORIES, new_story()).json()["id"]
    assert thread.author.rest.post(f"{STORIES}/{other}/submit", {}).is_success
    elsewhere = thread._replace(story=other)
    path = f"{elsewhere.path}/{comment['id']}"
    writer = thread.writer.rest
    answers = [
        writer.get(path),
        writer.get(f"{path}/replies"),
        writer.patch(path, {"body": "<p>Elsewhere.</p>"}),
        writer.delete(path),
        elsewhere.vote(thread.author, comment, helpful=True),
        thread.author.rest.delete(f"{path}/vote"),
        elsewhere.act(thread.author.rest, comment, "remove", reason="No."),
        elsewhere.act(thread.author.rest, comment, "approve"),
        writer.post(elsewhere.path, new_comment() | {"parentId": comment["id"]}),
        writer.post(thread.path, new_comment() | {"parentId": other}),
    ]
    assert [reason(each) for each in answers] == [ABSENT] * len(answers)
    assert thread.get(comment)["body"] == comment["body"]
    assert elsewhere.listed(writer) == []


def test_a_comment_keeps_its_place_and_sets_nothing_else(thread: Thread) -> None:
    first, second = thread.write(), thread.write()
    moved = thread.writer.rest.patch(f"{thread.path}/{second['id']}", {"parentId": first["id"]})
    assert problem(moved).violations.keys() == {"parentId"}, moved.text
    for field, value in (("state", "STATE_REMOVED"), ("path", "0000001"), ("authorId", thread.author.id), ("score", 1)):
        answer = thread.writer.rest.patch(f"{thread.path}/{second['id']}", {field: value}, params={"updateMask": field})
        assert problem(answer).violations, (field, answer.text)
    assert thread.get(second)["path"] == second["path"]


# Deletions -----------------------------------------------------------------------------------------------------------


def test_a_deleted_comment_with_replies_keeps_its_place_without_text_and_writer(thread: Thread) -> None:
    comment = thread.write()
    reply = thread.write(thread.author, parentId=comment["id"])
    assert thread.writer.rest.delete(f"{thread.path}/{comment['id']}").status_code == 204
    for rest in (thread.reader.rest, thread.writer.rest, thread.moderator):
        trace = thread.get(comment, rest)
        assert (trace["state"], trace["body"], trace["authorId"]) == ("STATE_DELETED", "", "")
        assert (trace["path"], trace["replyCount"]) == (comment["path"], 1)
        assert thread.listed(rest) == [comment["id"], reply["id"]]
    assert comment_count(thread) == 1
    # It is nobody's: neither its writer nor anybody else changes, answers or votes on it.
    one = f"{thread.path}/{comment['id']}"
    assert thread.writer.rest.patch(one, {"body": "<p>Back.</p>"}).status_code == 403
    assert reason(thread.moderator.patch(one, {"body": "<p>Back.</p>"})) == FORBIDDEN
    assert reason(thread.act(thread.moderator, comment, "remove", reason="No.")) == FORBIDDEN
    assert reason(thread.writer.rest.post(thread.path, new_comment() | {"parentId": comment["id"]})) == FORBIDDEN
    assert reason(thread.vote(thread.author, comment, helpful=True)) == FORBIDDEN
    assert thread.listed(thread.reader.rest, authorId=thread.writer.id) == []


def test_a_deleted_comment_without_replies_is_gone(thread: Thread) -> None:
    comment = thread.write()
    reply = thread.write(parentId=comment["id"])
    assert thread.writer.rest.delete(f"{thread.path}/{reply['id']}").status_code == 204
    for rest in (thread.reader.rest, thread.writer.rest, thread.moderator):
        assert reason(rest.get(f"{thread.path}/{reply['id']}")) == ABSENT
        assert thread.listed(rest) == [comment["id"]]
    assert thread.get(comment)["replyCount"] == 0
    assert reason(thread.writer.rest.post(thread.path, new_comment() | {"parentId": reply["id"]})) == ABSENT
    assert thread.writer.rest.delete(f"{thread.path}/{reply['id']}").status_code == 404
    assert comment_count(thread) == 1


def test_only_the_writer_and_moderators_change_and_delete(thread: Thread) -> None:
    first, second = thread.write(), thread.write()
    for comment in (first, second):
        # The author of the story removes it, with a reason, and puts no words into its writer's mouth.
        assert thread.author.rest.patch(f"{thread.path}/{comment['id']}", {"body": "<p>No.</p>"}).status_code == 403
        assert thread.author.rest.delete(f"{thread.path}/{comment['id']}").status_code == 403
    assert thread.writer.rest.delete(f"{thread.path}/{first['id']}").status_code == 204
    assert thread.moderator.delete(f"{thread.path}/{second['id']}").status_code == 204


@pytest.mark.parametrize("kind", ["a trace", "one that waits", "one that is hidden"])
def test_a_deleted_comment_keeps_its_place_for_replies_of_any_kind(thread: Thread, kind: str) -> None:
    comment = thread.write()
    if kind == "one that waits":
        thread.moderate()
    reply = thread.write(parentId=comment["id"])
    if kind == "a trace":
        thread.write(thread.author, parentId=reply["id"])
        assert thread.writer.rest.delete(f"{thread.path}/{reply['id']}").status_code == 204
    if kind == "one that is hidden":
        change(thread.tenant, "UPDATE story_comments SET state = 3 WHERE id = %s", reply["id"])
    assert thread.writer.rest.delete(f"{thread.path}/{comment['id']}").status_code == 204
    assert thread.get(comment)["state"] == "STATE_DELETED"


def test_a_reply_that_comes_while_its_comment_is_deleted_has_something_above_it(thread: Thread) -> None:
    comment = thread.write()
    one = f"{thread.path}/{comment['id']}"
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pg_blocking_pids(pid) && %s::int[]"

    def wait_behind(*pids: int) -> list[int]:
        """The processes that wait for one of others."""
        found: list[int] = []

        def is_one_there() -> bool:
            found[:] = [row["pid"] for row in rows(thread.tenant.stack, waiting, list(pids))]
            return bool(found)

        thread.tenant.stack.wait_for(is_one_there)
        return found

    with ThreadPoolExecutor(2) as pool, database(thread.tenant.stack) as connection:
        # The reply waits for the story first, and the deletion then waits behind it.
        connection.execute(b"SELECT id FROM stories WHERE id = %s FOR UPDATE", (thread.story,))
        own = connection.info.backend_pid
        reply = pool.submit(thread.author.rest.post, thread.path, new_comment() | {"parentId": comment["id"]})
        first = wait_behind(own)
        deletion = pool.submit(thread.writer.rest.delete, one)
        thread.tenant.stack.wait_for(lambda: len({*wait_behind(own, *first)}) > 1)
        connection.commit()
    assert deletion.result().status_code == 204
    seen = {each["id"]: each for each in page(thread.reader.rest.get(thread.path))}
    assert all(not each["parentId"] or each["parentId"] in seen for each in seen.values())
    # It either came before, and the comment keeps its place, or after, and there was nothing to answer.
    assert reply.result().status_code == (201 if seen else 404)


# Counts --------------------------------------------------------------------------------------------------------------


def test_a_hidden_comment_does_not_count_until_it_is_shown_again(thread: Thread) -> None:
    assert thread.moderator.patch(SETTINGS, {"hideScore": 1}).is_success
    above = thread.write()
    comment = thread.write(parentId=above["id"])
    assert comment_count(thread) == 2
    body = {"storyCommentId": comment["id"], "reason": "REASON_SPAM"}
    assert thread.author.rest.post(f"{STORIES}/{thread.story}/report", body).status_code == 201
    assert thread.get(comment)["state"] == "STATE_HIDDEN"
    assert (comment_count(thread), thread.get(above)["replyCount"]) == (1, 0)
    [item] = thread.moderator.get("/api/v1/moderation/queue").json()["moderationItems"]
    made(thread.tenant, f"/api/v1/moderation/queue/{item['id']}/approve", {"etag": item["etag"]}, 200)
    assert thread.get(comment)["state"] == "STATE_VISIBLE"
    assert (comment_count(thread), thread.get(above)["replyCount"]) == (2, 1)


def test_a_reported_comment_is_decided_by_the_etag_of_its_item(thread: Thread) -> None:
    comment = thread.write()
    body = {"storyCommentId": comment["id"], "reason": "REASON_SPAM"}
    assert thread.author.rest.post(f"{STORIES}/{thread.story}/report", body).status_code == 201
    [item] = thread.moderator.get("/api/v1/moderation/queue").json()["moderationItems"]
    reject, headers = f"/api/v1/moderation/queue/{item['id']}/reject", {"if-match": item["etag"]}
    assert thread.moderator.post(reject, {"reason": "Planted."}, headers=headers).status_code == 200
    assert thread.get(comment)["state"] == "STATE_REMOVED"


def test_a_story_that_is_deleted_and_restored_counts_as_before(thread: Thread) -> None:
    kept, gone = thread.write(), thread.write()
    assert thread.writer.rest.delete(f"{thread.path}/{gone['id']}").status_code == 204
    story = f"{STORIES}/{thread.story}"
    assert thread.author.rest.delete(story).status_code == 204
    assert reason(thread.reader.rest.get(thread.path)) == ABSENT
    assert thread.author.rest.post(f"{story}/undelete", {}).is_success
    assert thread.listed(thread.reader.rest) == [kept["id"]]
    assert comment_count(thread) == 1


def test_counts_are_exact_after_a_storm(thread: Thread) -> None:
    trace = thread.write()
    thread.write(parentId=trace["id"])
    assert thread.writer.rest.delete(f"{thread.path}/{trace['id']}").status_code == 204
    thread.moderate()
    for _ in range(3):
        thread.write(thread.author)

    def storm(number: int) -> set[str]:
        random, done = Random(number), set()  # noqa: S311 - the same ones in each run
        person = (thread.author, thread.writer)[number % 2]
        for _ in range(30):
            known = page(thread.author.rest.get(thread.path, {"pageSize": 200}))
            act, answer = one_act(thread, random, person, random.choice(known) if known else None)
            # Others have removed, deleted or approved it meanwhile.
            assert answer.status_code in (200, 201, 204, 403, 404, 409), answer.text
            done |= {act} if answer.is_success else set()
        return done

    with ThreadPoolExecutor(4) as pool:
        acts = set().union(*pool.map(storm, range(4)))
    found = rows(
        thread.tenant.stack,
        "SELECT id::text, parent_id::text, state = 2 AS visible FROM story_comments"
        " WHERE story_id = %s AND delete_time IS NULL",
        thread.story,
    )
    visible = [row for row in found if row["visible"]]
    # Something of everything has happened. In which order is up to chance.
    assert acts == set(ACTS)
    assert 0 < len(visible) < len(found)
    assert comment_count(thread) == len(visible)
    replies = [row["parent_id"] for row in visible]
    told = {each["id"]: each["replyCount"] for each in page(thread.moderator.get(thread.path, {"pageSize": 200}))}
    assert told == {row["id"]: replies.count(row["id"]) for row in found}


ACTS = {"create": 3, "reply": 6, "delete": 3, "remove": 2, "approve": 6}
"""What happens in a storm, and how often."""


def one_act(
    thread: Thread, random: Random, person: Person, comment: dict[str, Any] | None
) -> tuple[str, httpx.Response]:
    """Something that somebody does, mostly with one of the comments."""
    act = random.choices([*ACTS], [*ACTS.values()])[0] if comment else "create"
    if comment is None or act == "create":
        return act, person.rest.post(thread.path, new_comment())
    if act == "reply":
        return act, person.rest.post(thread.path, new_comment() | {"parentId": comment["id"]})
    if act == "delete":
        return act, person.rest.delete(f"{thread.path}/{comment['id']}")
    reason = {"reason": "Planted."} if act == "remove" else {}
    return act, thread.act(thread.author.rest, comment, act, **reason)


# Edits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "is_marked"), [(0, False), (14, False), (16, True)])
def test_a_late_change_is_marked(thread: Thread, minutes: int, is_marked: bool) -> None:  # noqa: FBT001 - a parameter
    comment = thread.write(body="<p>Before.</p>")
    age = "UPDATE story_comments SET create_time = create_time - %s * interval '1 minute' WHERE id = %s"
    change(thread.tenant, age, minutes, comment["id"])
    one = f"{thread.path}/{comment['id']}"
    # What changes nothing is no change.
    assert not thread.writer.rest.patch(one, {"body": "<p>Before.</p>"}).json().get("editTime")
    changed = thread.writer.rest.patch(one, {"body": "<p>After.</p>"})
    assert changed.json()["body"] == "<p>After.</p>"
    assert bool(changed.json().get("editTime")) is is_marked
    assert bool(thread.get(comment, thread.reader.rest).get("editTime")) is is_marked


def test_what_a_comment_said_before_is_kept_for_each_change(thread: Thread) -> None:
    comment = thread.write(body="<p>One.</p>")
    one = f"{thread.path}/{comment['id']}"
    for text in ("Two.", "Three."):
        assert thread.writer.rest.put(one, {"body": f"<p>{text}</p>"}).is_success
    thread.vote(thread.author, comment, helpful=True)
    query = "SELECT body FROM story_comment_bodies WHERE comment_id = %s ORDER BY create_time"
    kept = [row["body"] for row in rows(thread.tenant.stack, query, comment["id"])]
    assert kept == ["<p>One.</p>", "<p>Two.</p>"]


def test_what_was_removed_is_not_changed_and_not_removed_again(thread: Thread) -> None:
    comment = thread.write()
    assert "reason" in problem(thread.act(thread.author.rest, comment, "remove")).violations
    removed = thread.act(thread.moderator, comment, "remove", reason="It insults.").json()
    assert (removed["state"], removed["reason"]) == ("STATE_REMOVED", "It insults.")
    for rest in (thread.writer.rest, thread.moderator):
        answer = rest.patch(f"{thread.path}/{comment['id']}", {"body": "<p>Better.</p>"})
        assert reason(answer) == FORBIDDEN
    assert reason(thread.act(thread.author.rest, comment, "remove", reason="Again.")) == FORBIDDEN
    assert thread.get(comment)["body"] == comment["body"]
    query = "SELECT body FROM story_comment_bodies WHERE comment_id = %s"
    assert rows(thread.tenant.stack, query, comment["id"]) == []


def test_a_stale_etag_changes_nothing(thread: Thread) -> None:
    thread.moderate()
    comment = thread.write()
    one, stale = f"{thread.path}/{comment['id']}", comment["etag"]
    fresh = thread.writer.rest.patch(one, {"body": "<p>Newer.</p>"}).json()
    assert fresh["etag"] != stale
    answers = [
        thread.writer.rest.patch(one, {"body": "<p>Stale.</p>", "etag": stale}),
        thread.writer.rest.patch(one, {"body": "<p>Stale.</p>"}, headers={"if-match": stale}),
        thread.writer.rest.delete(one, headers={"if-match": stale}),
        thread.author.rest.post(f"{one}/approve", {}, headers={"if-match": stale}),
        thread.author.rest.post(f"{one}/approve", {"etag": stale}),
        thread.author.rest.post(f"{one}/remove", {"reason": "No."}, headers={"if-match": stale}),
    ]
    assert [reason(each) for each in answers] == [STALE] * len(answers)
    now = thread.get(comment)
    assert (now["state"], now["body"]) == ("STATE_PENDING", "<p>Newer.</p>")
    approved = thread.author.rest.post(f"{one}/approve", {}, headers={"if-match": fresh["etag"]})
    assert approved.json()["state"] == "STATE_VISIBLE"
    # A vote is no new version.
    voted = thread.vote(thread.author, comment, helpful=True).json()
    assert voted["etag"] == approved.json()["etag"]
    assert thread.writer.rest.delete(one, headers={"if-match": voted["etag"]}).status_code == 204


# Votes ---------------------------------------------------------------------------------------------------------------


def wilson(helpful: int, unhelpful: int) -> float:
    """The lower bound of Wilson's interval at 95 %, as Wikipedia writes it."""
    n, z = helpful + unhelpful, 1.96
    if not n:
        return 0.0
    centre = (helpful + z * z / 2) / (n + z * z)
    return max(0.0, centre - z / (n + z * z) * sqrt(helpful * unhelpful / n + z * z / 4))


def votes_of(answer: httpx.Response) -> tuple[int, int]:
    """The votes that are counted. The score has to fit them."""
    assert answer.status_code == 200, answer.text
    comment = answer.json()
    counts = (comment["helpfulCount"], comment["unhelpfulCount"])
    assert isclose(comment["score"], wilson(*counts), abs_tol=1e-9)
    return counts


def test_everybody_has_one_vote_and_may_change_it(thread: Thread) -> None:
    comment = thread.write()
    one = f"{thread.path}/{comment['id']}"
    moderator = thread.moderator
    assert votes_of(moderator.get(one)) == (0, 0)
    assert votes_of(thread.vote(thread.author, comment, helpful=True)) == (1, 0)
    assert votes_of(thread.vote(thread.author, comment, helpful=True)) == (1, 0)
    assert votes_of(moderator.put(f"{one}/vote", {"isHelpful": True})) == (2, 0)
    assert votes_of(thread.vote(thread.author, comment, helpful=False)) == (1, 1)
    assert votes_of(moderator.delete(f"{one}/vote")) == (0, 1)
    # It does not matter whether there was one.
    assert votes_of(moderator.delete(f"{one}/vote")) == (0, 1)
    assert votes_of(thread.author.rest.delete(f"{one}/vote")) == (0, 0)
    assert votes_of(thread.reader.rest.get(one)) == (0, 0)


def test_votes_at_once_are_all_counted(thread: Thread) -> None:
    comment = thread.write()
    one = f"{thread.path}/{comment['id']}/vote"

    def vote(number: int) -> httpx.Response:
        rest = (thread.author.rest, thread.moderator)[number % 2]
        return rest.delete(one) if number % 6 == 5 else rest.put(one, {"isHelpful": number % 4 < 2})

    with ThreadPoolExecutor(8) as pool:
        assert {each.status_code for each in pool.map(vote, range(40))} == {200}
    query = "SELECT is_helpful FROM story_comment_votes WHERE comment_id = %s"
    given = [row["is_helpful"] for row in rows(thread.tenant.stack, query, comment["id"])]
    assert votes_of(thread.reader.rest.get(f"{thread.path}/{comment['id']}")) == (given.count(True), given.count(False))


def test_nobody_votes_on_their_own_comment_or_on_what_is_not_visible(thread: Thread) -> None:
    comment = thread.write()
    assert reason(thread.vote(thread.writer, comment, helpful=True)) == FORBIDDEN
    thread.moderate()
    waiting = thread.write()
    assert reason(thread.vote(thread.author, waiting, helpful=True)) == FORBIDDEN
    assert thread.act(thread.author.rest, comment, "remove", reason="No.").is_success
    assert reason(thread.vote(thread.author, comment, helpful=True)) == FORBIDDEN
    assert votes_of(thread.moderator.get(f"{thread.path}/{comment['id']}")) == (0, 0)


def test_the_most_helpful_come_first(thread: Thread) -> None:
    votes = [(9, 1), (1, 0), (90, 10), (0, 5), (50, 50)]
    comments = [thread.write() for _ in votes]
    for comment, (helpful, unhelpful) in zip(comments, votes, strict=True):
        cast = (
            "INSERT INTO story_comment_votes (tenant_id, comment_id, user_id, is_helpful)"
            " SELECT %s, %s, gen_random_uuid(), n <= %s FROM generate_series(1, %s) n"
        )
        change(thread.tenant, cast, thread.tenant.id, comment["id"], helpful, helpful + unhelpful)
        counted = "UPDATE story_comments SET helpful_count = %s, unhelpful_count = %s WHERE id = %s"
        change(thread.tenant, counted, helpful, unhelpful, comment["id"])
        # The next vote counts the score.
        votes_of(thread.vote(thread.author, comment, helpful=True))
    expected = sorted(range(len(votes)), key=lambda n: -wilson(votes[n][0] + 1, votes[n][1]))
    reader = thread.reader.rest
    assert thread.listed(reader, orderBy="score desc") == [comments[n]["id"] for n in expected]
    assert thread.listed(reader, orderBy="create_time") == [each["id"] for each in comments]
    best = thread.listed(reader, filter="score > 0.5")
    assert best == [comments[n]["id"] for n in range(len(votes)) if wilson(votes[n][0] + 1, votes[n][1]) > 0.5]


# HTML ----------------------------------------------------------------------------------------------------------------

ALLOWED = {"a", "b", "blockquote", "br", "code", "em", "i", "li", "ol", "p", "pre", "s", "strong", "u", "ul"}
VECTORS = (
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<img src=`javascript:alert(1)`>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
    "<math href='javascript:alert(1)'>x</math>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='data:text/html,<script>alert(1)</script>'></object>",
    "<embed src='javascript:alert(1)'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='JaVaScRiPt:alert(1)'>x</a>",
    "<a href=' javascript:alert(1)'>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='java&#10;script:alert(1)'>x</a>",
    "<a href='&#106;&#97;vascript:alert(1)'>x</a>",
    "<a href='&#x6A;avascript&colon;alert(1)'>x</a>",
    "<a href='\u0001javascript:alert(1)'>x</a>",
    "<a href='vbscript:msgbox(1)'>x</a>",
    "<a href='data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=='>x</a>",
    "<a href='file:///etc/passwd'>x</a>",
    "<a href='https://ok.example' onclick='alert(1)' style='position:fixed' target='_blank'>x</a>",
    "<p onmouseover=alert(1) style='background:url(javascript:alert(1))' class=x id=x>x</p>",
    "<b/onclick=alert(1)>x</b>",
    "<body onload=alert(1)>",
    "<style>@import 'javascript:alert(1)';</style>",
    "<link rel=stylesheet href='javascript:alert(1)'>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href='javascript:alert(1)//'>",
    "<form action='javascript:alert(1)'><button>x</button></form>",
    "<isindex action=javascript:alert(1) type=image>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<video><source onerror=alert(1)></video>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<textarea><script>alert(1)</script>",
    "<template><script>alert(1)</script></template>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo '<script>alert(1)</script>' ?>",
    "<plaintext><script>alert(1)</script>",
    '<b title="a`b" onclick="alert(1)">x</b><xss style=behavior:url(x)>x</xss>',
)


class Elements(HTMLParser):
    """The start tags of HTML, and whatever else is no text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.others: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


def faults(html: str) -> Iterator[str]:
    """What is more than paragraphs, emphasis, quotes, lists, code and links."""
    elements = Elements(html)
    yield from (f"{each!r}" for each in elements.others)
    for tag, attributes in elements.tags:
        if tag not in ALLOWED:
            yield f"<{tag}>"
        # `lang` and `title` are not taken out of any element (see below).
        if attributes.keys() - {"lang", "title"} - ({"href", "rel"} if tag == "a" else set()):
            yield f"<{tag} {attributes}>"
        # A browser leaves out blanks and control characters.
        href = re.sub(r"[\x00-\x20]", "", attributes.get("href") or "")
        if urlsplit(href).scheme not in ("", "http", "https"):
            yield href
        if "href" in attributes and not {"nofollow", "noopener"} <= set((attributes.get("rel") or "").split()):
            yield f"<{tag} {attributes}>"


def test_nothing_that_runs_is_left_of_what_was_written(thread: Thread) -> None:
    assert len(VECTORS) >= 30
    # The same when it is changed.
    changed = f"{thread.path}/{thread.write()['id']}"
    for vector in VECTORS:
        body = {"body": f"<p>before</p>{vector}"}
        for answer in (thread.writer.rest.post(thread.path, body), thread.writer.rest.patch(changed, body)):
            assert answer.is_success, answer.text
            stored = answer.json()["body"]
            assert [*faults(stored)] == [], vector
            assert stored.startswith("<p>before</p>"), vector


def test_what_a_comment_may_hold_stays(thread: Thread) -> None:
    body = (
        "<p>One <em>two</em> <strong>three</strong> <code>4 &lt; 5</code></p><blockquote>Six</blockquote>"
        "<ul><li>seven</li></ul><pre>eight</pre>"
    )
    assert thread.write(body=body)["body"] == body
    link = thread.write(body='<p><a href="https://example.com/?a=1&amp;b=2">nine</a></p>')["body"]
    [(_, _), (tag, attributes)] = Elements(link).tags
    assert (tag, attributes["href"]) == ("a", "https://example.com/?a=1&b=2")
    assert {"nofollow", "ugc", "noopener", "noreferrer"} == set((attributes["rel"] or "").split())
    # What is escaped stays text.
    assert Elements(thread.write(body="&lt;script&gt;alert(1)&lt;/script&gt;")["body"]).tags == []


def test_comments_have_no_attributes_but_links(thread: Thread) -> None:
    assert thread.write(body='<p title="one" lang="en">two</p>')["body"] == "<p>two</p>"


@pytest.mark.parametrize(
    "body",
    ["", "   ", "<p></p>", "<p> <br>&nbsp;</p>", "<script>alert(1)</script>", "<img src=x>", "<!-- text -->", "<p><b>"],
)
def test_a_comment_has_a_text(thread: Thread, body: str) -> None:
    answer = thread.writer.rest.post(thread.path, {"body": body})
    assert problem(answer).violations.keys() == {"body"}
    comment = thread.write()
    changed = thread.writer.rest.patch(f"{thread.path}/{comment['id']}", {"body": body}, params={"updateMask": "body"})
    assert problem(changed).violations.keys() == {"body"}
    assert thread.get(comment)["body"] == comment["body"]
    assert comment_count(thread) == 1


# gRPC ----------------------------------------------------------------------------------------------------------------


def test_a_service_reads_and_writes_threads(thread: Thread) -> None:
    writer, author = (
        stubs(thread.tenant.stack, each.token)["plinth.stories.v1.StoryCommentService"]
        for each in (thread.writer, thread.author)
    )
    create: Callable[..., Any] = story_comment_pb2.CreateStoryCommentRequest
    new = story_comment_pb2.StoryComment
    first = writer.CreateStoryComment(create(story_id=thread.story, story_comment=new(body="<p>One.</p>")))
    answer = new(body="<p>Two.</p>", parent_id=first.id)
    second = author.CreateStoryComment(create(story_id=thread.story, story_comment=answer))
    listed = writer.ListStoryComments(story_comment_pb2.ListStoryCommentsRequest(story_id=thread.story))
    assert [(each.id, each.reply_count) for each in listed.story_comments] == [(first.id, 1), (second.id, 0)]
    asked = story_comment_pb2.ListStoryCommentRepliesRequest(story_id=thread.story, story_comment_id=first.id)
    assert [each.id for each in author.ListStoryCommentReplies(asked).story_comments] == [second.id]
    remove = story_comment_pb2.RemoveStoryCommentRequest(
        story_id=thread.story, story_comment_id=second.id, reason="Planted."
    )
    # PERMISSION_DENIED, FAILED_PRECONDITION and ABORTED, as the contract says.
    assert refused(lambda: writer.RemoveStoryComment(remove)).code == 7
    approve = story_comment_pb2.ApproveStoryCommentRequest(story_id=thread.story, story_comment_id=first.id)
    assert refused(lambda: author.ApproveStoryComment(approve)).code == 9
    stale = story_comment_pb2.DeleteStoryCommentRequest(
        story_id=thread.story, story_comment_id=first.id, etag=second.id
    )
    assert refused(lambda: writer.DeleteStoryComment(stale)).code == 10
