"""What the bench of growth concludes, and what it stamps out."""

import pytest

from tests.bench.growth.measuring import Measured
from tests.bench.growth.stamping import renamed
from tests.bench.growth.verdict import faults, judge, table

SIZES = (13, 50, 100)


@pytest.mark.parametrize(
    ("name", "values", "verdict"),
    [
        ("in all MiB", (100, 137, 187), "linear"),
        ("in all MiB", (100, 101, 102), "level"),
        ("in all MiB", (100, 137, 300), "FASTER THAN LINEAR"),
        ("in all MiB", (100, 90, 200), "FASTER THAN LINEAR"),
        ("cached read us", (100, 105, 110), "level"),
        ("cached read us", (100, 110, 120), "GROWS"),
    ],
)
def test_growth_is_judged_by_the_slope_and_calls_by_their_cost(
    name: str, values: tuple[float, ...], verdict: str
) -> None:
    assert judge(name, SIZES, values) == verdict


def test_what_grows_too_fast_is_a_fault_and_stands_in_the_table() -> None:
    figures = ({"start s": 2.0, "cached read us": 100 * size} for size in SIZES)
    measured = [Measured(size, each) for size, each in zip(SIZES, figures, strict=True)]
    assert faults(measured) == ["cached read us"]
    assert "GROWS" in table(measured)


def test_a_copy_has_names_of_its_own_and_keeps_those_of_all_lists() -> None:
    text = "plinth.sites.v1 ListPages pages PAGE page_size next_page_token PageTokens"
    assert renamed(text, "ab") == "plinth.sitesab.v1 ListPageabs pageabs PAGEAB page_size next_page_token PageTokens"
