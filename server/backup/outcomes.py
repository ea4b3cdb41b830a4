"""How `plinth backup` and `plinth restore` end.

2 is the status of what is wrong with arguments or settings, as for every command.
"""

from server.faults import Fault

DONE = 0
# A backup is not what its manifest says.
FOUND = 1
# Nothing is known: PostgreSQL, a program or a file could not be used.
COULD_NOT = 3
# The role does not see every row, so a dump would be partial or empty.
HIDDEN_ROWS = 4

HELP = (
    f"Exit status: {DONE} done; {FOUND} found something wrong with a backup; 2 wrong arguments or settings; "
    f"{COULD_NOT} could not look or not do it, such as when PostgreSQL is away; {HIDDEN_ROWS} refused, since the role "
    "does not see every row and the dump would be partial or empty."
)


class Damaged(Fault):
    """A backup is not what its manifest says."""


class HiddenRows(Fault):
    """The role does not see every row."""


def status_of(fault: Fault) -> int:
    """Give the exit status for a fault."""
    if isinstance(fault, Damaged):
        return FOUND
    return HIDDEN_ROWS if isinstance(fault, HiddenRows) else COULD_NOT
