"""Every endpoint of the source documents that is finished answers at its method and path."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from server import app
from server.kernel.policy import VARIABLE

ENDPOINTS = Path(__file__).with_name("endpoints.tsv")
# The source of that copy, where it is there.
SOURCE = Path(__file__).parents[3] / "shared" / "spec" / "endpoints.tsv"
# Ids of rows, by domain.
FINISHED = tuple(re.findall(r"\bS\d-\d+\b", Path(__file__).with_name("finished_endpoints.txt").read_text()))

Row = Mapping[str, str]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with ENDPOINTS.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def served() -> set[tuple[str, str]]:
    """Verb and pattern of every binding."""
    return {(binding.verb, binding.pattern) for policy in app.policies().values() for binding in policy.bindings}


def unanswered(rows: Iterable[Row], finished: Iterable[str], bindings: set[tuple[str, str]]) -> Iterator[str]:
    """Finished rows without a binding, and finished ids without a row."""
    by_id = {row["id"].rstrip("*"): row for row in rows}
    for row_id in finished:
        row = by_id.get(row_id)
        if row is None:
            yield f"{row_id} is not a row"
        elif (row["method"], VARIABLE.sub("{}", row["path"])) not in bindings:
            yield f"{row_id} {row['method']} {row['path']} has no binding"


@pytest.mark.skipif(not SOURCE.exists(), reason="the source documents are not part of the repository")
def test_the_table_is_that_of_the_source_documents() -> None:
    assert ENDPOINTS.read_bytes() == SOURCE.read_bytes()


def test_every_finished_endpoint_answers(rows: list[dict[str, str]]) -> None:
    assert list(unanswered(rows, FINISHED, served())) == []


def test_every_endpoint_that_answers_is_named_as_finished(rows: list[dict[str, str]]) -> None:
    bindings = served()
    answered = {row["id"].rstrip("*") for row in rows if (row["method"], VARIABLE.sub("{}", row["path"])) in bindings}
    assert sorted(answered - set(FINISHED)) == [], "add these to finished_endpoints.txt"


def test_a_finished_endpoint_without_a_binding_is_found(rows: list[dict[str, str]]) -> None:
    bindings = served() - {("POST", "/api/v1/tenants/{}/pages/{}/duplicate")}
    assert list(unanswered(rows, FINISHED, bindings)) == [
        "S2-22 POST /api/v1/tenants/{tenant_id}/pages/{page_id}/duplicate has no binding"
    ]
    assert list(unanswered(rows, ["S9-99"], bindings)) == ["S9-99 is not a row"]


def test_no_endpoint_is_finished_twice() -> None:
    assert len(set(FINISHED)) == len(FINISHED)
