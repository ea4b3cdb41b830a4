"""What people search for and do not find, counted every few seconds. A process that is killed loses its last ones."""

import logging
from collections import Counter, deque
from contextlib import suppress
from typing import NamedTuple

import psycopg
from sqlalchemy import ARRAY, BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.connections import DatabaseUnavailable
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.kernel.loops import Loop

log = logging.getLogger("plinth.dictionary")
FLUSH_SECONDS = 3.0
# Seconds that a process waits for the last flush when it ends.
LAST_FLUSH = 5.0
# Beyond it, notes are dropped during an outage of PostgreSQL.
MOST_NOTES = 50_000
MOST_A_DAY = 1_000
"""Texts of a tenant that are counted on a day."""
LONGEST = 100
_texts = ARRAY(Text())
ADD = Statement(
    text(
        f"""
INSERT INTO dictionary_misses AS m (tenant_id, day, language, text, searches)
SELECT n.tenant_id, n.day, n.language, n.text, n.searches
  FROM (SELECT u.*, row_number() OVER (PARTITION BY u.tenant_id, u.day) AS number
          FROM unnest(:tenants, :days, :languages, :texts, :searches)
               AS u (tenant_id, day, language, text, searches)) n
 WHERE EXISTS (SELECT FROM dictionary_misses k
                WHERE k.tenant_id = n.tenant_id AND k.day = n.day AND k.language = n.language COLLATE "C"
                  AND k.text = n.text COLLATE "C")
    OR n.number + (SELECT count(*) FROM dictionary_misses k WHERE k.tenant_id = n.tenant_id AND k.day = n.day)
       <= {MOST_A_DAY}
 ORDER BY n.tenant_id, n.day, n.language COLLATE "C", n.text COLLATE "C"
ON CONFLICT (tenant_id, day, language, text) DO UPDATE SET searches = m.searches + excluded.searches"""  # noqa: S608 - a number
    ).bindparams(
        bindparam("tenants", type_=ARRAY(UUID(as_uuid=False))),
        *(bindparam(name, type_=_texts) for name in ("days", "languages", "texts")),
        bindparam("searches", type_=ARRAY(BigInteger())),
    )
)
"""Takes five lists of equal length. Processes that write at the same time do so in one order."""
MISSING = Statement(
    text(
        """
SELECT m.text, m.language, sum(m.searches)::bigint AS searches, max(m.day) AS last_day
  FROM dictionary_misses m
 WHERE m.tenant_id = :tenant AND m.day >= :since AND (m.language = :language COLLATE "C" OR :language = '')
 GROUP BY m.text, m.language ORDER BY 3 DESC, 4 DESC, 1, 2 LIMIT :most"""
    )
    .bindparams(
        bindparam("tenant", type_=UUID(as_uuid=False)),
        bindparam("since", type_=Text()),
        bindparam("language", type_=Text()),
        bindparam("most", type_=Integer()),
    )
    .columns(text=Text(), language=Text(), searches=BigInteger(), last_day=Text())
)
"""Takes `tenant`, `since`, a day, `language`, which may be empty, and `most`."""


class Miss(NamedTuple):
    """A search that found nothing."""

    tenant_id: str
    day: str
    language: str
    text: str


class MissCounter:
    """Counts searches that found nothing. A Part of its service."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Appending, and removing at the other end, are atomic.
        self._notes: deque[Miss] = deque(maxlen=MOST_NOTES)
        self._loop = Loop("dictionary misses", self.flush, FLUSH_SECONDS, at_end=True)

    def note(self, miss: Miss) -> None:
        """Note a search. Never blocks and never fails."""
        self._notes.append(miss)

    def start(self) -> None:
        """Start to write counts regularly."""
        self._loop.start()

    def close(self) -> None:
        """Write the remaining counts, and stop."""
        self._loop.stop(LAST_FLUSH)

    def flush(self) -> None:
        """Write the counts. While PostgreSQL does not answer, notes are kept."""
        notes: list[Miss] = []
        with suppress(IndexError):
            while True:
                notes.append(self._notes.popleft())
        if not notes:
            return
        counts = Counter(notes)
        try:
            with self._database.write(Scope(platform=True)) as transaction:
                transaction.queue(
                    ADD,
                    tenants=[each.tenant_id for each in counts],
                    days=[each.day for each in counts],
                    languages=[each.language for each in counts],
                    texts=[each.text for each in counts],
                    searches=list(counts.values()),
                )
        except (DatabaseUnavailable, psycopg.OperationalError):
            self._notes.extendleft(reversed(notes))
        except psycopg.Error as error:
            log.warning("some searches that found nothing are not counted: %s", type(error).__name__)
