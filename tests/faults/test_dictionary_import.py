"""Imports of dictionaries while their worker is killed: each entry is made once, and what was refused is still told."""

import csv
import io
from functools import partial
from typing import Any

import pytest

from tests.clients import Tenant, rows
from tests.domains.dictionary.test_transfers import (
    OPERATIONS,
    REPLACE,
    begin,
    counts,
    dictionary_of,
    event_types,
    imported,
    report_of,
    work_files,
)
from tests.faults.outages import replaced

pytestmark = pytest.mark.heavy

ENTRIES = 3_000
BEGUN = 250
"""How many were read when the worker is killed: more than a batch, and far from all."""
PATIENCE = 120
ATTEMPTS = "SELECT attempt FROM operations WHERE id = %s"
FOUND = """
SELECT e.headword, e.senses -> 0 -> 'definitions' ->> 0 AS definition, e.revision_number AS revision,
       (SELECT count(*)::int FROM dictionary_revisions r
         WHERE r.tenant_id = e.tenant_id AND r.dictionary_entry_id = e.id) AS revisions,
       EXISTS (SELECT FROM dictionary_terms t WHERE t.tenant_id = e.tenant_id AND t.resource_id = e.id
                  AND t.term = %s) AS is_found
  FROM dictionary_entries e WHERE e.tenant_id = %s AND e.dictionary_id = %s
"""


def word(number: int) -> str:
    return f"word {number:04}"


def is_too_long(number: int) -> bool:
    return number % 100 == 50


def is_empty(number: int) -> bool:
    return number % 100 == 70


def table(definition: str, *, faulty: bool = False) -> bytes:
    """CSV; with rows in it, if it is to be faulty, that are refused when they are read, and when they are stored."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("headword", "part_of_speech", "definition"))
    for number in range(ENTRIES):
        headword = "w" * 201 if faulty and is_too_long(number) else word(number)
        writer.writerow((headword, "noun", "" if faulty and is_empty(number) else definition))
    return text.getvalue().encode()


def is_at(tenant: Tenant, path: str, least: int) -> bool:
    return bool(tenant.rest.get(path).json()["done"] >= least)


def has_ended(tenant: Tenant, path: str) -> bool:
    return "endTime" in tenant.rest.get(path).json()


def imported_in_spite_of_all(tenant: Tenant, dictionary_id: str, data: bytes, **options: Any) -> dict[str, Any]:
    """The operation of an import whose worker was killed in the middle of it."""
    stack = tenant.stack
    started = begin(tenant.rest, dictionary_id, data, publish=True, **options)
    assert started.status_code == 202, started.text
    path = f"{OPERATIONS}/{started.json()['id']}"
    stack.wait_for(partial(is_at, tenant, path, BEGUN))
    replaced(stack, "worker-0", stack.kill("worker-0"))
    stack.wait_for(partial(has_ended, tenant, path), timeout=PATIENCE)
    operation: dict[str, Any] = tenant.rest.get(path).json()
    # Otherwise it was killed too late, and nothing was tried.
    assert rows(stack, ATTEMPTS, operation["id"])[0]["attempt"] > 1
    assert operation["state"] == "STATE_DONE", operation
    return operation


def found(tenant: Tenant, dictionary_id: str, term: str) -> dict[str, dict[str, Any]]:
    """The entries by their headwords, and whether each is found by a term."""
    stored = rows(tenant.stack, FOUND, term, tenant.id, dictionary_id)
    every = {row.pop("headword"): row for row in stored}
    assert len(every) == len(stored), "an entry is there twice"
    return every


def test_each_entry_is_created_or_refused_once_whose_worker_is_killed(tenant: Tenant) -> None:
    dictionary_id = dictionary_of(tenant)
    operation = imported_in_spite_of_all(tenant, dictionary_id, table("Planted.", faulty=True))
    bad = {number for number in range(ENTRIES) if is_too_long(number) or is_empty(number)}
    assert operation["result"] == counts(created=ENTRIES - len(bad), refused=len(bad))
    # The first line is the header.
    assert (operation["done"], operation["message"]) == (ENTRIES + 1, word(ENTRIES - 1))
    once = {"definition": "Planted.", "revision": 0, "revisions": 0, "is_found": True}
    expected = {word(number): once for number in range(ENTRIES) if number not in bad}
    assert found(tenant, dictionary_id, "planted") == expected
    assert event_types(tenant).count("dictionary.imported") == 1
    # What was refused before the worker was killed is told too, and the file is gone: the report alone is kept.
    assert report_of(tenant, operation).keys() == {number + 2 for number in bad}
    assert len(work_files(tenant)) == 1


def test_each_entry_is_replaced_once_whose_worker_is_killed(tenant: Tenant) -> None:
    dictionary_id = dictionary_of(tenant)
    imported(tenant, dictionary_id, table("Planted."), publish=True)
    operation = imported_in_spite_of_all(tenant, dictionary_id, table("Grown."), onConflict=REPLACE)
    assert operation["result"] == counts(replaced=ENTRIES)
    once = {"definition": "Grown.", "revision": 1, "revisions": 1, "is_found": True}
    assert found(tenant, dictionary_id, "grown") == {word(number): once for number in range(ENTRIES)}
    assert not any(each["is_found"] for each in found(tenant, dictionary_id, "planted").values())
