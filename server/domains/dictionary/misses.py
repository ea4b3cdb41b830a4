"""What people search for and do not find, counted by day and language."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import ARRAY, BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, WriteTransaction
from server.kernel.count_buffer import CountBuffer

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


class MissCounter(CountBuffer[Miss, Miss, int]):
    """Counts searches that found nothing."""

    def __init__(self, database: Database) -> None:
        super().__init__("dictionary misses", database)

    def counted(self, note: Miss) -> tuple[Miss, int]:
        """Each text by day and language."""
        return note, 1

    def added(self, known: int, more: int) -> int:
        """Their sum."""
        return known + more

    def write(self, transaction: WriteTransaction, counts: Mapping[Miss, int]) -> None:
        """Add them up, as far as the texts of a day are counted."""
        transaction.queue(
            ADD,
            tenants=[each.tenant_id for each in counts],
            days=[each.day for each in counts],
            languages=[each.language for each in counts],
            texts=[each.text for each in counts],
            searches=list(counts.values()),
        )
