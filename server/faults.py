"""What a person has to mend."""

# Exit statuses of the `plinth` command, besides 0. They tell scripts what to do next.
MENDABLE = 1
"""Something that a person has to mend. `plinth audit verify`: something is not as it was sealed."""
REFUSED = 2
"""The arguments or the settings are refused."""
NO_POSTGRESQL = 3
"""PostgreSQL cannot be reached, or does not take anybody. Trying again later may help."""
NO_REDIS = 4
"""Redis cannot be reached. Trying again later may help."""
NOT_LOOKED = 5
"""`plinth audit verify` could not look at everything, for another reason."""
FOREIGN_SECRET = 78
"""EX_CONFIG of sysexits.h: starting again does not help, so that a service manager may stop trying."""


class Fault(Exception):
    """Something a person has to mend. Its text is all that they are shown: one line that says what and where."""

    def __init__(self, text: str, status: int = MENDABLE) -> None:
        """`status` is what the command exits with."""
        super().__init__(text)
        self.status = status


class ForeignSecret(Fault):
    """The deployment's secret opens nothing of what the database holds."""

    def __init__(self, text: str) -> None:
        super().__init__(text, FOREIGN_SECRET)


class Ailing(Exception):
    """Something answers, but does not do what it should. The text says why, for everybody who may see the health."""
