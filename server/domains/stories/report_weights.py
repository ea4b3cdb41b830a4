"""What a report weighs, by the record of who makes it.

The bonus for accuracy is that of Discourse (app/models/reviewable_score.rb, `user_accuracy_bonus`).
"""

from math import log

TRUST = 4
"""The most that reports weigh more which led to a removal."""
MODERATOR = 5
SHORTEST_RECORD = 5
"""Decided reports up to which a record says nothing of accuracy."""
AXIS = 0.7
"""The share of reports that led to a removal at which they weigh neither more nor less."""


def weight_of(agreed: int, disagreed: int, *, is_moderator: bool) -> float:
    """What the next report weighs: never less than 0."""
    trust = MODERATOR if is_moderator else min(TRUST, (agreed + 1).bit_length() - 1)
    return max(0.0, 1 + trust + accuracy_bonus(agreed, disagreed))


def accuracy_bonus(agreed: int, disagreed: int) -> float:
    """What accuracy adds, or takes away."""
    total = agreed + disagreed
    if total <= SHORTEST_RECORD:
        return 0.0
    share = agreed / total
    is_good = share >= AXIS
    distance = (share - AXIS) / (1 - AXIS) if is_good else (AXIS - share) / AXIS
    return distance * (1 if is_good else -1) * log(total, 4) * 5
