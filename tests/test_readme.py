"""README.md says what the code does."""

from pathlib import Path

from server.settings import describe

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_settings_table_is_the_one_that_settings_py_gives() -> None:
    for variable, default, meaning in describe():
        shown = f"`{default}`" if default else ""
        assert f"| `{variable}` | {shown} | {meaning} |" in README, variable


def test_every_file_the_readme_names_is_there() -> None:
    root = Path(__file__).parent.parent
    for name in ("server/kernel/chain.py", "server/kernel/live.py", "server/data/walls.py", "clients/generate.py"):
        assert name in README
        assert (root / name).is_file(), name
