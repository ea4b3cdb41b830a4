"""Matching: a search finds what comparing every resource with every word finds, in the same order."""

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from plinth.sites.v1.page_pb2 import ListPagesRequest, Page

from server.data.transactions import Database, Scope
from server.domains.sites.pages import PageService
from server.kernel.queries.pages import PageTokens
from server.kernel.resources.lists import Lister
from server.kernel.search.matching import BEGINNING, TYPO
from server.kernel.search.postings import Postings
from server.kernel.search.words import Word, asked_words, forgives, typo_keys
from tests.kernel.database import connections
from tests.search.database import add_tenants, migrated, tenant
from tests.stack import Stack

SERVICE = PageService()
LISTER = Lister(SERVICE.rows, PageTokens(b"k" * 32))
assert PageService.resource.search is not None
SEARCH = PageService.resource.search
# Words that begin with others, that are one letter apart, and that have umlauts.
VOCABULARY = [
    "zürich",
    "zuerich",
    "zurich",
    "zur",
    "zuricher",
    "house",
    "houses",
    "housing",
    "horse",
    "mouse",
    "mousse",
    "haus",
    "a",
    "ab",
    "abc",
    "2026",
    "20261",
    "日本語",
]
PAGES, QUERIES = 150, 150


def pages(random: Random) -> list[Page]:
    """Pages of two tenants with a few words each."""
    return [
        Page(
            id=f"01890000-0000-7000-9000-{number:012x}",
            tenant_id=tenant(number % 2),
            slug=f"p{number}",
            title=" ".join(random.choices(VOCABULARY, k=random.randint(0, 3))),
            description=" ".join(random.choices(VOCABULARY, k=random.randint(0, 4))),
        )
        for number in range(PAGES)
    ]


@pytest.fixture(scope="module")
def library(stack: Stack) -> Iterator[tuple[Database, list[Page]]]:
    """The pages in a database, seen by the runtime role."""
    made = pages(Random(7))  # noqa: S311 - the same ones in each run
    with migrated(stack) as scratch, connections(scratch.runtime) as pool:
        add_tenants(scratch.owner, 2)
        database = Database(pool)
        with psycopg.connect(scratch.owner) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO pages (tenant_id, id, slug, title, description, status) VALUES (%s, %s, %s, %s, %s, 1)",
                [(page.tenant_id, page.id, page.slug, page.title, page.description) for page in made],
            )
        postings = Postings(SEARCH)
        for number in range(2):
            with database.write(Scope(tenant(number))) as transaction:
                own = [(page.id, postings.of(page)) for page in made if page.tenant_id == tenant(number)]
                postings.replace(transaction, tenant(number), own)
        yield database, made


def score(word: Word, other: str, weight: int) -> int | None:
    """How well a word of a resource fits one of a query; None if it does not."""
    if other in word.spellings:
        return weight
    if word.begins and any(other.startswith(each) for each in word.spellings):
        return weight - BEGINNING
    is_near = any(set(typo_keys(each)) & set(typo_keys(other)) for each in word.spellings if forgives(each))
    return weight - TYPO if is_near and forgives(other) else None


def rank(query: tuple[Word, ...], page: Page) -> int | None:
    """The rank of a page; None if it lacks a word."""
    total = 0
    for word in query:
        scores = [
            found for other, weight in SEARCH.words(page).items() if (found := score(word, other, weight)) is not None
        ]
        if not scores:
            return None
        total += max(scores)
    return total


def by_hand(query: tuple[Word, ...], own: list[Page]) -> list[str]:
    """The ids that a search has to find, in their order."""
    ranked = [(found, page.id) for page in own if (found := rank(query, page)) is not None]
    return [page_id for _, page_id in sorted(ranked, reverse=True)]


def search(database: Database, q: str) -> list[str]:
    """The ids that a search finds, from several pages."""
    found: list[str] = []
    token = ""
    while True:
        with database.read(Scope(tenant(1))) as reads:
            call: Any = SimpleNamespace(
                method=SimpleNamespace(path="list"), tenant_id=tenant(1), actor_id="user", reads=reads
            )
            request = ListPagesRequest(tenant_id=tenant(1), q=q, page_size=20, page_token=token)
            some, token, _ = LISTER.page(call, request)
        found += [page.id for page in some]
        if not token:
            return found


def queries(random: Random) -> Iterator[str]:
    """Queries of one to three words, which may be cut or mistyped."""
    for _ in range(QUERIES):
        words = random.choices(VOCABULARY, k=random.randint(1, 3))
        place = random.randrange(len(words[-1]) + 1)
        yield " ".join(words)
        yield " ".join((*words[:-1], words[-1][:place]))
        yield " ".join((*words[:-1], f"{words[-1][:place]}x{words[-1][place:]}"))


def test_a_search_is_what_comparing_everything_finds(library: tuple[Database, list[Page]]) -> None:
    database, made = library
    own = [page for page in made if page.tenant_id == tenant(1)]
    found_any = 0
    for q in queries(Random(11)):  # noqa: S311 - the same ones in each run
        expected = by_hand(asked_words(q), own)
        assert search(database, q) == expected, q
        found_any += bool(expected)
    assert found_any > QUERIES
