"""What a person has to mend."""


class Fault(Exception):
    """Something a person has to mend. Its text is all that they are shown: one line that says what and where."""


class Ailing(Exception):
    """Something answers, but does not do what it should. The text says why, for everybody who may see the health."""
