"""Postings in PostgreSQL: the rows of a write, the keys of typos, ranges of "C", and the upkeep of workers."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plinth.sites.v1.page_pb2 import Page

from server.data.transactions import Database, Scope
from server.domains.sites.pages import PageService
from server.domains.sites.tables import pages_search
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


def test_only_what_changed_is_written() -> None:
    """The statement is not even sent when no word changed."""
    sent: list[object] = []

    class Transaction:
        def queue(self, _: object, **parameters: object) -> None:
            sent.append(parameters["words"])

    page = Page(id=page_id(1), title="Same words")
    again = Page(id=page_id(1), title="WORDS, same!")
    deleted = Page(id=page_id(1), title="Same words")
    deleted.delete_time.GetCurrentTime()
    for change in (Change(page, again), Change(deleted, deleted), Change(page, None)):
        POSTINGS.keep(Transaction(), tenant(1), [change])  # type: ignore[arg-type]
    assert sent == []
    for change in (Change(None, page), Change(page, deleted), Change(deleted, page)):
        POSTINGS.keep(Transaction(), tenant(1), [change])  # type: ignore[arg-type]
    assert sent == [["same", "words", MARK], [], ["same", "words", MARK]]
