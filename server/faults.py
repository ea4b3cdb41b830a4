"""Faults that a person has to mend."""

# Exit statuses of the `plinth` command besides 0. They tell scripts how to proceed.
MENDABLE = 1
"""A person has to mend something. For `plinth audit verify`: something differs from what was sealed."""
REFUSED = 2
"""The arguments or the settings are refused."""
NO_POSTGRESQL = 3
"""PostgreSQL cannot be reached, or accepts no connections. Trying again later may help."""
NO_REDIS = 4
"""Redis cannot be reached. Trying again later may help."""
NOT_LOOKED = 5
"""`plinth audit verify` could not check everything, for another reason."""
FOREIGN_SECRET = 78
"""EX_CONFIG of sysexits.h: starting again does not help, so a service manager may stop trying."""


class Fault(Exception):
    """A fault that a person has to mend. Its text, one line with the fault and its place, is all that is shown."""

    def __init__(self, text: str, status: int = MENDABLE) -> None:
        """`status` is the exit status of the command."""
        super().__init__(text)
        self.status = status


class ForeignSecret(Fault):
    """The deployment's secret opens nothing in the database."""

    def __init__(self, text: str) -> None:
        super().__init__(text, FOREIGN_SECRET)


class Ailing(Exception):
    """Something answers, but does not work as it should.

    The text, shown to all who may see health, gives the reason.
    """
