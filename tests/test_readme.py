"""README.md says what the code does."""

import re
from pathlib import Path

from server.settings_loading import describe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_settings_table_is_the_one_that_settings_py_gives() -> None:
    table = [line for line in README.partition("## Settings")[2].splitlines() if line.startswith("| `")]
    assert table == [
        f"| `{variable}` | {f'`{default}`' if default else ''} | {meaning} |"
        for variable, default, meaning in describe()
    ]


def test_every_file_the_readme_names_is_there() -> None:
    names = set(re.findall(r"`((?:server|clients|proto|tests)/[\w/.-]*)", README))
    assert {
        "server/kernel/chain.py",
        "server/kernel/live/reader.py",
        "server/data/walls.py",
        "clients/generate.py",
    } <= names
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []
