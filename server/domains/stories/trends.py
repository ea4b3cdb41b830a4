"""Trends and scores: what stories are ordered by.

A trend is `log2` of the sum of the weights of all acts, each doubled for each day since a fixed moment, so that an
act counts half after a day: adding one changes one row, and the order of the others needs no work. Stories are scored
by the mean of their stars and of ten average ones (a Bayesian mean), comments by the lower bound of Wilson's interval
(https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval).
"""

from datetime import UTC, datetime
from math import log2, sqrt

from sqlalchemy import Double, bindparam, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import WriteTransaction

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400
READ, COMMENTED, RATED, BOOKMARKED, PUBLISHED = 1.0, 5.0, 3.0, 4.0, 2.0
"""Weights of acts."""
AVERAGE_RATINGS = 10
Z = 1.96
"""Of 95 %."""
_id = UUID(as_uuid=False)
ACT = Statement(
    text(
        """
UPDATE stories SET trend = CASE WHEN trend = 0 THEN :act ELSE
       greatest(trend, :act) + ln(1 + power(2, -least(abs(trend - :act), 60))) / ln(2) END
 WHERE tenant_id = :tenant AND id = :story"""
    ).bindparams(bindparam("tenant", type_=_id), bindparam("story", type_=_id), bindparam("act", type_=Double()))
)
"""Takes `tenant`, `story` and `act`, its weight as a trend."""


def act_on(transaction: WriteTransaction, tenant_id: str, story_id: str, weight: float, now: datetime) -> None:
    """Queue the statement that counts an act of somebody."""
    transaction.queue(ACT, tenant=tenant_id, story=story_id, act=trend_of(weight, now))


def trend_of(weight: float, moment: datetime) -> float:
    """What one act is worth."""
    return log2(weight) + (moment - BEGINNING).total_seconds() / DAY


def sum_of_trends(one: float, other: float) -> float:
    """The trend of two together; that of nothing is 0."""
    if not one or not other:
        return one or other
    return max(one, other) + log2(1 + 2 ** -min(abs(one - other), 60))


def score_of(total: int, count: int, mean: float) -> float:
    """The mean of stars and of ten average ones, where `mean` is that of all stories."""
    return (AVERAGE_RATINGS * mean + total) / (AVERAGE_RATINGS + count)


def helpfulness(helpful: int, unhelpful: int) -> float:
    """How helpful a comment is at least."""
    count = helpful + unhelpful
    if not count:
        return 0.0
    share = helpful / count
    middle = share + Z * Z / (2 * count)
    spread = Z * sqrt((share * (1 - share) + Z * Z / (4 * count)) / count)
    return max(0.0, (middle - spread) / (1 + Z * Z / count))
