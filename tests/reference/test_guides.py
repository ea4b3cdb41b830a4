"""The guides: every command runs, and answers what the guide shows."""

from pathlib import Path

import pytest

from server.reference.guides import NAMES
from server.reference.guides import guides as rendered
from tests.reference import guides
from tests.stack import Stack

LONGEST = 120
# Languages whose blocks this file runs; what a browser needs is in tests/browser/test_reference.py.
KNOWN = {"sh", "python", "json", "js", "html", "text"}


def test_every_guide_is_served_and_short() -> None:
    assert sorted(NAMES) == guides.names()
    for guide in rendered():
        assert guide.title
        assert guide.summary
        assert len(guide.text.splitlines()) <= LONGEST, guide.name
        assert {block.language for block in guides.blocks(guide.name)} <= KNOWN


@pytest.mark.parametrize("name", guides.names())
def test_every_block_runs(stack: Stack, tmp_path: Path, name: str) -> None:
    printed = guides.run(name, stack.url, tmp_path)
    shown = dict(guides.shown(name))
    for number, expected in shown.items():
        answers = guides.answers(printed[number])
        assert answers, f"{name}: block {number} printed no JSON: {printed[number]}"
        assert list(guides.differences(expected, answers[-1])) == [], answers[-1]
    for number, text in enumerate(printed):
        if number not in shown:
            errors = [answer for answer in guides.answers(text) if "code" in answer and "details" in answer]
            assert errors == [], f"{name}: block {number} shows no error"


def test_links_lead_to_guides() -> None:
    for guide in rendered():
        assert 'href="' not in guide.html() or ".md" not in guide.html().replace("webhooks.com", "")
        for other in NAMES:
            assert f'href="{other}.md' not in guide.html()
