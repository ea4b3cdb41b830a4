"""What a search costs: the plan of its statement as the runtime role, with 50,000 pages in 20 tenants."""

from collections.abc import Iterator
from hashlib import md5
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plinth.sites.v1.page_pb2 import ListPagesRequest, Page

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.sites.pages import PageService
from server.domains.sites.tables import pages_search
from server.kernel.queries.pages import PageTokens
from server.kernel.resources.lists import Lister
from server.kernel.search import matching
from server.kernel.search.matching import MOST_ALIKE
from server.kernel.search.postings import Change, Postings
from server.workers.search import Searched
from tests.kernel.database import connections
from tests.plans import MODES, plan_of, read_by, scans
from tests.search.database import Scratch, add_tenants, migrated, tenant
from tests.stack import Stack

pytestmark = pytest.mark.heavy

TENANTS, PAGES, WORDS_EACH = 20, 50_000, 8
SERVICE = PageService()
# Less than the pages of the most common words, so that the bound is reached.
WALKED = 500
with patch.object(matching, "MOST_WALKED", WALKED):
    LISTER = Lister(SERVICE.rows, PageTokens(b"k" * 32))
RESOURCE = PageService.resource
# A word is eight letters of a hash of its number. Numbers follow Zipf's law: the word of 1 is on half of the pages, and
# most words are on a few.
FILL = f"""
    INSERT INTO pages (tenant_id, id, slug, title, status)
        SELECT ('01890000-0000-7000-8000-' || lpad(to_hex(n %% {TENANTS}), 12, '0'))::uuid,
               ('01890000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, 'page-' || n, 'Page ' || n, 1
          FROM generate_series(1, {PAGES}) n;
    SELECT setseed(0.5);
    INSERT INTO pages_words (tenant_id, resource_id, word, weight)
        SELECT DISTINCT ON (1, 2, 3) p.tenant_id, p.id,
               translate(left(md5(floor(3000 ^ random())::int::text), 8), '0123456789', 'ghijklmnop'),
               1 + (n %% 3)
          FROM pages p CROSS JOIN generate_series(1, {WORDS_EACH}) n;
    INSERT INTO pages_words (tenant_id, resource_id, word, weight)
        SELECT p.tenant_id, p.id, '', %s FROM pages p;
"""


def word(number: int) -> str:
    """The word of a number, as PostgreSQL makes it."""
    digest = md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return digest[:8].translate(str.maketrans("0123456789", "ghijklmnop"))


COMMON, SECOND, RARE = word(1), word(2), word(100)
QUERIES = {
    "a common word": COMMON,
    "a rare word": RARE,
    "the beginning of a sixteenth of all words": COMMON[0],
    "a typo in a common word": COMMON[:3] + COMMON[4:],
    "a typo in a rare word": RARE[:3] + "z" + RARE[4:],
    "two common words": f"{COMMON} {SECOND}",
    "a common and a rare word": f"{COMMON} {RARE}",
    "ten common words": " ".join(map(word, range(1, 11))),
    "a common word and a word that is not there": f"{COMMON} nowhere",
}


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Iterator[Scratch]:
    """The pages."""
    assert RESOURCE.search is not None
    with migrated(stack) as scratch:
        add_tenants(scratch.owner, TENANTS)
        with psycopg.connect(scratch.owner) as connection:
            connection.execute((FILL % RESOURCE.search.mark).encode())
        searched = Searched(RESOURCE, RESOURCE.search)
        with connections(scratch.runtime, statement_timeout=120) as pool:
            for number in range(TENANTS):
                searched.tidy(Database(pool), tenant(number))
        with psycopg.connect(scratch.owner, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        yield scratch


class Recorder:
    """Reads, and remembers the last statement."""

    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction
        self.statements: list[tuple[Statement, dict[str, object]]] = []

    def run(self, statement: Statement, **parameters: object) -> Any:
        self.statements.append((statement, parameters))
        return self._transaction.run(statement, **parameters)


def search(scratch: Scratch, q: str) -> tuple[list[Any], int | None, list[tuple[Statement, dict[str, object]]]]:
    """What a search of one tenant finds, and the statements that it ran."""
    with connections(scratch.runtime) as pool, Database(pool).read(Scope(tenant(7))) as transaction:
        reads = Recorder(transaction)
        method = SimpleNamespace(path="list")
        call: Any = SimpleNamespace(method=method, tenant_id=tenant(7), actor_id="user", reads=reads)
        found, _, total = LISTER.page(
            call, ListPagesRequest(tenant_id=tenant(7), q=q, page_size=200, include_total=True)
        )
    return found, total, reads.statements


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", QUERIES)
def test_a_search_reads_what_its_indexes_name_and_no_more(filled: Scratch, what: str, mode: str) -> None:
    query = QUERIES[what]
    _, _, statements = search(filled, query)
    assert len(statements) == 1
    plan = plan_of(filled, 7, *statements[0], mode)
    words, typos, pages = (scans(plan, table.name) for table in (*pages_search, SERVICE.rows.resource.table))
    count = len(query.split())
    for node in (*words, *typos, *pages):
        assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
    # Every scan is by a word, a key or an id, beside the tenant.
    assert all("word" in node["Index Cond"] for node in words), words
    assert all("key" in node["Index Cond"] for node in typos), typos
    assert all("(id =" in node["Index Cond"] for node in pages), pages
    assert not any("Filter" in node for node in words)
    walks = [node for node in words if "resource_id" not in node["Index Cond"]]
    probes = [node for node in words if node not in walks]
    assert sum(map(read_by, walks)) <= count * WALKED
    assert sum(map(read_by, probes)) <= count * WALKED
    assert sum(map(read_by, typos)) <= count * MOST_ALIKE
    # Twice: for the page and for the total.
    assert sum(map(read_by, pages)) <= 2 * WALKED


class Queue:
    """Remembers what a write would send."""

    def __init__(self) -> None:
        self.statements: list[tuple[Statement, dict[str, object]]] = []

    def queue(self, statement: Statement, **parameters: object) -> None:
        self.statements.append((statement, parameters))


OLD, NEW = f"{COMMON} {RARE} stays", f"{SECOND} stays unheard"
WRITES = {
    "a creation": (None, Page(title=NEW)),
    "another title": (Page(title=OLD), Page(title=NEW)),
    "a deletion": (Page(title=OLD), Page(title=OLD, delete_time=Timestamp(seconds=1))),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", WRITES)
def test_a_write_reads_the_rows_of_its_words_and_no_more(filled: Scratch, what: str, mode: str) -> None:
    """Whether PostgreSQL plans for the words of the write or for any: tenants have 20,000 postings here."""
    assert RESOURCE.search is not None
    with psycopg.connect(filled.owner) as connection:
        row = connection.execute("SELECT id::text FROM pages WHERE tenant_id = %s LIMIT 1", (tenant(7),)).fetchone()
    assert row is not None
    # A creation has no words yet; its rows are rolled back.
    page_id = row[0] if what != "a creation" else str(uuid4())
    before, after = (None if each is None else Page(id=page_id, **fields_of(each)) for each in WRITES[what])
    sent = Queue()
    Postings(RESOURCE.search).keep(sent, tenant(7), [Change(before, after)])  # type: ignore[arg-type]
    assert sent.statements
    for statement, parameters in sent.statements:
        found = [
            node
            for table in pages_search
            for node in scans(plan_of(filled, 7, statement, parameters, mode), table.name)
        ]
        for node in found:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
        assert sum(map(read_by, found)) <= 2 * WORDS_EACH, found


def fields_of(page: Page) -> dict[str, Any]:
    """What is set in a page."""
    return {field.name: value for field, value in page.ListFields()}


def test_what_is_found_is_what_is_there(filled: Scratch) -> None:
    with psycopg.connect(filled.owner) as connection:

        def having(*words: str) -> set[str]:
            query = """
                SELECT resource_id::text FROM pages_words WHERE tenant_id = %s AND word = ANY (%s)
                 GROUP BY resource_id HAVING count(*) = %s"""
            return {str(row[0]) for row in connection.execute(query, (tenant(7), list(words), len(words)))}

        rare, both = having(RARE), having(COMMON, RARE)
        common = [having(word(number)) for number in (1, 2)]
    assert 5 < len(both) < len(rare) < 200
    found, total, _ = search(filled, RARE)
    # Also those with words that are one letter apart, which come last.
    assert {page.id for page in found[: len(rare)]} == rare
    assert total is not None
    assert total >= len(rare)
    found, _, _ = search(filled, f"{COMMON} {RARE}")
    assert {page.id for page in found[: len(both)]} == both
    # The control: common words are on so many pages that reading all of them would break the bounds above.
    assert min(map(len, common)) > WALKED
    assert search(filled, COMMON)[1] == WALKED
