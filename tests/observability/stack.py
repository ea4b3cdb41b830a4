"""A stack with the domain of points."""

from typing import ClassVar, Self

from tests.clients import database
from tests.composing import ComposedStack, command_with
from tests.observability import points
from tests.observability.points import TABLE


class PointStack(ComposedStack):
    """The plinth command with the domain, and its table in the database."""

    COMMAND: ClassVar = command_with(points.__name__)

    def start(self) -> Self:
        """Start it, and make the table."""
        super().start()
        with database(self) as connection:
            for statement in TABLE:
                connection.execute(statement.encode())
        return self
