"""The code blocks of the guides, as a reader would run them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "guides"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PATIENCE = 90
# Between what the blocks print.
MARK = "-- block {} --"


@dataclass(frozen=True)
class Block:
    """A code block."""

    language: str
    text: str


def names() -> list[str]:
    """The guides."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def blocks(name: str) -> list[Block]:
    """The code blocks of a guide."""
    return [Block(language, text) for language, text in FENCE.findall((FOLDER / f"{name}.md").read_text())]


def run(name: str, url: str, folder: Path) -> list[str]:
    """Run the commands of a guide in one shell, after those of Getting started; what each block printed.

    A block of Python runs as a program of that shell, which has exported its variables.
    """
    before = [] if name == "getting-started" else [each for each in blocks("getting-started") if each.language == "sh"]
    script = ["set -eu -o pipefail -o allexport", f"B={url}"]
    script += [each.text for each in before]
    for number, block in enumerate(blocks(name)):
        script.append(f"echo; echo '{MARK.format(number)}'")
        if block.language == "sh":
            script.append(block.text)
        elif block.language == "python":
            script.append(f"{sys.executable} - <<'PYTHON'\n{block.text}PYTHON")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return re.split(MARK.format(r"\d+"), done.stdout)[1:]


def answers(printed: str) -> list[Any]:
    """The JSON documents among what a block printed, which curl does not end with a line break."""
    found, reader, at = [], json.JSONDecoder(), printed.find("{")
    while at >= 0:
        try:
            value, end = reader.raw_decode(printed, at)
        except json.JSONDecodeError:
            break
        found.append(value)
        at = printed.find("{", end)
    return found


def shown(name: str) -> Iterator[tuple[int, Any]]:
    """What a guide says that a block prints, with the place of that block."""
    for number, block in enumerate(blocks(name)):
        if block.language == "json":
            yield number - 1, json.loads(block.text)


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Where an answer is not as shown. More may be in it; `...` stands for any text."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            yield from differences(value, actual.get(key), f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) <= len(actual):
        for number, value in enumerate(expected):
            yield from differences(value, actual[number], f"{path}[{number}]")
    elif isinstance(expected, str) and isinstance(actual, str) and "..." in expected:
        if not actual.startswith(expected.partition("...")[0]):
            yield f"{path}: {actual!r} does not begin as {expected!r}"
    elif expected != actual:
        yield f"{path}: {actual!r} is not {expected!r}"
