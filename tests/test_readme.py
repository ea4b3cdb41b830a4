"""README.md and docs/ say what the code does."""

import re
from pathlib import Path

import pytest

from server.settings_loading import describe

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMED = re.compile(r"`((?:server|clients|proto|tests|docs)/[\w/.-]*)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
LONGEST_README = 150


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_settings_table_is_the_one_that_the_settings_give() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| `")]
    assert table == [
        f"| `{variable}` | {f'`{default}`' if default else ''} | {meaning} |"
        for variable, default, meaning in describe()
    ]


def test_the_readme_is_short_and_names_what_is_read_first() -> None:
    text = README.read_text()
    assert len(text.splitlines()) < LONGEST_README
    pages = {name_of(page) for page in PAGES if "decisions" not in page.parts and page != README}
    assert pages <= {*LINK.findall(text)}


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text())
    assert listed == sorted(page.name for page in folder.glob("[0-9]*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    names = {name for name in NAMED.findall(page.read_text()) if "<" not in name}
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_names_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    assert sorted({*named} - targets) == []
