"""What ends a command early: one line for a person, and an exit status for a script."""

from plinth.client.errors import PlinthError

FAILED, WRONG, REFUSED, AWAY = 1, 2, 6, 7
"""Exit statuses: an operation failed, wrong arguments, the server refused the call, the server does not answer."""
_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class CommandFault(Exception):
    """A fault that a person can mend. The message is a line without the name of the command."""

    def __init__(self, message: str, status: int = WRONG) -> None:
        super().__init__(message)
        self.status = status


def fault_of(error: PlinthError) -> CommandFault:
    """The fault for an error of the server: code, reason, message, a line for each broken rule, and the request."""
    code = error.code.name
    head = f"{code} {error.reason}" if error.reason else code
    lines = [f"{head}: {error.message}"]
    lines += [f"  {broken.field or '(request)'}: {broken.message} ({broken.rule})" for broken in error.violations]
    lines += [f"  {name}: {value}" for name, value in error.metadata.items()]
    if code == "UNAUTHENTICATED":
        lines.append("  log in with `plinth login`")
    if error.request_id:
        lines.append(f"  request {error.request_id}")
    return CommandFault("\n".join(lines), AWAY if code in _AWAY else REFUSED)
