"""What ends `plinth up` early."""

from server.faults import Fault

__all__ = ["Fault", "StopAsked"]


class StopAsked(Exception):
    """Ctrl-C or SIGTERM came while something was being waited for."""
