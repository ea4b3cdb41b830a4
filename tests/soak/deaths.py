"""Which processes of a stack died, as its supervisor told and as they told themselves."""

import re

from tests.stack import Stack

DEATH = re.compile(r"^.*\| (?:died|process \d+ crashed|was not ready).*$|^.*given up.*$", re.MULTILINE)


def deaths(stack: Stack) -> list[str]:
    """A line for each that died."""
    return [match.group().strip() for match in DEATH.finditer(stack.output)]
