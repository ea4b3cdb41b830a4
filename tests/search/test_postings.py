"""Postings in PostgreSQL: the rows of a write, the keys of typos, ranges of "C", and the upkeep of workers."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plinth.sites.v1.page_pb2 import Page

from server.data.transactions import Database, Scope
from server.domains.sites.pages import PageService
from server.domains.sites.tables import pages_search
from server.domains.tenancy.purging import DROP_TENANT
from server.kernel.search.declaration import MARK, Search
from server.kernel.search.postings import Change, Postings
from server.kernel.search.words import LONGEST_WORD, beginning_end, forgives, typo_keys
from server.workers import search as upkeep
from server.workers.search import SearchUpkeep
from tests.kernel.database import connections
from tests.search.database import Scratch, add_tenants, migrated, tenant
from tests.search.test_words import TEXTS
from tests.stack import Stack, wait_for

SEARCH = Search(pages_search, {"title": 3, "description": 1})
assert PageService.resource.search is not None
MARKED = PageService.resource.search.mark
POSTINGS = Postings(SEARCH)
# Each example replaces the words of the example before.
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.text(st.characters(categories=["L", "N"], include_characters="01a"), min_size=1, max_size=LONGEST_WORD)


@pytest.fixture(scope="module")
def scratch(stack: Stack) -> Iterator[Scratch]:
    """A database with three tenants."""
    with migrated(stack) as found:
        add_tenants(found.owner, 3)
        yield found


@pytest.fixture(scope="module")
def database(scratch: Scratch) -> Iterator[Database]:
    """That database as the runtime role."""
    with connections(scratch.runtime) as pool:
        yield Database(pool)


@pytest.fixture
def page(scratch: Scratch) -> Iterator[str]:
    """A page of tenant 1, without words. Everything is removed after the test."""
    with psycopg.connect(scratch.owner) as connection:
        add_page(connection, 1, "Zürich guide")
    yield page_id(1)
    with psycopg.connect(scratch.owner) as connection:
        for table in ("pages", "pages_typos"):
            connection.execute(f"DELETE FROM {table}".encode())


def page_id(number: int) -> str:
    return f"01890000-0000-7000-9000-{number:012x}"


def add_page(connection: psycopg.Connection[tuple[object, ...]], number: int, title: str, owner: int = 1) -> None:
    """A page as an earlier version of Plinth wrote it."""
    connection.execute(
        "INSERT INTO pages (tenant_id, id, slug, title, status) VALUES (%s, %s, %s, %s, 1)",
        (tenant(owner), page_id(number), f"page-{number}", title),
    )


def rows(scratch: Scratch, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(scratch.owner) as connection:
        return connection.execute(query.encode()).fetchall()


def words(scratch: Scratch) -> dict[object, object]:
    """The words of the first page with their weights, without the mark."""
    query = f"SELECT word, weight FROM pages_words WHERE resource_id = '{page_id(1)}' AND word <> ''"
    return dict(rows(scratch, query))


def keys(scratch: Scratch) -> set[tuple[object, object]]:
    """The keys of the tenant's words."""
    return {(key, word) for key, word in rows(scratch, "SELECT key, word FROM pages_typos")}


def replace(database: Database, page: str, words: dict[str, int]) -> None:
    with database.write(Scope(tenant(1))) as transaction:
        POSTINGS.replace(transaction, tenant(1), [(page, words)])


def test_a_write_changes_the_rows_that_differ(scratch: Scratch, database: Database, page: str) -> None:
    replace(database, page, {"kept": 1, "gone": 1, "heavier": 1})
    query = "SELECT word, xmin::text FROM pages_words WHERE word IN ('kept', 'heavier')"
    before = dict(rows(scratch, query))
    replace(database, page, {"kept": 1, "heavier": 3, "new": 2})
    after = dict(rows(scratch, query))
    assert words(scratch) == {"kept": 1, "heavier": 3, "new": 2}
    assert before["kept"] == after["kept"]
    assert before["heavier"] != after["heavier"]
    replace(database, page, {})
    assert words(scratch) == {}


def test_one_statement_writes_several_resources(scratch: Scratch, database: Database, page: str) -> None:
    with psycopg.connect(scratch.owner) as connection:
        add_page(connection, 2, "Second")
    replace(database, page, {"first": 1})
    with database.write(Scope(tenant(1))) as transaction:
        POSTINGS.replace(transaction, tenant(1), [(page, {"both": 1}), (page_id(2), {"both": 2, "more": 2})])
    found = rows(scratch, "SELECT resource_id::text, word, weight FROM pages_words ORDER BY 1, 2")
    assert found == [(page, "both", 1), (page_id(2), "both", 2), (page_id(2), "more", 2)]


@FEW
@given(WORDS)
def test_postgresql_makes_the_keys_that_queries_ask_for(
    scratch: Scratch, database: Database, page: str, word: str
) -> None:
    rows(scratch, "DELETE FROM pages_typos RETURNING key")
    replace(database, page, {})
    replace(database, page, {word: 1})
    assert keys(scratch) == ({(key, word) for key in typo_keys(word)} if forgives(word) else set())


@FEW
@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=20, unique=True), TEXTS.filter(bool))
def test_a_range_finds_what_begins_with_its_beginning(
    scratch: Scratch, database: Database, page: str, texts: list[str], beginning: str
) -> None:
    """PostgreSQL compares as Python does, whatever the last character is."""
    longer = {beginning + text for text in texts}
    replace(database, page, dict.fromkeys((*texts, *longer, beginning), 1))
    query = "SELECT word FROM pages_words WHERE word > %s AND word < %s"
    with psycopg.connect(scratch.owner) as connection:
        found = connection.execute(query, (beginning, beginning_end(beginning))).fetchall()
    expected = {text for text in (*texts, *longer) if text.startswith(beginning) and text != beginning}
    assert {row[0] for row in found} == expected


# Upkeep --------------------------------------------------------------------------------------------------------------


def upkeep_of(database: Database) -> SearchUpkeep:
    return SearchUpkeep(database, [PageService.resource, None])


def test_pages_from_before_get_their_words(
    scratch: Scratch, database: Database, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "RESOURCES_AT_ONCE", 2)
    monkeypatch.setattr(upkeep, "TENANTS_AT_ONCE", 2)
    with psycopg.connect(scratch.owner) as connection:
        for number in range(2, 7):
            add_page(connection, number, f"Title {number}", owner=number % 3)
        connection.execute("UPDATE pages SET delete_time = now() WHERE id = %s", (page_id(6),))
    SearchUpkeep(database, [PageService.resource]).make_words()
    assert words(scratch) == {"zurich": 3, "zuerich": 3, "guide": 3, "page": 2, "1": 2}
    found = rows(scratch, "SELECT DISTINCT tenant_id::text, resource_id::text FROM pages_words ORDER BY 2")
    assert found == [(tenant(number % 3), page_id(number)) for number in range(1, 6)]
    assert page == page_id(1)


def test_words_are_made_again_when_the_search_changes(scratch: Scratch, database: Database, page: str) -> None:
    replace(database, page, {"stale": 1, MARK: 1})
    upkeep_of(database).run()
    assert words(scratch) == {"zurich": 3, "zuerich": 3, "guide": 3, "page": 2, "1": 2}
    # What is up to date is left alone.
    replace(database, page, {"fresh": 1, MARK: MARKED})
    upkeep_of(database).run()
    assert words(scratch) == {"fresh": 1}


def test_a_page_that_is_being_written_is_left_to_its_writer(scratch: Scratch, database: Database, page: str) -> None:
    with psycopg.connect(scratch.owner) as connection:
        connection.execute("SELECT id FROM pages WHERE id = %s FOR UPDATE", (page,))
        upkeep_of(database).run()
        assert words(scratch) == {}
    upkeep_of(database).run()
    assert words(scratch)


def test_words_that_no_resource_has_are_forgotten(scratch: Scratch, database: Database, page: str) -> None:
    mark = {MARK: MARKED}
    replace(database, page, {"former": 1, "lasting": 1, **mark})
    replace(database, page, {"lasting": 1, **mark})
    assert {word for _, word in keys(scratch)} == {"former", "lasting"}
    upkeep_of(database).run()
    assert keys(scratch) == {(key, "lasting") for key in typo_keys("lasting")}


def test_a_word_that_came_back_while_it_was_forgotten_gets_its_keys(
    scratch: Scratch, database: Database, page: str
) -> None:
    replace(database, page, {"lasting": 1, MARK: MARKED})
    rows(scratch, "DELETE FROM pages_typos RETURNING key")
    upkeep_of(database).run()
    assert keys(scratch) == {(key, "lasting") for key in typo_keys("lasting")}


def test_a_worker_makes_missing_words_at_its_start(scratch: Scratch, database: Database, page: str) -> None:
    async def work() -> None:
        service = asyncio.create_task(first.run())
        await asyncio.to_thread(wait_for, lambda: bool(words(scratch)))
        service.cancel()
        with suppress(asyncio.CancelledError):
            await service

    both = upkeep_of(database)
    with ThreadPoolExecutor(1) as threads:
        first = both.at_start(threads)
        asyncio.run(work())
    assert both.schedule.job.run == both.run
    # The service was cancelled, so a run that is still under way ends.
    replace(database, page, {})
    both.run()
    assert words(scratch) == {}


def test_words_go_with_a_purged_resource_as_the_role_that_purges(
    scratch: Scratch, database: Database, page: str
) -> None:
    """Its privileges do not reach the words: PostgreSQL removes them as the owner of the table."""
    replace(database, page, {"purged": 1})
    with psycopg.connect(scratch.owner) as connection:
        connection.execute("UPDATE pages SET delete_time = now()")
    with psycopg.connect(scratch.dispatch) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT word FROM pages_words")
        connection.rollback()
        assert connection.execute("DELETE FROM pages WHERE delete_time IS NOT NULL").rowcount == 1
    assert words(scratch) == {}


def test_words_go_with_their_tenant(scratch: Scratch, database: Database, page: str) -> None:
    other = page_id(7)
    with psycopg.connect(scratch.owner) as connection:
        connection.execute(
            "INSERT INTO tenants (id, subdomain, name, status) VALUES (%s, 'leaves', 'Leaves', 1)", (tenant(9),)
        )
        add_page(connection, 7, "Leaves", owner=9)
    replace(database, page, {"stays": 1})
    with database.write(Scope(tenant(9))) as transaction:
        POSTINGS.replace(transaction, tenant(9), [(other, {"leaves": 1})])
    with database.write(Scope(platform=True)) as transaction:
        transaction.run(DROP_TENANT, tenant=tenant(9), before=datetime.now(UTC))
    assert rows(scratch, "SELECT word FROM pages_words ORDER BY word") == [("leaves",), ("stays",)]
    with psycopg.connect(scratch.owner) as connection:
        connection.execute("UPDATE tenants SET delete_time = '2020-01-01' WHERE id = %s", (tenant(9),))
    with database.write(Scope(platform=True)) as transaction:
        transaction.run(DROP_TENANT, tenant=tenant(9), before=datetime.now(UTC))
    assert rows(scratch, "SELECT word FROM pages_words") == [("stays",)]


STATES = st.lists(st.tuples(TEXTS | st.text("abcde fghi"), st.booleans()), min_size=1, max_size=4)


def version(title: str, *, is_deleted: bool = False) -> Page:
    """The first page with this title."""
    found = Page(id=page_id(1), title=title)
    if is_deleted:
        found.delete_time.GetCurrentTime()
    return found


@FEW
@given(STATES)
def test_writes_leave_the_words_of_the_last_state(
    scratch: Scratch, database: Database, page: str, states: list[tuple[str, bool]]
) -> None:
    replace(database, page, {})
    before = None
    for title, is_deleted in states:
        after = version(title, is_deleted=is_deleted)
        with database.write(Scope(tenant(1))) as transaction:
            POSTINGS.keep(transaction, tenant(1), [Change(before, after)])
        expected = {} if is_deleted else {**SEARCH.words(after), MARK: SEARCH.mark}
        assert dict(rows(scratch, f"SELECT word, weight FROM pages_words WHERE resource_id = '{page}'")) == expected
        assert {(key, word) for word in expected if forgives(word) for key in typo_keys(word)} <= keys(scratch)
        before = after


def test_writes_of_several_resources_at_once(scratch: Scratch, database: Database, page: str) -> None:
    with psycopg.connect(scratch.owner) as connection:
        add_page(connection, 2, "Second")
    titles = {page: ("Opening hours", "Closing hours"), page_id(2): ("One thing", "Another thing")}
    firsts, seconds = ([Page(id=each, title=titles[each][place]) for each in titles] for place in (0, 1))
    for befores, afters in (((None, None), firsts), (firsts, seconds)):
        with database.write(Scope(tenant(1))) as transaction:
            POSTINGS.keep(transaction, tenant(1), map(Change, befores, afters))
        found = rows(scratch, "SELECT resource_id::text, word, weight FROM pages_words")
        assert set(found) == {(each.id, word, weight) for each in afters for word, weight in POSTINGS.of(each).items()}
        learned = {word for each in afters for word in POSTINGS.of(each) if forgives(word)}
        assert learned <= {word for _, word in keys(scratch)}


def test_only_what_changed_is_written() -> None:
    """No statement is even sent when no word changed."""
    sent: list[dict[str, object]] = []

    class Transaction:
        def queue(self, _: object, **parameters: object) -> None:
            sent.append(parameters)

    def keep(before: Page | None, after: Page | None) -> list[dict[str, object]]:
        sent.clear()
        POSTINGS.keep(Transaction(), tenant(1), [Change(before, after)])  # type: ignore[arg-type]
        return [{name: value for name, value in each.items() if name != "tenant"} for each in sent]

    page, deleted = version("Same words"), version("Same words", is_deleted=True)
    for before, after in ((page, version("WORDS, same!")), (deleted, deleted), (page, None)):
        assert keep(before, after) == []
    one = page_id(1)
    all_of_it = {"owners": f"{one} {one} {one}", "words": "same words ", "weights": f"3 3 {SEARCH.mark}"}
    learned = {"resource": one, "words": "words"}
    assert keep(None, page) == [all_of_it, learned]
    assert keep(deleted, page) == [all_of_it, learned]
    assert keep(page, deleted) == [{"resources": [one]}]
    assert keep(page, version("Same place")) == [
        {"owners": [one], "words": ["words"]},
        {"owners": one, "words": "place", "weights": "3"},
        {"resource": one, "words": "place"},
    ]
