"""A thread of ten thousand comments: its pages while others write, and what each page reads."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Event
from typing import Any, NamedTuple

import psycopg
import pytest

from server.data.statements import Statement
from server.domains.stories.comment_paths import LEVELS, depth_of, path_below
from server.domains.stories.comment_rows import REPLIES
from server.domains.stories.comments import COMMENT, StoryCommentService
from server.kernel.ids import new_id
from server.kernel.queries import PageTokens, parse_filter
from server.kernel.queries.pages import parse_order
from server.kernel.resources import Lister
from server.kernel.resources.lists import _Shape
from server.kernel.resources.reach import EVERYTHING, Reach
from tests.clients import Rest, Tenant, database, new_member
from tests.domains.stories.instances import STORIES, new_comment, published
from tests.plans import MODES, nodes, plan_of, read_by, scans
from tests.search.database import Scratch, add_tenants, migrated, tenant
from tests.stack import Stack

COMMENTS, PAGE, TENANTS, HERE = 10_000, 200, 2, 1
READ_BY_PAGE = PAGE + 1
"""One more, which tells whether there is a next page."""
COLUMNS = "(tenant_id, id, story_id, story_author_id, author_id, parent_id, body, state, path, depth, score)"


class Comment(NamedTuple):
    """A comment of the thread."""

    id: str
    parent_id: str | None
    path: str
    score: float


def tree(random: Random, count: int = COMMENTS) -> list[Comment]:
    """A random thread, in the order in which it was written. What is answered is now new, now old."""
    thread: list[Comment] = []
    for number in range(1, count + 1):
        above = None
        if thread and random.random() < 0.85:
            above = random.choice(thread[-50:] if random.random() < 0.7 else thread)
        path = path_below(above.path if above else "", number)
        thread.append(Comment(new_id(), above.id if above else None, path, random.random()))
    assert {depth_of(each.path) for each in thread} == {*range(1, LEVELS + 1)}
    return thread


def fill(
    connection: psycopg.Connection[Any], tenant_id: str, story: str, author: str, thread: Sequence[Comment]
) -> None:
    """The rows of a thread."""
    with connection.cursor().copy(f"COPY story_comments {COLUMNS} FROM STDIN".encode()) as into:
        for each in thread:
            row = (tenant_id, each.id, story, author, author, each.parent_id, "<p>Planted.</p>", 2, each.path)
            into.write_row((*row, depth_of(each.path), each.score))
    connection.execute(
        b"UPDATE stories SET comments_made = %s, comment_count = %s WHERE id = %s", (len(thread), len(thread), story)
    )


# Pages ---------------------------------------------------------------------------------------------------------------


class Filled(NamedTuple):
    """The thread in a tenant of the stack."""

    tenant: Tenant
    reader: Rest
    path: str
    thread: Sequence[Comment]


@pytest.fixture
def filled(tenant: Tenant) -> Filled:
    # The same ones in each run.
    thread = tree(Random(17))  # noqa: S311
    story = published(tenant)["id"]
    account, session = new_member(tenant, "member")
    with database(tenant.stack) as connection:
        fill(connection, tenant.id, story, account.id, thread)
    return Filled(tenant, Rest(tenant.stack, session.access_token), f"{STORIES}/{story}/comments", thread)


def pages(rest: Rest, path: str, **options: Any) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list."""
    token = ""
    while True:
        answer = rest.get(path, {"pageSize": PAGE, "pageToken": token, **options})
        assert answer.status_code == 200, answer.text
        yield answer.json()["storyComments"]
        token = answer.json()["nextPageToken"]
        if not token:
            return


def in_order(thread: Sequence[Comment]) -> list[str]:
    """The ids as the thread is read."""
    return [each.id for each in sorted(thread, key=lambda each: each.path)]


def test_a_long_thread_has_each_comment_once_in_the_order_of_its_paths(filled: Filled) -> None:
    found = list(pages(filled.reader, filled.path))
    assert [len(each) for each in found] == [PAGE] * (COMMENTS // PAGE)
    assert [each["id"] for page in found for each in page] == in_order(filled.thread)
    ids = [each.parent_id for each in filled.thread]
    for each in found[0] + found[-1]:
        assert each["replyCount"] == ids.count(each["id"])


def test_the_replies_of_a_comment_are_what_is_below_it(filled: Filled) -> None:
    # The one with most below it.
    tops = [each for each in filled.thread if depth_of(each.path) == 1]
    below = {top.id: [each for each in filled.thread if each.path.startswith(top.path)] for top in tops}
    largest = max(below.values(), key=len)
    assert len(largest) > PAGE
    [top, *expected] = in_order(largest)
    found = [each["id"] for page in pages(filled.reader, f"{filled.path}/{top}/replies") for each in page]
    assert found == expected
    first = [each["id"] for page in pages(filled.reader, filled.path, filter="depth = 1") for each in page]
    assert first == in_order(tops)


def test_the_most_helpful_of_a_long_thread_come_in_pages_too(filled: Filled) -> None:
    found = [each["id"] for page in pages(filled.reader, filled.path, orderBy="score desc") for each in page]
    assert found == [each.id for each in sorted(filled.thread, key=lambda each: -each.score)]


def test_pages_neither_skip_nor_repeat_while_others_write(filled: Filled) -> None:
    owner, has_ended, gone, written = filled.tenant.rest, Event(), set[str](), list[str]()
    # What has no replies is gone once it is deleted; the others keep their place. Writers answer other comments.
    answered = {each.parent_id for each in filled.thread}
    leaves = [each for each in filled.thread if each.id not in answered]
    turns = {name: Event() for name in ("reply", "edit", "delete")}

    def reply(random: Random) -> None:
        above = random.choice([each for each in filled.thread if each.id in answered])
        answer = owner.post(filled.path, new_comment() | {"parentId": above.id})
        assert answer.status_code == 201, answer.text
        written.append(answer.json()["id"])

    def edit(random: Random) -> None:
        each = random.choice([each for each in filled.thread if each.id in answered])
        changed = filled.reader.patch(f"{filled.path}/{each.id}", new_comment())
        assert changed.status_code == 200, changed.text

    def delete(random: Random) -> None:
        each = leaves.pop(random.randrange(len(leaves)))
        gone.add(each.id)
        assert filled.reader.delete(f"{filled.path}/{each.id}").status_code == 204

    def write(name: str) -> None:
        random = Random(name)  # noqa: S311 - the same ones in each run
        act = {"reply": reply, "edit": edit, "delete": delete}[name]
        try:
            while not has_ended.is_set():
                act(random)
                turns[name].set()
        finally:
            # A writer that fails does not keep the pages waiting: its result tells.
            turns[name].set()

    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor(len(turns)) as pool:
        writers = [pool.submit(write, name) for name in turns]
        try:
            for page in pages(filled.reader, filled.path):
                found += page
                # Something of everything happens between two pages.
                for turn in turns.values():
                    turn.clear()
                    assert turn.wait(60)
        finally:
            has_ended.set()
        for each in writers:
            each.result()
    paths = [each["path"] for each in found]
    assert paths == sorted(set(paths))
    ids = [each["id"] for each in found]
    assert len(ids) == len({*ids})
    # All that was there at the beginning and is there still, in order; beside it only what was written, or is gone.
    stays = [each for each in in_order(filled.thread) if each not in gone]
    assert [each for each in ids if each in {*stays}] == stays
    assert {*ids} - {*stays} <= gone | {*written}
    assert {*written} & {*ids}
    assert gone - {*ids}
    assert min(len(written), len(gone)) >= COMMENTS // PAGE


# Plans ---------------------------------------------------------------------------------------------------------------

SERVICE = StoryCommentService(PageTokens(b"k" * 32))
LISTER = Lister(SERVICE.rows, PageTokens(b"k" * 32))
STORY = f"01890000-0000-7000-a000-{HERE:012x}"
AUTHOR, SOMEBODY = "01890000-0000-7000-b000-000000000001", "01890000-0000-7000-b000-000000000002"
# The same ones in each run.
THREAD = tree(Random(23))  # noqa: S311
BY_PATH = sorted(THREAD, key=lambda each: each.path)
BY_SCORE = sorted(THREAD, key=lambda each: (-each.score, each.id))
TOPS = [each for each in BY_PATH if depth_of(each.path) == 1]
REACHES = {
    "a reader": Reach(own=True, inside=True, shown=True, above_own=True, above_shown=True),
    "a key": Reach(inside=True, shown=True, above_shown=True),
    "a moderator": EVERYTHING._replace(inside=True),
}


@pytest.fixture(scope="module")
def scratch(stack: Stack) -> Iterator[Scratch]:
    """A database of its own with the thread, as many comments on another story, and the same in another tenant."""
    with migrated(stack) as made:
        add_tenants(made.owner, TENANTS)
        with psycopg.connect(made.owner, autocommit=True) as connection:
            for number in range(TENANTS):
                stories = [
                    STORY.replace("-a000-", f"-{each:04x}-")[:-12] + f"{number:012x}" for each in range(0xA000, 0xA400)
                ]
                connection.cursor().executemany(
                    b"INSERT INTO stories (tenant_id, id, author_id, slug, title, state)"
                    b" VALUES (%s, %s, %s, %s, '', 3)",
                    [(tenant(number), each, AUTHOR, each) for each in stories],
                )
                for story in stories[:2]:
                    thread = THREAD if story == STORY else tree(Random(story))  # noqa: S311
                    fill(connection, tenant(number), story, AUTHOR, thread)
            connection.execute(b"VACUUM ANALYZE")
        yield made


def page_of(
    who: str, text: str = "", order_by: str = "", after: Mapping[str, Any] | None = None
) -> tuple[Statement, dict[str, Any]]:
    """The statement of a page with its parameters."""
    bound = LISTER._filters.bind(parse_filter(text))  # noqa: SLF001 - what it sends is looked at
    order = parse_order(order_by, COMMENT.sortable, COMMENT.default_order)
    shape = _Shape(REACHES[who], order, bool(after), total=False, deleted=False, words=0)
    statement = LISTER._statement(bound, shape)  # noqa: SLF001 - what it sends is looked at
    owner = {"owner_id": SOMEBODY, "above_id": SOMEBODY} if REACHES[who].own else {}
    scope = {"key_tenant_id": tenant(HERE), "parent_id": STORY, **owner}
    return statement, {**bound.parameters, **scope, **(after or {}), "limit": READ_BY_PAGE, "skip": 0}


def behind(each: Comment, *, score: bool = False) -> dict[str, Any]:
    """The cursor of a page that begins behind a comment."""
    return {"after_0": str(each.score) if score else each.path, "after_1": each.id}


TOP = max(TOPS, key=lambda top: sum(each.path.startswith(top.path) for each in THREAD))
BELOW = f'path > "{TOP.path}" AND path < "{TOP.path}~"'
PAGES: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "the first page": ("", "", None),
    "a page in the middle": ("", "", behind(BY_PATH[COMMENTS // 2])),
    "the last page": ("", "", behind(BY_PATH[-READ_BY_PAGE - 1])),
    "the first page of those that answer none": ("depth = 1", "", None),
    "the last page of those that answer none": ("depth = 1", "", behind(TOPS[-READ_BY_PAGE - 1])),
    "the most helpful": ("", "score desc", None),
    "the least helpful": ("", "score desc", behind(BY_SCORE[-READ_BY_PAGE - 1], score=True)),
    "replies": (BELOW, "", None),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("who", REACHES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_no_more_rows_than_it_has(scratch: Scratch, name: str, who: str, mode: str) -> None:
    statement, parameters = page_of(who, *PAGES[name])
    # A statement that is not kept is planned for its parameters each time.
    if mode == MODES[1] and not statement.is_kept:
        return
    plan = plan_of(scratch, HERE, statement, parameters, mode)
    assert plan["Actual Rows"] == READ_BY_PAGE
    kinds = {node["Node Type"] for node in nodes(plan)}
    assert not {each for each in kinds if "Sort" in each or each == "Seq Scan"}, json.dumps(plan, indent=1)
    [scan] = scans(plan, "story_comments")
    assert scan["Node Type"] in ("Index Scan", "Index Only Scan"), json.dumps(scan, indent=1)
    assert read_by(scan) <= READ_BY_PAGE, json.dumps(scan, indent=1)
    assert sum(map(read_by, scans(plan, "stories"))) <= 2, json.dumps(plan, indent=1)


@pytest.mark.parametrize("mode", MODES)
def test_replies_are_counted_by_an_index(scratch: Scratch, mode: str) -> None:
    ids = [each.id for each in BY_PATH[:PAGE]]
    plan = plan_of(scratch, HERE, REPLIES, {"tenant": tenant(HERE), "comments": ids}, mode)
    found = scans(plan, "story_comments")
    assert found
    assert all(node["Node Type"] != "Seq Scan" for node in found), json.dumps(found, indent=1)
    # Those that answer one of the page, and no others.
    answers = sum(each.parent_id in {*ids} for each in THREAD)
    assert sum(map(read_by, found)) <= answers, json.dumps(found, indent=1)
