"""Exit statuses of `plinth backup` and `plinth restore`.

As for every command, 2 means a fault in arguments or settings.
"""

from server.faults import Fault

DONE = 0
# A backup does not match its manifest.
FOUND = 1
# The result is unknown: PostgreSQL, a program or a file could not be used.
COULD_NOT = 3
# The role does not see every row, so a dump would be partial or empty.
HIDDEN_ROWS = 4

HELP = (
    f"Exit status: {DONE} done; {FOUND} found something wrong with a backup; 2 wrong arguments or settings; "
    f"{COULD_NOT} could not look or not do it, such as when PostgreSQL is away; {HIDDEN_ROWS} refused, since the role "
    "does not see every row and the dump would be partial or empty."
)


class Damaged(Fault):
    """A backup does not match its manifest."""


class HiddenRows(Fault):
    """The role does not see every row."""


def status_of(fault: Fault) -> int:
    """The exit status for a fault."""
    if isinstance(fault, Damaged):
        return FOUND
    return HIDDEN_ROWS if isinstance(fault, HiddenRows) else COULD_NOT
