"""One erasure: a person in one tenant, and the batches in which an operation erases what is there of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import NamedTuple, Protocol

from sqlalchemy import Table

from server.data.events import NO_TENANT
from server.data.transactions import Database, Scope, WriteTransaction
from server.json_values import JsonValue

Cursor = Mapping[str, JsonValue]
"""How far a function has come, as it likes to be told."""


class Owned(NamedTuple):
    """A resource that belongs to persons."""

    type: str
    """Such as `plinth.dev/Trip`."""
    table: Table
    by: str
    """The column with the person."""


class Batches(Protocol):
    """What runs the batches: the Work of an operation, or a job that nobody watches."""

    @property
    def saved(self) -> Mapping[str, JsonValue]:
        """What was saved with the last batch."""

    @property
    def scope(self) -> Scope:
        """The scope in which a batch begins and ends."""

    def batch(self) -> AbstractContextManager[WriteTransaction]:
        """A transaction for one batch."""

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Tell, inside a batch, how much is done."""

    def save(self, **saved: JsonValue) -> None:
        """Save with the batch where the work stands."""


class Unwatched:
    """Batches of a plain job. Another attempt begins anew, since what is done twice is done once."""

    saved: Mapping[str, JsonValue] = MappingProxyType({})
    scope = Scope()

    def __init__(self, database: Database) -> None:
        self._database = database

    def batch(self) -> AbstractContextManager[WriteTransaction]:
        """A transaction for one batch."""
        return self._database.write(self.scope)

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Nobody is told."""

    def save(self, **saved: JsonValue) -> None:
        """Nothing is saved."""


class Person(NamedTuple):
    """Who is erased."""

    id: str
    email: str
    """Empty once the account is erased."""


class Tally:
    """The stage that an operation has reached, and the rows that it has looked at. It is saved with each batch."""

    def __init__(self, saved: Mapping[str, JsonValue]) -> None:
        self.stages = _number(saved, "stages")
        self.stage = _number(saved, "stage")
        self.rows = _number(saved, "rows")
        """Rows that were erased or changed."""
        self.done = _number(saved, "done")
        self.total = _number(saved, "total")
        self.what = ""
        """Says what is done now."""
        cursor = saved.get("cursor")
        self.cursor: Cursor = cursor if isinstance(cursor, Mapping) else {}

    def plan(self, stages: int) -> None:
        """Take up the plan, at the stage that was saved. A plan of another length begins at its start."""
        if stages != self.stages:
            self.stages, self.stage, self.cursor = stages, 0, {}

    def begin(self, stage: int, what: str = "") -> None:
        """Enter a stage. Its cursor is the one that was saved, if that was of the same stage."""
        self.what = what
        if stage != self.stage:
            self.stage, self.cursor = stage, {}

    @property
    def saved(self) -> dict[str, JsonValue]:
        """What is saved."""
        numbers = {
            "stages": self.stages,
            "stage": self.stage,
            "rows": self.rows,
            "done": self.done,
            "total": self.total,
        }
        return {**numbers, "cursor": dict(self.cursor)}


class Erasure:
    """What is erased in one tenant by one decision. `tenant_id` is NO_TENANT for what belongs to none."""

    def __init__(
        self, work: Batches, person: Person, tenant_id: str, tally: Tally, owned: Sequence[Owned] = ()
    ) -> None:
        self._work = work
        self._tally = tally
        self.person = person
        self.tenant_id = tenant_id
        self.owned = owned
        """The resources of all domains that belong to persons."""
        self.stale_tags: list[str] = []
        """Tags to be invalidated once it is done."""

    @property
    def cursor(self) -> Cursor:
        """How far an earlier attempt has come; empty at first."""
        return self._tally.cursor

    @contextmanager
    def batch(self) -> Iterator[WriteTransaction]:
        """A transaction within the tenant. Raises Stopped if the work is not to go on."""
        with self._work.batch() as transaction:
            transaction.bind(self._scope)
            yield transaction
            transaction.bind(self._work.scope)
            self._work.progress(self._tally.done, self._tally.total, self._tally.what)
            self._work.save(**self._tally.saved)

    def note(self, looked_at: int, changed: int, cursor: Cursor | None = None) -> None:
        """Tell, inside a batch, how many rows it has looked at and changed, and how far the function is now."""
        self._tally.done += looked_at
        self._tally.rows += changed
        if cursor is not None:
            self._tally.cursor = cursor

    @property
    def _scope(self) -> Scope:
        if self.tenant_id == NO_TENANT:
            return Scope(user_id=self.person.id)
        return Scope(tenant_id=self.tenant_id, user_id=self.person.id)


def _number(saved: Mapping[str, JsonValue], name: str) -> int:
    value = saved.get(name, 0)
    return value if isinstance(value, int) else 0
