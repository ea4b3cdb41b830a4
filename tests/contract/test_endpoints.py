"""Every endpoint of the source documents that is finished answers at its method and path."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from server import app
from server.kernel.policy import VARIABLE

ENDPOINTS = Path(__file__).with_name("endpoints.tsv")
# The source of that copy, where it is there.
SOURCE = Path(__file__).parents[3] / "shared" / "spec" / "endpoints.tsv"
# Rows that the server answers as of now. A row is added here with the RPC that answers it, and never removed.
FINISHED = (
    *("S1-166", "S2-01", "S2-02", "S2-03", "S2-04", "S2-05", "S2-06"),  # auth
    *("S3-67", "S3-68", "S3-69", "S3-70", "S3-74", "S4-01", "S4-02", "S4-03", "S4-04"),  # auth
    *("S2-11", "S2-12", "S2-13", "S2-14", "S2-15"),  # tenants
    *("S2-16", "S2-17", "S2-18", "S2-19", "S2-20", "S2-21", "S2-22", "S2-23"),  # pages
    *("S2-42", "S2-43", "S2-44"),  # branding
    *("S2-94", "S3-01", "S4-101"),  # health
    *("S1-189", "S4-16", "S4-17", "S4-18", "S4-19", "S4-20", "S4-21", "S4-22", "S4-23", "S4-24"),  # roles
    *("S2-81", "S2-82", "S2-83", "S2-84", "S2-85", "S2-86", "S3-103", "S3-104", "S3-105"),  # API keys
    *("S4-66", "S4-67", "S4-68"),  # cache
    *("S4-98", "S4-99", "S4-100"),  # IP blocks
    *("S1-161", "S1-162", "S1-163", "S2-87", "S2-88", "S2-89", "S2-90"),  # audit
    *("S2-74", "S2-75", "S2-76", "S2-77", "S2-78", "S2-79", "S2-80"),  # webhooks
    *("S2-26", "S2-27", "S2-28", "S2-29", "S2-30", "S2-31", "S2-32"),  # sections
    *("S3-46", "S3-47", "S3-48", "S3-49", "S3-50"),  # trips
    *("S3-51", "S3-52", "S3-53", "S3-54", "S3-55", "S3-56"),  # expenses
    *("S1-190", "S1-192", "S3-99", "S3-100"),  # stream, security, privacy
    *("S1-165", "S4-107"),  # reference
    *(
        "S1-89",
        "S1-90",
        "S1-187",
        "S4-58",
        "S4-59",
        "S4-60",
        "S4-61",
        "S4-62",
        "S4-63",
        "S4-64",
        "S4-65",
    ),  # communication
    *("S1-172", "S2-55", "S2-56", "S2-57", "S2-58", "S2-59", "S2-60", "S2-61", "S2-62", "S2-63", "S2-64"),  # files
    *("S2-65", "S3-76", "S3-77", "S3-78"),  # files
    *("S1-10", "S1-11", "S1-12", "S1-13", "S1-14", "S1-15", "S1-16", "S1-17", "S1-18", "S1-19", "S1-20"),  # identity
    *("S1-21", "S1-22", "S1-23", "S1-24", "S1-25", "S1-26", "S1-193", "S2-07", "S2-08", "S2-09", "S2-10"),  # identity
    *("S2-45", "S2-46", "S2-47", "S2-48", "S2-49", "S2-50", "S3-71", "S3-72", "S3-73", "S3-75", "S3-101"),  # identity
    *("S3-102", "S4-05", "S4-06", "S4-07", "S4-08", "S4-09", "S4-10", "S4-11", "S4-12", "S4-13", "S4-14"),  # identity
    *("S4-15", "S4-31", "S4-32", "S4-33", "S4-34", "S4-35", "S4-36", "S4-37", "S4-38", "S4-39", "S4-40"),  # identity
    *("S1-138", "S1-139", "S1-140", "S1-141", "S2-24", "S2-25", "S2-33", "S2-34", "S2-35", "S2-36"),  # sites
    *("S2-37", "S2-38", "S2-39", "S2-40", "S2-41", "S2-66", "S2-67", "S2-68", "S2-69", "S2-70", "S2-71"),  # sites
    *("S2-72", "S2-73"),  # sites
    *("S1-142", "S1-143", "S1-144", "S1-145", "S1-146", "S1-147", "S1-148", "S1-149", "S1-150", "S1-151"),  # tenancy
    *("S1-152", "S1-153", "S1-154", "S1-155", "S1-156", "S2-51", "S2-52", "S2-53", "S2-54"),  # tenancy
)

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


def test_a_finished_endpoint_without_a_binding_is_found(rows: list[dict[str, str]]) -> None:
    bindings = served() - {("POST", "/api/v1/tenants/{}/pages/{}/duplicate")}
    assert list(unanswered(rows, FINISHED, bindings)) == [
        "S2-22 POST /api/v1/tenants/{tenant_id}/pages/{page_id}/duplicate has no binding"
    ]
    assert list(unanswered(rows, ["S9-99"], bindings)) == ["S9-99 is not a row"]


def test_no_endpoint_is_finished_twice() -> None:
    assert len(set(FINISHED)) == len(FINISHED)
