"""Statements whose SQL depends on requests, such as on a filter. The most recently used ones are kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from sqlalchemy.sql import ClauseElement

from server.data.statements import Statement

# A statement takes about 5 KB with its key, and 25 KB with the most comparisons that a filter may have.
MOST_SHAPES = 500
# Number of uses from which connections keep a statement prepared. That takes 30 KB in PostgreSQL per connection, which
# is wasted on a statement that is not used again. Parsing it anew costs no more than its first use.
USES_UNTIL_KEPT = 3
# Bytes of SQL. A longer statement takes PostgreSQL much more memory, so it is not kept.
LONGEST_KEPT = 4000


@dataclass(slots=True)
class _Shape:
    statement: Statement
    uses: int = 1

    def use(self) -> Statement:
        """The statement. Counts a use."""
        self.uses += 1
        self.statement.is_kept = self.uses >= USES_UNTIL_KEPT and len(self.statement.sql) <= LONGEST_KEPT
        return self.statement


class Shapes:
    """Keeps compiled statements by the facts in which they differ."""

    def __init__(self, most: int = MOST_SHAPES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._shapes: OrderedDict[Hashable, _Shape] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shapes)

    def statement(self, key: Hashable, make: Callable[[], ClauseElement]) -> Statement:
        """The statement of a key, for one use. `make` describes it if it is not kept."""
        with self._lock:
            shape = self._shapes.get(key)
            if shape is not None:
                self._shapes.move_to_end(key)
                return shape.use()
        # Compiled outside the lock, so that others do not wait for the compiler, which takes at least 300 us.
        statement = Statement(make(), is_kept=False)
        with self._lock:
            self._shapes[key] = _Shape(statement)
            if len(self._shapes) > self._most:
                self._shapes.popitem(last=False)
        return statement


SHAPES = Shapes()
"""The shapes of this process. A key begins with the object that owns the statement."""
