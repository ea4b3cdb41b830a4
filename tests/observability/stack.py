"""A stack with the domain of points."""

import sys
from pathlib import Path
from typing import ClassVar, Self

from tests.clients import database
from tests.observability import composed
from tests.observability.points import TABLE
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]


class PointStack(Stack):
    """The plinth command with the domain, and its table in the database."""

    COMMAND: ClassVar[tuple[str, ...]] = (sys.executable, "-m", composed.__name__, "up")

    def start(self) -> Self:
        """Start it, and make the table."""
        super().start()
        with database(self) as connection:
            for statement in TABLE:
                connection.execute(statement.encode())
        return self

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"PYTHONPATH": str(ROOT)}
