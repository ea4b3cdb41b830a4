"""Checks of one audit entry: whether it is unchanged since it was sealed, and whether it may be gone."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime

from server.data.statements import Row
from server.domains.audit.leaves import SLACK, time_of
from server.kernel.record import commitment, leaf_hash


def faults_of_entry(leaf: Row, entry: Row) -> Iterator[str]:
    """The differences between an entry and its sealed leaf, and between its personal values and their commitments."""
    if leaf_hash(entry) != leaf["hash"]:
        yield "is not what was sealed"
    elif entry["hash"] != leaf["hash"]:
        yield "has another hash than the one that was sealed"
    if (entry["transaction_number"], entry["sequence"]) != (leaf["transaction_id"], leaf["sequence"]):
        yield "stands elsewhere than it did when it was sealed"
    for name in _unkept(entry):
        yield f"has personal data that it does not commit to: {name}"


def _unkept(entry: Row) -> Iterator[str]:
    """The names of personal values that do not match their commitments. An erased value is no fault."""
    try:
        personal, commitments = json.loads(entry["personal"]), json.loads(entry["commitments"])
        for name, kept in personal.items():
            salt = bytes.fromhex(kept["salt"])
            is_kept = commitment(salt, kept["value"]) == commitments.get(name) and salt.hex() == kept["salt"]
            if not is_kept or kept.keys() != {"salt", "value"}:
                yield name
    except (ValueError, LookupError, AttributeError, TypeError):
        yield "it cannot be read"


class Retention:
    """Decides whether a missing entry was removed by retention."""

    def __init__(self, oldest: Callable[[], datetime]) -> None:
        """`oldest` returns the time from which entries are currently kept."""
        self._oldest = oldest
        self._from = oldest()
        self._is_over = False

    def present(self, entry: Row) -> None:
        """Note an entry that exists. Entries are sealed roughly in the order of their times."""
        self._is_over = self._is_over or entry["create_time"] > self._from + SLACK

    def excuses(self, leaf: Row) -> bool:
        """Whether the entry of a leaf is missing because of its age.

        Its age is taken from its id, which nothing confirms once the entry is missing. The age is therefore no excuse
        after an entry that is young enough to be kept.
        """
        if self._is_over:
            return False
        made = time_of(leaf["entry_id"])
        if made >= self._from:
            # A month may have been dropped in the meantime.
            self._from = self._oldest()
        return made < self._from
