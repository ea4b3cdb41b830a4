"""What ends `plinth up` early."""


class Fault(Exception):
    """Something a person has to mend; its text is all they are shown, so it says what and where."""


class StopAsked(Exception):
    """Ctrl-C or SIGTERM came while something was being waited for."""
