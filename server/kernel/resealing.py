"""Resealing: after a rotation of PLINTH_SECRET_KEY, stored secrets are sealed under the new one.

A worker does so at its start, and then every ten minutes, because machines that still use the previous secret keep
sealing with it. The previous secret must stay in PLINTH_SECRET_KEY_PREVIOUS until `plinth_stale_secrets` is 0 for every
table on all machines of the new secret.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from prometheus_client import Gauge
from sqlalchemy import Table, text

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule
from server.kernel.sealing import SealedBox, UnknownKey

log = logging.getLogger("plinth.secrets")
EVERY_TEN_MINUTES = "*/10 * * * *"
BATCH = 500
NIL = "00000000-0000-0000-0000-000000000000"
STALE_SECRETS = Gauge(
    "plinth_stale_secrets",
    "Rows of a table whose secret is under a secret of the deployment that is neither used nor accepted ahead, after "
    "the last look for such.",
    ["table"],
    multiprocess_mode="livemostrecent",
)


@dataclass(frozen=True, kw_only=True)
class SealedColumns:
    """Columns of a table that hold secrets, sealed for their row. Its primary key is of UUIDs."""

    table: Table
    columns: tuple[str, ...]
    row_id: str
    """The column of the id that a secret is bound to."""


class Resealer:
    """Reseals the secrets of a table, those of all tenants."""

    def __init__(self, database: Database, box: SealedBox, sealed: SealedColumns, job: str) -> None:
        """`database` sees all rows. `job` is the name of the job, which must not change."""
        self._database = database
        self._box = box
        self._sealed = sealed
        self._job = job
        self._lasting = [key.hex() for key in box.lasting]
        self._key = [column.name for column in sealed.table.primary_key.columns]
        self._stale, self._replace = _stale(sealed, self._key), replacement(sealed, self._key)

    @property
    def schedule(self) -> Schedule:
        """The schedule of workers."""
        return Schedule(EVERY_TEN_MINUTES, Job(self._job, self.run, MAINTENANCE_QUEUE, NEVER_AGAIN))

    def at_start(self, threads: Executor) -> "FirstReseal":
        """A service that reseals as soon as a worker runs."""
        return FirstReseal(self.run, threads)

    def run(self) -> None:
        """Reseal secrets that are not under the current key, batch by batch.

        Those that do not open are counted and logged.
        """
        after, lost, done = {f"after_{name}": NIL for name in self._key}, 0, 0
        while True:
            with self._database.write(Scope()) as transaction:
                batch = transaction.run(self._stale, keys=self._lasting, **after, limit=BATCH).all()
                resealed = [found for row in batch if (found := self._resealed(row))]
                if resealed:
                    lists = map(list, zip(*resealed, strict=True))
                    transaction.run(
                        self._replace, **dict(zip(_parameters(self._sealed, self._key), lists, strict=True))
                    )
            done += len(resealed)
            lost += len(batch) - len(resealed)
            if len(batch) < BATCH:
                break
            after = {f"after_{name}": batch[-1][name] for name in self._key}
        name = self._sealed.table.name
        STALE_SECRETS.labels(name).set(lost)
        if done:
            log.info("%d secrets of %s were brought under PLINTH_SECRET_KEY; %d are left", done, name, lost)
        if lost:
            log.error("%d secrets of %s open under none of PLINTH_SECRET_KEY, _PREVIOUS and _NEXT", lost, name)

    def _resealed(self, row: Row) -> Sequence[str] | None:
        """The values of one row for the statement that replaces; None if one of its secrets does not open."""
        old = [row[column] for column in self._sealed.columns]
        try:
            new = [self._under_current(sealed, row[self._sealed.row_id]) for sealed in old]
        except (UnknownKey, InvalidTag):
            return None
        return (*(row[name] for name in self._key), *("" if each is None else each.hex() for each in old), *new)

    def _under_current(self, sealed: bytes | None, row_id: str) -> str:
        if sealed is None:
            return ""
        return (self._box.reseal(sealed, row_id) or sealed).hex()


class FirstReseal:
    """A background service that reseals once. After a failure it is run again."""

    def __init__(self, run: Callable[[], None], threads: Executor) -> None:
        self._run = run
        self._threads = threads
        self._is_done = False

    async def run(self) -> None:
        """Reseal, then wait until cancelled."""
        if not self._is_done:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._run)
            self._is_done = True
        await asyncio.Event().wait()


def _stale(sealed: SealedColumns, key: Sequence[str]) -> Statement:
    """Rows with a secret that needs resealing.

    Takes `keys` that need none in hexadecimal, the primary key of the last row seen (`after_<column>`), and `limit`.
    A sealed secret begins with the 8-byte id of its key.
    """
    names = dict.fromkeys((*key, sealed.row_id, *sealed.columns))
    needed = " OR ".join(
        f"encode(substr({column}, 1, 8), 'hex') <> ALL (CAST(:keys AS text[]))" for column in sealed.columns
    )
    after = ", ".join(f"CAST(:after_{name} AS uuid)" for name in key)
    statement = f"""
SELECT {", ".join(names)} FROM {sealed.table.name}
 WHERE ({needed}) AND ({", ".join(key)}) > ({after})
 ORDER BY {", ".join(key)} LIMIT CAST(:limit AS bigint)
"""  # noqa: S608 - names of our tables alone
    return Statement(text(statement).columns(**{name: sealed.table.c[name].type for name in names}))


def replacement(sealed: SealedColumns, key: Sequence[str]) -> Statement:
    """Replaces secrets that are still the known ones. Takes lists of equal length; secrets are in hexadecimal."""
    table = sealed.table.name
    names = _parameters(sealed, key)
    lists = [f"CAST(:{name} AS {'uuid' if at < len(key) else 'text'}[])" for at, name in enumerate(names)]
    changes = ", ".join(f"{each} = decode(nullif(n.new_{each}, ''), 'hex')" for each in sealed.columns)
    same = " AND ".join(
        (
            *(f"{table}.{name} = n.keys_{name}" for name in key),
            *(
                f"{table}.{each} IS NOT DISTINCT FROM decode(nullif(n.old_{each}, ''), 'hex')"
                for each in sealed.columns
            ),
        )
    )
    statement = f"UPDATE {table} SET {changes} FROM unnest({', '.join(lists)}) AS n ({', '.join(names)}) WHERE {same}"  # noqa: S608 - names of our tables alone
    return Statement(text(statement))


def _parameters(sealed: SealedColumns, key: Sequence[str]) -> list[str]:
    """The parameters of the statement that replaces, in the order of the values of a row."""
    columns = sealed.columns
    return [
        *(f"keys_{name}" for name in key),
        *(f"old_{each}" for each in columns),
        *(f"new_{each}" for each in columns),
    ]
