"""Statements whose SQL follows from what callers ask, such as a filter: of endless shapes, those asked for last."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from sqlalchemy.sql import ClauseElement

from server.data.statements import Statement

# With its key a statement takes some 5 KB, and 25 KB with the most comparisons that a filter may have.
MOST_SHAPES = 500
# Uses from which on connections keep it prepared. PostgreSQL takes 30 KB for that on every connection, which one that
# never comes again is not worth; parsing it anew costs what the first use costs anyway.
USES_UNTIL_KEPT = 3
# Bytes of SQL. What is longer takes PostgreSQL much more than that when it is kept, so it is not.
LONGEST_KEPT = 4000


@dataclass(slots=True)
class _Shape:
    statement: Statement
    uses: int = 1

    def use(self) -> Statement:
        """The statement, for one more use."""
        self.uses += 1
        self.statement.is_kept = self.uses >= USES_UNTIL_KEPT and len(self.statement.sql) <= LONGEST_KEPT
        return self.statement


class Shapes:
    """Remembers compiled statements by what makes them differ."""

    def __init__(self, most: int = MOST_SHAPES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._shapes: OrderedDict[Hashable, _Shape] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shapes)

    def statement(self, key: Hashable, make: Callable[[], ClauseElement]) -> Statement:
        """The statement of a key, for one use of it; `make` describes it when it is not remembered."""
        with self._lock:
            shape = self._shapes.get(key)
            if shape is not None:
                self._shapes.move_to_end(key)
                return shape.use()
        # Nobody else has to wait for the compiler, which takes 300 us and more.
        statement = Statement(make(), is_kept=False)
        with self._lock:
            self._shapes[key] = _Shape(statement)
            if len(self._shapes) > self._most:
                self._shapes.popitem(last=False)
        return statement


SHAPES = Shapes()
"""Those of this process. A key begins with the object whose statements they are."""
