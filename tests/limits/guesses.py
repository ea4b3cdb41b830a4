"""Guesses that were counted.

Two bytes are kept of each credential (server/kernel/guard/guesses.py), so now and then two different guesses look like
one and count once: among 13 of them in one run of 840. A test that expects an exact number fails that often, so one
more than the limit is let pass here, and every test makes as many guesses more.
"""

from collections.abc import Sequence
from typing import TypeVar

Reply = TypeVar("Reply")


def assert_refused_after(limit: int, answers: Sequence[Reply], wrong: Reply, refusal: Reply) -> None:
    """Check that `limit` guesses were wrong, or one more, and all that followed were refused. At least one was."""
    taken = sum(answer == wrong for answer in answers)
    assert taken in (limit, limit + 1), answers
    assert list(answers) == [wrong] * taken + [refusal] * (len(answers) - taken)
    assert answers[-1] == refusal
