"""The list of critical paths names files that exist: a glob without a file would hold nothing."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOBS = [line for line in (ROOT / "tests/critical_paths.txt").read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("pattern", GLOBS)
def test_a_critical_path_has_files(pattern: str) -> None:
    assert [path for path in ROOT.glob(pattern) if path.suffix == ".py"], (
        f"tests/critical_paths.txt: nothing is at {pattern}; name the place that its files were moved to"
    )
