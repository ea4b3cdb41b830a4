"""What a person has to mend."""


class Fault(Exception):
    """Something a person has to mend. Its text is all that they are shown: one line that says what and where."""

    status = 1
    """The exit status of a command that it ends."""


class ForeignSecret(Fault):
    """The deployment's secret opens nothing of what the database holds."""

    # EX_CONFIG of sysexits.h: starting again does not help, so that a service manager may stop trying.
    status = 78


class Ailing(Exception):
    """Something answers, but does not do what it should. The text says why, for everybody who may see the health."""
