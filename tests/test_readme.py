"""README.md and docs/ say what the code does."""

import re
from pathlib import Path

import pytest

from server.settings_loading import describe

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMED = re.compile(r"`((?:server|clients|proto|tests|docs|deploy|\.ci)/[\w/.-]*)")
LINK = re.compile(r"\]\(([^):]+)\)")
COMMAND = re.compile(r"\b(make|plinth) ([a-z][a-z-]*)")
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


def test_the_pages_are_searched_for_files() -> None:
    """Else a broken pattern would find nothing, and nothing missing."""
    found = {name for page in PAGES for name in NAMED.findall(page.read_text())}
    assert {"server/kernel/chain.py", "server/data/walls.py", "clients/generate.py", "tests/contract"} <= found


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = []
    for link in LINK.findall(page.read_text()):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def code_of(page: Path) -> str:
    """What stands in backticks and in blocks of code."""
    text = page.read_text()
    return "\n".join([*re.findall(r"```.*?```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_names_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    client = ROOT / "clients" / "python" / "src" / "plinth" / "client" / "command"
    source = "".join(path.read_text() for path in (ROOT / "server" / "commands.py", *client.glob("*.py")))
    commands = {
        "make": targets,
        "plinth": set(re.findall(r'(?:_add\(\s*commands|add_parser\()[,\s]*"([a-z]+)"', source)),
    }
    unknown = [f"{tool} {name}" for tool, name in COMMAND.findall(code_of(page)) if name not in commands[tool]]
    assert unknown == []


def test_commands_are_searched_for() -> None:
    found = {command for page in PAGES for command in COMMAND.findall(code_of(page))}
    assert {("make", "up"), ("make", "test"), ("plinth", "backup"), ("plinth", "audit")} <= found
