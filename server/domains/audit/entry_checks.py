"""What can be wrong with one audit entry: that it is not what was sealed, or that it is gone."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime

from server.data.statements import Row
from server.domains.audit.leaves import SLACK, time_of
from server.kernel.record import commitment, leaf_hash


def faults_of_entry(leaf: Row, entry: Row) -> Iterator[str]:
    """How an entry differs from what its leaf sealed, and its personal values from what it commits to."""
    if leaf_hash(entry) != leaf["hash"]:
        yield "is not what was sealed"
    elif entry["hash"] != leaf["hash"]:
        yield "has another hash than the one that was sealed"
    if (entry["transaction_number"], entry["sequence"]) != (leaf["transaction_id"], leaf["sequence"]):
        yield "stands elsewhere than it did when it was sealed"
    for name in _unkept(entry):
        yield f"has personal data that it does not commit to: {name}"


def _unkept(entry: Row) -> Iterator[str]:
    """The names under which something else stands than what was committed to. What is erased is no fault."""
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
    """Tells whether an entry that is gone was due to go."""

    def __init__(self, oldest: Callable[[], datetime]) -> None:
        """`oldest` is since when entries are kept, as of now."""
        self._oldest = oldest
        self._from = oldest()
        self._is_over = False

    def present(self, entry: Row) -> None:
        """An entry is there. Entries are sealed in about the order of their times."""
        self._is_over = self._is_over or entry["create_time"] > self._from + SLACK

    def excuses(self, leaf: Row) -> bool:
        """Whether the entry of a leaf is gone for its age.

        Its age is told by its id, which nothing vouches for when it is gone: so it does not count any more once there
        was an entry that is kept for its age.
        """
        if self._is_over:
            return False
        made = time_of(leaf["entry_id"])
        if made >= self._from:
            # A month may have been dropped meanwhile.
            self._from = self._oldest()
        return made < self._from
