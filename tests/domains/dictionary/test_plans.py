"""Plans of the statements of dictionaries, as the runtime role, with 5,000 entries in each of several tenants.

Every scan is of an index, and what a search meets is in the index itself, so that no row is fetched for it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple
from unittest.mock import patch

import psycopg
import pytest
from psycopg import sql

from server.data.statements import Statement
from server.data.transactions import Database, Scope, Transaction
from server.domains.dictionary import finding
from server.domains.dictionary.choosing import MOST_NEAR, choosing
from server.domains.dictionary.exporting import BATCH, LICENCES, READ, READ_LICENSED, TRANSLATED
from server.domains.dictionary.finding import Place, look_up, search, suggest
from server.domains.dictionary.meeting import ALIKE, FACTS, MEET, MOST, MOST_BEGUN, PROBE
from server.domains.dictionary.misses import MISSING
from server.domains.dictionary.ranking import Hit
from server.domains.dictionary.storing import PLAN
from server.domains.dictionary.term_rows import ADD, FORGET, LEARN, REMOVE
from tests.contract.scratch import administrator
from tests.domains.dictionary.conftest import ENTRIES, Thousands
from tests.kernel.database import connections
from tests.plans import MODES, nodes, plan_of, read_by
from tests.search.database import Scratch, add_tenants, migrated, tenant
from tests.stack import Stack

TENANTS, HERE = 4, 1
LARGE, SMALL = f"01890000-0000-7000-a000-{HERE:012x}", f"01890000-0000-7000-b000-{HERE:012x}"
"""The dictionaries of the tenant. One of sixteen entries is in the small one."""
COPIED = ("dictionaries", "dictionary_typos", "dictionary_entries", "dictionary_terms")
# For each tenant. `end` are the last digits of its id.
PLACE = """
UPDATE copied_dictionaries
   SET tenant_id = %(tenant)s, id = ('01890000-0000-7000-a000-' || %(end)s)::uuid, key = 'large';
INSERT INTO dictionaries TABLE copied_dictionaries;
UPDATE copied_dictionaries SET id = ('01890000-0000-7000-b000-' || %(end)s)::uuid, key = 'small';
INSERT INTO dictionaries TABLE copied_dictionaries;
UPDATE copied_dictionary_typos
   SET tenant_id = %(tenant)s, dictionary_id = ('01890000-0000-7000-a000-' || %(end)s)::uuid;
INSERT INTO dictionary_typos TABLE copied_dictionary_typos;
UPDATE copied_dictionary_entries
   SET tenant_id = %(tenant)s, dictionary_id =
       (CASE right(id::text, 1) WHEN '0' THEN '01890000-0000-7000-b000-' ELSE '01890000-0000-7000-a000-' END
        || %(end)s)::uuid;
INSERT INTO dictionary_entries TABLE copied_dictionary_entries;
UPDATE copied_dictionary_terms
   SET tenant_id = %(tenant)s, dictionary_id =
       (CASE right(resource_id::text, 1) WHEN '0' THEN '01890000-0000-7000-b000-' ELSE '01890000-0000-7000-a000-' END
        || %(end)s)::uuid;
INSERT INTO dictionary_terms TABLE copied_dictionary_terms;
INSERT INTO dictionary_misses (tenant_id, day, language, text, searches)
SELECT %(tenant)s, (date '2026-01-01' + d)::text, CASE WHEN n %% 2 = 0 THEN 'de' ELSE '' END, 'missing ' || n, n
  FROM generate_series(0, 89) d, generate_series(1, 40) n;
"""
INDEX_ONLY, INDEXED = ("Index Only Scan",), ("Index Only Scan", "Index Scan", "Bitmap Heap Scan")
SCANS = {ALIKE: INDEX_ONLY, MEET: INDEX_ONLY, PROBE: INDEXED, FACTS: INDEXED}
"""How each statement of a search reads tables."""


class Searched(NamedTuple):
    """A search for two words, and the statements that it runs."""

    find: Callable[[Place, str, str], Sequence[Hit]]
    statements: Sequence[Statement]


SEARCHES = {
    "a word": Searched(lambda at, one, _: search(at, one), (ALIKE, MEET, FACTS)),
    "a word with a typo": Searched(lambda at, one, _: search(at, f"{one[0]}{one[2:]}"), (ALIKE, MEET, FACTS)),
    "a beginning": Searched(lambda at, one, _: search(at, one[:4]), (MEET, FACTS)),
    "a short beginning": Searched(lambda at, one, _: search(at, one[:2]), (MEET, FACTS)),
    "two common words": Searched(lambda at, one, two: search(at, f"{one} {two}"), (ALIKE, MEET, PROBE, FACTS)),
    "a word and a beginning": Searched(
        lambda at, one, two: search(at, f"{one} {two[:4]}"), (ALIKE, MEET, PROBE, FACTS)
    ),
    "a suggestion": Searched(lambda at, one, _: suggest(at, one[:-1]), (ALIKE, MEET, FACTS)),
    "a look-up": Searched(lambda at, one, _: look_up(at, one), (MEET, FACTS)),
}


class Bounded(NamedTuple):
    """A statement with its parameters, and the rows that a scan of it may read."""

    statement: Statement
    parameters: Mapping[str, Any]
    most: int


HERE_IS, IDS = {"tenant": tenant(HERE)}, 20
IN_LARGE, IN_SMALL = ({**HERE_IS, "dictionary": each} for each in (LARGE, SMALL))
FEW = ENTRIES // 10
"""More than the small dictionary has."""
TERMS_EACH, DAYS, MISSES_A_DAY = 30, 30, 40
CHOOSE = choosing(PLAN.columns)
CHOICE = {**HERE_IS, "dictionaries": [LARGE, SMALL], "point": 0.5, "before": None}
PAGE = {"after": "", "last": "0" * 32, "limit": BATCH}
LICENCE = {"own_licence": "CC0-1.0", "most": 20}
SINCE = {**HERE_IS, "since": "2026-03-02", "language": "", "most": 25}
EARLY, LATE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
STATEMENTS = {
    "an entry by chance": Bounded(CHOOSE, CHOICE, 8),
    "an entry behind the last one": Bounded(CHOOSE, CHOICE | {"point": 1.0}, 8),
    "the word of a day": Bounded(CHOOSE, CHOICE | {"before": LATE}, 8),
    "the word of a day before all": Bounded(CHOOSE, CHOICE | {"before": EARLY}, 4 * MOST_NEAR + 4),
    "missing words": Bounded(MISSING, SINCE, (DAYS + 1) * MISSES_A_DAY),
    "missing words of a language": Bounded(MISSING, SINCE | {"language": "de"}, (DAYS + 1) * MISSES_A_DAY),
    "a page of a file": Bounded(READ, IN_LARGE | PAGE, BATCH),
    "a further page of a file": Bounded(READ, IN_LARGE | PAGE | {"after": "m"}, BATCH),
    "a page of a small file": Bounded(READ, IN_SMALL | PAGE, FEW),
    "a page with a licence that nothing has": Bounded(READ_LICENSED, IN_SMALL | PAGE | {"licences": ["MIT"]}, FEW),
    "licences": Bounded(LICENCES, IN_LARGE | LICENCE, ENTRIES),
    "licences of a few": Bounded(LICENCES, IN_SMALL | LICENCE, FEW),
    "languages": Bounded(TRANSLATED, IN_LARGE, ENTRIES),
    "languages of a few": Bounded(TRANSLATED, IN_SMALL, FEW),
    "terms that go": Bounded(REMOVE, HERE_IS, IDS * 2 * TERMS_EACH),
    "terms that come": Bounded(ADD, IN_LARGE | {"terms": ["unheard"] * IDS, "kinds": [1] * IDS, "ranks": [1] * IDS}, 0),
    "words that come": Bounded(LEARN, IN_LARGE | {"keys": ["unheard", "nheard"], "terms": ["unheard"] * 2}, 0),
    "words that go": Bounded(FORGET, IN_LARGE, ENTRIES * TERMS_EACH),
    "words of a few that go": Bounded(FORGET, IN_SMALL, ENTRIES * TERMS_EACH),
}
WHOLE = (LICENCES, TRANSLATED, FORGET)
"""Those that read a dictionary from end to end."""


class Filled(NamedTuple):
    """A database of its own with the thousands in each of its tenants."""

    scratch: Scratch
    thousands: Thousands

    @property
    def words(self) -> list[str]:
        """The two most common long words of headwords."""
        words = Counter(word for entry in self.thousands.entries for word in entry.headword.split())
        return [*islice((word for word, _ in words.most_common() if len(word) > 7 and word.isascii()), 2)]


@pytest.fixture(scope="module")
def filled(stack: Stack, thousands: Thousands) -> Iterator[Filled]:
    """Vacuumed, so that rows are known to be visible to all, which index-only scans need."""
    with migrated(stack) as scratch:
        add_tenants(scratch.owner, TENANTS)
        with psycopg.connect(scratch.owner, autocommit=True, cursor_factory=psycopg.ClientCursor) as target:
            with psycopg.connect(administrator(stack)) as source:
                for table in COPIED:
                    copy(source, target, table, thousands.tenant.id)
            for number in range(TENANTS):
                target.execute(PLACE.encode(), {"tenant": tenant(number), "end": tenant(number)[-12:]})
            target.execute(b"VACUUM ANALYZE")
        yield Filled(scratch, thousands)


def copy(source: psycopg.Connection[Any], target: psycopg.Connection[Any], table: str, tenant_id: str) -> None:
    """Copy the rows of a tenant to a temporary table in another database."""
    name, copied = sql.Identifier(table), sql.Identifier(f"copied_{table}")
    read = sql.SQL("COPY (SELECT * FROM {} WHERE tenant_id = {}) TO STDOUT (FORMAT binary)")
    target.execute(sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {})").format(copied, name))
    with (
        source.cursor().copy(read.format(name, tenant_id)) as rows,
        target.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(copied)) as into,
    ):
        for row in rows:
            into.write(row)


class Recorder(Transaction):
    """Reads, and remembers what was asked."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.asked: list[tuple[Statement, Mapping[str, Any]]] = []

    def run(self, statement: Statement, **parameters: object) -> Any:
        self.asked.append((statement, parameters))
        return self._transaction.run(statement, **parameters)


def asked_by(filled: Filled, searched: Searched) -> list[tuple[Statement, Mapping[str, Any]]]:
    """The statements of a search that finds something. Here, words of some entries are too common already."""
    with connections(filled.scratch.runtime) as pool, Database(pool).read(Scope(tenant(HERE))) as transaction:
        reads = Recorder(transaction)
        with patch.object(finding, "MOST", 2):
            assert searched.find(Place(reads, tenant(HERE), "", [LARGE, SMALL]), *filled.words)
    return reads.asked


def scans(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The scans of tables of dictionaries, also those that did not run."""
    tables = [node for node in nodes(plan) if str(node.get("Relation Name", "")).startswith("dictionary_")]
    return [node for node in tables if "Scan" in node["Node Type"]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_reads_what_its_indexes_name_and_no_more(filled: Filled, name: str, mode: str) -> None:
    asked = asked_by(filled, SEARCHES[name])
    assert [statement for statement, _ in asked] == [*SEARCHES[name].statements]
    for statement, parameters in asked:
        found = scans(plan_of(filled.scratch, HERE, statement, parameters, mode))
        assert found
        for node in found:
            assert node["Node Type"] in SCANS[statement], json.dumps(node, indent=1)
        if statement is MEET:
            # Published entries have terms, and no others: nothing that is read is thrown away.
            assert not any("Filter" in node for node in found), json.dumps(found, indent=1)
            most = MOST * len(parameters["terms"]) + MOST_BEGUN * len(parameters["starts"])
            assert sum(map(read_by, found)) <= most, json.dumps(found, indent=1)
        if statement is FACTS:
            assert sum(map(read_by, found)) <= len(parameters["entries"]), json.dumps(found, indent=1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", STATEMENTS)
def test_no_table_is_read_from_end_to_end(filled: Filled, name: str, mode: str) -> None:
    statement, _, most = STATEMENTS[name]
    found = scans_of(filled, STATEMENTS[name], mode)
    # What is only added reads nothing.
    assert bool(found) is (most > 0), statement.sql
    for node in found:
        assert node["Node Type"] in INDEXED, json.dumps(node, indent=1)
        assert read_by(node) <= most, json.dumps(node, indent=1)


# PostgreSQL knows how often a column has a value, and not how often an expression has it: of one, it would expect few
# entries with the licence, and read and sort the whole dictionary for each page.
def test_a_page_with_a_licence_reads_no_more_than_the_page(filled: Filled) -> None:
    bounded = Bounded(READ_LICENSED, IN_LARGE | PAGE | {"licences": ["CC0-1.0", ""]}, BATCH)
    assert sum(sum(map(read_by, scans_of(filled, bounded, mode))) for mode in MODES) <= 2 * BATCH


def scans_of(filled: Filled, bounded: Bounded, mode: str) -> list[dict[str, Any]]:
    """The scans of a statement, with some entries where it takes some."""
    ids = [entry.id for entry in filled.thousands.entries[:IDS]]
    # A tenant has a quarter of the rows here, for which PostgreSQL may read all. In a deployment it has a small part.
    settings = ("enable_seqscan = off",) if bounded.statement in WHOLE else ()
    parameters = {**bounded.parameters, "entries": ids}
    return scans(plan_of(filled.scratch, HERE, bounded.statement, parameters, mode, *settings))
