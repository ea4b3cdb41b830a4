"""Exceptions that end `plinth up` early."""

from server.faults import Fault

__all__ = ["Fault", "StopAsked"]


class StopAsked(Exception):
    """Ctrl-C or SIGTERM arrived during a wait."""
